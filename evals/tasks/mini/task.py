"""The functions that the YAML files here name; lm-eval looks for them beside the YAML."""

from evals.benchmark import problems, question, score

__all__ = ["problems", "question", "score"]
