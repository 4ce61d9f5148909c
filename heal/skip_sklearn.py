"""Import transformers without scikit-learn and the parts of SciPy that come with it: 1.5 CPU seconds of every process.

transformers imports it, where it is installed, for the threshold of assisted decoding, which nothing here uses.
"""

from __future__ import annotations


def skip_sklearn() -> None:
    """Call it before anything that imports transformers.generation: models, lm-eval, TRL."""
    import transformers.utils

    transformers.utils.is_sklearn_available = lambda: False
