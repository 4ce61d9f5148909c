"""The architecture of a model, and the same architecture in small: fewer and narrower layers, equal structure.

A hub model that the table below holds needs no network; the config.json of a folder is read; of any other hub model
the hub is asked. What stays: the class, the ratio of attention heads to key-value heads, tied or untied embeddings, the
size of the vocabulary. What shrinks: width, depth, and the number of positions by the rehearsal's factor.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd, lcm
from pathlib import Path
from typing import Any

from heal.config.models import Model
from heal.errors import HealError
from heal.training.unpack_gguf import find_gguf_file

LAYERS = 2
MIN_HIDDEN_SIZE = 64
ALIGNMENT = 16
"""Kernels want widths that are multiples of it."""
HEAD_SIZE = 32
QWEN3_VOCABULARY = 151936
QWEN3_POSITIONS, QWEN3_BASE_POSITIONS = 40960, 32768


@dataclass(frozen=True)
class Qwen3Sizes:
    """Structure of a Qwen3 model (arXiv 2505.09388, table 1)."""

    heads: int
    key_value_heads: int
    tied: bool


QWEN3 = {
    "Qwen/Qwen3-0.6B": Qwen3Sizes(16, 8, True),
    "Qwen/Qwen3-1.7B": Qwen3Sizes(16, 8, True),
    "Qwen/Qwen3-4B": Qwen3Sizes(32, 8, True),
    "Qwen/Qwen3-8B": Qwen3Sizes(32, 8, False),
    "Qwen/Qwen3-14B": Qwen3Sizes(40, 8, False),
    "Qwen/Qwen3-32B": Qwen3Sizes(64, 8, False),
}
BASE_SUFFIX = "-Base"


def is_qwen3(path: str) -> bool:
    """Whether the table holds the hub model."""
    return path.removesuffix(BASE_SUFFIX) in QWEN3


def is_base(path: str) -> bool:
    """Whether a model's name says that it is a base model."""
    return path.lower().rstrip("/").endswith(BASE_SUFFIX.lower())


def read_architecture(model: Model) -> Any:
    """The configuration of the model, in its true size. Raises HealError where nothing says what it is."""
    from transformers import AutoConfig, Qwen3Config

    if is_qwen3(model.path):
        sizes = QWEN3[model.path.removesuffix(BASE_SUFFIX)]
        return Qwen3Config(
            vocab_size=QWEN3_VOCABULARY,
            num_attention_heads=sizes.heads,
            num_key_value_heads=sizes.key_value_heads,
            head_dim=128,
            tie_word_embeddings=sizes.tied,
            max_position_embeddings=QWEN3_BASE_POSITIONS if is_base(model.path) else QWEN3_POSITIONS,
            rope_theta=1_000_000.0,
        )
    try:
        if model.package:
            file = find_gguf_file(model.package, model.revision or "", model.path)
            return AutoConfig.from_pretrained(file.parent, gguf_file=file.name)
        return AutoConfig.from_pretrained(model.path, revision=model.revision).get_text_config()
    except Exception as error:  # no network, no such folder, an unknown architecture: they share no base class
        kind = "folder" if Path(model.path).is_dir() else "hub model"
        raise HealError(
            f"the architecture of this {kind} is not known ({type(error).__name__})",
            where=model.path,
            fix="give a folder with its config.json, or rehearse where the hub can be reached",
        ) from error


def shrink_heads(heads: int, key_value_heads: int) -> tuple[int, int]:
    """As few heads as keep the ratio."""
    divisor = gcd(heads, key_value_heads)
    return heads // divisor, key_value_heads // divisor


def shrink(config: Any, positions: int, vocabulary: int) -> Any:
    """The configuration of the stand-in. positions: its longest sequence. vocabulary: entries of its embedding."""
    heads, key_value_heads = shrink_heads(
        config.num_attention_heads, getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    )
    unit = lcm(heads, ALIGNMENT)
    hidden_size = unit * -(-MIN_HIDDEN_SIZE // unit)
    values = {
        "vocab_size": vocabulary,
        "hidden_size": hidden_size,
        "intermediate_size": 2 * hidden_size,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": heads,
        "num_key_value_heads": key_value_heads,
        "head_dim": HEAD_SIZE,
        "max_position_embeddings": positions,
        "max_window_layers": LAYERS,
    }
    options = config.to_dict()
    options.pop("layer_types", None)
    options |= {name: value for name, value in values.items() if name in options or name == "head_dim"}
    return type(config)(**options)
