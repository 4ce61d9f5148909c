"""The functions that the YAML files here name; lm-eval looks for them beside the YAML."""

from evals.task_functions import problems, question, score

__all__ = ["problems", "question", "score"]
