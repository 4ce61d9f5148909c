"""The functions that the YAML files of this folder name; lm-eval looks for them in the same folder."""

from evals.task_functions import get_question, load_problems, score

__all__ = ["get_question", "load_problems", "score"]
