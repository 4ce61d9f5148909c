"""What several checks read: tokenizers, configs of models, problems. Each is read once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from heal.config.models import Model
from heal.config.run_config import RunConfig
from heal.data.load_problems import collect
from heal.engines.base import explain_hub_fix, get_first_line, load_tokenizer
from heal.errors import HealError
from heal.planning.assumptions import Benchmark, read_benchmarks
from heal.planning.shapes import ModelShape, ModelSize, estimate_shape, find_model_shape, find_model_size, read_shape
from heal.records import Row
from heal.training.unpack_gguf import find_gguf_file, load_gguf_tokenizer


class Lookup:
    """Reads and keeps what the checks of one run need. Every method raises HealError where it cannot be read."""

    def __init__(self, run_config: RunConfig) -> None:
        self.run_config = run_config
        self.kept: dict[tuple[str, ...], Any] = {}

    def keep(self, key: tuple[str, ...], read: Callable[[], Any]) -> Any:
        """What `read` returned, or raised, for this key at the first call."""
        if key not in self.kept:
            try:
                self.kept[key] = read()
            except HealError as error:
                self.kept[key] = error
        if isinstance(self.kept[key], HealError):
            raise self.kept[key]
        return self.kept[key]

    def get_tokenizer(self, model: Model) -> Any:
        """The tokenizer of the model's package, folder or hub repository."""
        key = ("tokenizer", model.path, model.revision or "", model.package or "")
        return self.keep(key, lambda: load_model_tokenizer(model))

    def get_shape(self, model: Model) -> ModelShape:
        """The shape in the model's config.json; of a package's model, and of a served one, an estimate."""
        key = ("shape", model.path, model.revision or "", model.package or "")
        return self.keep(key, lambda: load_shape(model))

    def get_size(self, model: Model, field: str) -> ModelSize:
        """field: teachers.NAME or students.NAME."""
        return find_model_size(model, field)

    def get_questions(self, split: str) -> list[Row]:
        """The problems of a split, their questions with the instruction."""
        experiment = self.run_config.experiment
        instruction = experiment.problems.instruction
        dataset = self.run_config.get_split(split)
        return self.keep(("problems", split), lambda: collect(dataset, experiment.seed, instruction)[0])

    def get_benchmarks(self) -> dict[str, Benchmark]:
        return read_benchmarks(self.run_config.experiment.benchmarks)


def load_model_tokenizer(model: Model) -> Any:
    """The tokenizer of the model's package, folder or hub repository. Raises HealError where there is none."""
    if model.package:
        return load_gguf_tokenizer(find_gguf_file(model.package, model.revision or "", model.path))
    return load_tokenizer(model.path, model.revision)


def load_shape(model: Model) -> ModelShape:
    """The shape in the model's config.json. Raises HealError where it cannot be read."""
    if model.package:
        return find_model_shape(model, find_model_size(model, f"models.{model.package}"))
    if model.endpoint and not Path(model.path).is_dir():  # only its tokenizer is here
        return estimate_shape(ModelSize(0, 0, "served elsewhere"))
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(model.path, revision=model.revision, trust_remote_code=False)
        return read_shape(config.get_text_config().to_dict(), model.path)
    except Exception as error:  # network, or a config that transformers refuses: its classes share no base
        fix = explain_hub_fix(model.path, model.revision)
        raise HealError(f"config.json cannot be read ({get_first_line(error)})", where=model.path, fix=fix) from None
