"""Sizes and shapes of models: parameters, layers, attention heads, positions.

Reads safetensors headers and config.json of model folders, nothing from the hub. A hub model's size is in its name; its
shape is in the table below, or else estimated from its size.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heal.config.models import Model
from heal.errors import HealError

SIZE_IN_NAME = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)([mb])(?![a-z0-9])", re.IGNORECASE)
ACTIVE_SIZE_IN_NAME = re.compile(r"-a(\d+(?:\.\d+)?)([mb])(?![a-z0-9])", re.IGNORECASE)
UNITS = {"m": 1e6, "b": 1e9}
WIDTH_PER_LAYER = 100
"""Width over number of layers of a model whose shape is unknown (ours)."""
KEY_HEAD_SHARE = 0.25
"""Key heads over attention heads of such a model (ours)."""


@dataclass(frozen=True)
class ModelSize:
    """Parameters of a model."""

    total: float
    active: float
    """Parameters that one token passes through."""
    source: str


@dataclass(frozen=True)
class ModelShape:
    """What attention, cache and activations of a model depend on."""

    layers: float
    width: float
    attention_width: float
    """Attention heads times head size."""
    key_width: float
    """Key heads times head size."""
    vocabulary: float
    positions: int | None
    """Longest sequence that it was made for; None where unknown."""
    source: str

    @property
    def cache_values_per_token(self) -> float:
        """Numbers in the KV cache per token."""
        return 2 * self.layers * self.key_width

    @property
    def attention_flops_per_pair(self) -> float:
        """FLOPs of attention for one token and one token before it: 2 for the score and 2 for the sum, per width."""
        return 4 * self.layers * self.attention_width


def make_shape(layers: int, width: int, heads: int, key_heads: int, head_size: int, positions: int) -> ModelShape:
    """The shape of a Qwen3 model."""
    attention_width, key_width = heads * head_size, key_heads * head_size
    return ModelShape(layers, width, attention_width, key_width, 151936, positions, "config.json on the hub")


KNOWN_SHAPES = {
    "Qwen/Qwen3-0.6B-Base": make_shape(28, 1024, 16, 8, 128, 32768),
    "Qwen/Qwen3-0.6B": make_shape(28, 1024, 16, 8, 128, 40960),
    "Qwen/Qwen3-1.7B-Base": make_shape(28, 2048, 16, 8, 128, 32768),
    "Qwen/Qwen3-1.7B": make_shape(28, 2048, 16, 8, 128, 40960),
    "Qwen/Qwen3-4B-Base": make_shape(36, 2560, 32, 8, 128, 32768),
    "Qwen/Qwen3-4B": make_shape(36, 2560, 32, 8, 128, 40960),
    "Qwen/Qwen3-8B-Base": make_shape(36, 4096, 32, 8, 128, 32768),
    "Qwen/Qwen3-8B": make_shape(36, 4096, 32, 8, 128, 40960),
    "Qwen/Qwen3-14B-Base": make_shape(40, 5120, 40, 8, 128, 32768),
    "Qwen/Qwen3-14B": make_shape(40, 5120, 40, 8, 128, 40960),
    "Qwen/Qwen3-32B": make_shape(64, 5120, 64, 8, 128, 40960),
}
"""Hub id → shape, so that a plan needs no network; `heal check` reads the model's own config.json."""


def find_model_size(model: Model, label: str, parameters: float | None = None) -> ModelSize:
    """The given parameters, else the folder's by its safetensors headers, else those in the name (`32B`, `30B-A3B`).

    label: teachers.NAME or students.NAME. Raises HealError where the size is unknown.
    """
    if model.endpoint:
        return ModelSize(0, 0, "served elsewhere: its hours are not in the plan")
    name = Path(model.path).name
    headers = sorted(Path(model.path).expanduser().glob("*.safetensors"))
    named = parse_size(SIZE_IN_NAME.search(name))
    if parameters is not None:
        total, source = parameters, "--assume"
    elif headers:
        total, source = sum(map(count_parameters, headers)), "its safetensors"
    elif named:
        total, source = named, "its name"
    else:
        fix = f"give it: --assume params.{label.partition('.')[2]}=8e9; or set `path` to a folder with safetensors"
        problem = f"neither a folder nor its name says how many parameters {model.path!r} has"
        raise HealError(problem, where=f"{label}.path", fix=fix)
    return ModelSize(total, parse_size(ACTIVE_SIZE_IN_NAME.search(name)) or total, source)


def find_model_shape(model: Model, size: ModelSize) -> ModelShape:
    """The shape in the folder's config.json, else of the table, else an estimate from the size."""
    path = Path(model.path).expanduser() / "config.json"
    if path.is_file():
        try:
            return read_shape(json.loads(path.read_text("utf-8")), str(path))
        except (ValueError, KeyError, TypeError):  # a damaged file is reported by `heal check`
            pass
    return KNOWN_SHAPES.get(model.path) or estimate_shape(size)


def read_shape(config: Mapping[str, Any], source: str) -> ModelShape:
    """The shape in the content of a config.json. Raises KeyError where a field is missing."""
    config = config.get("text_config") or config
    heads, width = config["num_attention_heads"], config["hidden_size"]
    head_size = config.get("head_dim") or width // heads
    key_heads = config.get("num_key_value_heads") or heads
    return ModelShape(
        config["num_hidden_layers"],
        width,
        heads * head_size,
        key_heads * head_size,
        config["vocab_size"],
        config.get("max_position_embeddings"),
        source,
    )


def estimate_shape(size: ModelSize) -> ModelShape:
    """A transformer of 12 · layers · width² parameters (Kaplan et al. 2020, arXiv 2001.08361) of usual proportions."""
    width = (size.active * WIDTH_PER_LAYER / 12) ** (1 / 3)
    layers = width / WIDTH_PER_LAYER
    return ModelShape(layers, width, width, KEY_HEAD_SHARE * width, 100_000, None, "estimated from its size")


def parse_size(match: re.Match[str] | None) -> float | None:
    """32B → 32e9, 135M → 135e6; None without a match."""
    return float(match[1]) * UNITS[match[2].lower()] if match else None


def count_parameters(path: Path) -> int:
    """Numbers in a safetensors file, from its header alone. Raises HealError for a damaged one."""
    from safetensors import SafetensorError, safe_open  # absent where a workflow is only started

    count = 0
    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 (no dict)
                count += math.prod(file.get_slice(name).get_shape())
    except (OSError, SafetensorError) as error:
        fix = "download the file again, or --assume params.NAME=8e9"
        raise HealError(f"no safetensors header ({type(error).__name__})", where=str(path), fix=fix) from None
    return count
