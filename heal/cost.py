"""The cost of a model's tokens as one number, for methods that are compared at equal cost (ours).

A token that is read (prefilled or scored) takes less time than one that is generated, on a GPU 5 to 15 times less.
Counted alike, HEAL's scoring would buy the control samples of many times its cost, or of a fraction of it.
"""

from __future__ import annotations

from collections.abc import Mapping


def price_tokens(generated: float, read: float, read_price: float) -> float:
    """Cost in generated tokens: generated + read_price · read (ours). read: prefilled and scored tokens."""
    return generated + read_price * read


def price_usage(usage: Mapping[str, int], read_price: float) -> float:
    """Cost in generated tokens of what a trace file took (the usage that heal.records stores with it)."""
    return price_tokens(usage.get("generated", 0), usage.get("prefill", 0) + usage.get("scored", 0), read_price)
