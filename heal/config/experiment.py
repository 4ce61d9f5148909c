"""The experiment config, typed: every option of a run with its default and one sentence.

Reads YAML files (config/config.yaml by default). An unknown key or a wrong value is an error that names file, field,
problem and fix. `heal options` prints every option; `make generate` writes the
reference page and the JSON schema from these classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pydantic
from pydantic import AfterValidator, Field

from heal.config.data import Problems
from heal.config.layers import read_layers
from heal.config.models import Model, Train
from heal.config.options import Count, Name, OptionGroup, Pattern, Share, check_fields, validate
from heal.trace_files import DEFAULT_VARIANT


class Engine(OptionGroup):
    renamed_keys: ClassVar[dict[str, str]] = {
        "kind": "backend",
        "rows": "max_num_seqs",
        "memory_share": "gpu_memory_utilization",
    }
    backend: str = "transformers"
    """`transformers`: exact entropies, any machine; `vllm`: faster on a GPU, entropies bounded from top log-probs."""
    dtype: Literal["float32", "bfloat16", "auto"] = "float32"
    """Number format of the weights for sampling and scoring."""
    device: str = "auto"
    """`cpu`, `cuda:0`, …; `auto`: the first free GPU, or the CPU where there is none."""
    max_num_seqs: Count = 512
    """Maximum number of sequences in one batch; `transformers` halves it when memory runs out."""
    threads: Count = 1
    """CPU threads per job; fixed, so that results do not depend on `--cores`."""
    problems_per_batch: Count = 128
    """Problems between two saves; a killed job loses at most one such batch."""
    top_logprobs: Annotated[int, Field(ge=1, le=1000)] = 20
    """For `vllm` and endpoints: log-probs per token from which entropies are bounded (ours: 20)."""
    max_length: Count | None = None
    """For `vllm` and endpoints: maximum tokens per sequence, prompt included; the model's own by default."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """For `vllm`: share of each GPU's memory."""


class Sampling(OptionGroup):
    n: Count = 30
    """Samples per problem (reported: 30)."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Sampling temperature of the teacher (ours: 1.0; the paper's decoding is unknown)."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Nucleus sampling threshold of the teacher (ours: 1.0)."""
    max_new_tokens: Count = 16384
    """Maximum tokens per trace; a longer trace is cut off and counts as truncated."""
    shards: Count = 2
    """Number of jobs that share the samples of one teacher seed; the result does not depend on it."""


class Guided(OptionGroup):
    renamed_keys: ClassVar[dict[str, str]] = {"below": "pass_rate_below"}
    n: Count | None = None
    """Answer-guided samples per problem; as many as base samples by default (ours)."""
    pass_rate_below: Share = 0.5
    """Problems with a lower pass rate over the base samples get answer-guided samples (reported: 0.5)."""
    template: Annotated[str, AfterValidator(check_fields(["question", "answer"]))] = (
        "{question}\n\nHint: the answer is {answer}."
    )
    """User turn that states the answer; the training text has the question alone."""


class LowTemperature(OptionGroup):
    n: Count = 4
    """Low-temperature samples per problem, besides one greedy sample (ours)."""
    temperature: Annotated[float, Field(gt=0)] = 0.3
    """Their sampling temperature (ours)."""


class Cost(OptionGroup):
    read_price: Annotated[float, Field(ge=0)] = 0.25
    """Price of a token that is read (prefilled or scored), in generated tokens: seconds per read token over seconds per
    generated token of the teacher, as `heal plan` estimates or a run's ledger measures them (ours)."""


class Hint(OptionGroup):
    renamed_keys: ClassVar[dict[str, str]] = {"ask": "ask_template"}
    source: Literal["answer", "teacher", "solution", "wrong_answer", "noise", "retry", "none"] = "answer"
    """Hint at the cut: the gold answer, the teacher's own short hint (reported: one source each; the default is ours),
    a worked step, or the controls: another problem's answer, words without content, a call to try again, nothing."""
    place: Literal["assistant", "user"] = "assistant"
    """Place of the hint: in the trace at the cut, or in the user turn (ours; unknown of the paper)."""
    user_turn: Annotated[str, AfterValidator(check_fields(["question", "hint"]))] = "{question}\n\n{hint}"
    """For place `user`: the user turn with the hint."""
    template: Annotated[str, AfterValidator(check_fields(["answer"]))] = "Hint: the answer is {answer}."
    """For source `answer`: the hint; `{answer}` is the gold answer (ours: the paper's wording is unknown)."""
    solution_template: Annotated[str, AfterValidator(check_fields(["step"]))] = (
        "Hint: a worked solution goes on like this: {step}"
    )
    """For source `solution`: the hint; `{step}` is the worked solution's step at the cut."""
    noise_text: Annotated[str, Field(min_length=1)] = (
        "This line says nothing about the question and is only as long as a line with the answer would have been"
    )
    """For source `noise`: its words are repeated or cut off to the length of the answer hint (ours)."""
    retry_text: str = "Let me go back to this point and try again."
    """For source `retry`: the hint (ours)."""
    ask_template: Annotated[str, AfterValidator(check_fields(["question", "kept"], ["answer"]))] = (
        "{question}\n\nA student wrote:\n{kept}\n\nThe correct answer is {answer}. Give one short hint for the next "
        "step. Do not state the answer."
    )
    """For source `teacher`: the prompt for the hint, with `{question}`, `{kept}` and `{answer}`."""
    max_tokens: Count = 64
    """For source `teacher`: maximum tokens of the hint."""


class Gear(OptionGroup):
    renamed_keys: ClassVar[dict[str, str]] = {"truncated": "repair_truncated"}
    detector: str = "entropy_surge"
    """How the breakpoint is found (reported: entropy surge; the others are controls)."""
    statistic: Literal["mean", "max", "top20"] = "mean"
    """Step entropy from token entropies: mean, maximum, or mean of the top 20 % (ours: mean)."""
    search_fraction: Annotated[float, Field(gt=0, le=1)] = 1 / 3
    """Share of the steps, from the first, in which the breakpoint is searched (reported: the first third)."""
    min_surge_nats: float = 0.05
    """Minimum entropy surge in nats; a trace without one has no breakpoint and is not repaired (ours)."""
    rewind: Literal[0, 1, 2] = 1
    """Steps dropped before the cut: 1 drops the surging step, 0 keeps it, 2 drops one more (reported: one back)."""
    min_step_tokens: Count = 16
    """Minimum tokens per step; a shorter step joins the next one (ours)."""
    max_pass_rate: Share = 1 / 30
    """Maximum pass rate over the base samples of a problem that GEAR treats (reported: 1 of 30)."""
    traces_per_problem: Count = 10
    """Maximum number of wrong traces repaired per problem (reported: 10)."""
    repairs_per_trace: Count = 20
    """Repairs sampled per wrong trace (reported: 20)."""
    order: Literal["first", "shortest", "most_entropy"] = "first"
    """Order in which wrong traces are taken: by index, by length, or by mean entropy (ours: by index)."""
    repair_truncated: bool = False
    """Whether wrong traces that hit the token limit are repaired too (ours: no)."""
    max_wrong_agreement: Share = 0.8
    """Maximum share of equal wrong answers; above it the gold answer is suspect, the problem skipped (ours)."""
    hint: Hint = Hint()
    """Hint at the cut."""
    leak_patterns: list[Pattern] = [
        r"\bhint\b",
        r"\b(given|provided|known|stated) (final )?answer\b",
        r"\banswer (is|was) (given|provided|known)\b",
    ]
    """A guided sample or repair that matches one of these (any case) leaks the hint and is rejected (ours)."""


class Pure(OptionGroup):
    enabled: bool = True
    """Whether repairs are filtered."""
    rule: Literal["quantile", "calibrated", "random", "oracle"] = "quantile"
    """`quantile`, `calibrated`: two readings of the paper; `random`, `oracle` (needs a step checker): controls."""
    drop_share: Share = 0.2
    """λ (reported: 0.2; its role is ours): share of traces that `quantile` and `random` drop; for `calibrated`, maximum
    share of anomalous steps."""
    epsilon: Annotated[float, Field(gt=0)] = 0.01
    """ε in step perplexity over answer uncertainty (reported: 0.01)."""
    surprise: Literal["mean", "top20", "max_token"] = "mean"
    """Step perplexity from token log-probs: mean, mean of the top 20 %, or the maximum (ours: mean)."""
    uncertainty: Literal["product", "mean"] = "product"
    """Answer uncertainty: 1 minus product, or mean, of the gold answer's token probabilities (ours: product)."""
    scope: Literal["until_certain", "all"] = "until_certain"
    """Scored steps: up to the first that makes the answer certain, or all (ours: until certain)."""
    certain_below: Share = 0.1
    """Answer uncertainty below which the answer counts as certain; the run's value is located to the step (ours)."""
    calibration_quantile: Share = 0.98
    """For `calibrated`: quantile of the teacher's correct traces above which a step is anomalous (ours)."""
    filter_guided: bool = True
    """Whether the answer-guided samples of stage II are filtered too (ours; unknown of the paper)."""

    @property
    def filters_guided(self) -> bool:
        return self.enabled and self.filter_guided


class Scoring(OptionGroup):
    cue: str = "The final answer is \\boxed{"
    """Text after which the probability of the gold answer is read; an open thinking block is closed first."""
    closing: str = "}"
    """Text that closes the answer after the cue."""
    max_points: Count = 16
    """Steps per trace after which uncertainty is read, evenly spaced; the crossing is then located (ours)."""
    calibration_traces: Count = 200
    """Number of the teacher's correct traces that are scored, for `calibrated` and the audits."""


class Prefixes(OptionGroup):
    cuts: Count = 4
    """Maximum number of cuts per correct sample, evenly spaced over its steps, the first before all of them (ours)."""
    traces_per_problem: Count = 1
    """Distinct correct samples that are cut per problem, the first by index (ours)."""
    continuations: Count = 4
    """Continuations that the student samples from each cut (ours)."""


Schedule = Literal["cumulative", "sequential", "mixed", "mixed_matched", "reversed"]


class Pace(OptionGroup):
    schedule: Schedule = "cumulative"
    """Order of the three stages in training (ours: cumulative; the paper's reading is unknown)."""
    max_per_problem: Count = 4
    """Maximum number of distinct traces per problem in each stage, round-robin over the traces that were cut (ours)."""


class Premise(OptionGroup):
    renamed_keys: ClassVar[dict[str, str]] = {"min_points": "min_margin"}
    min_unsolved: Count = 20
    """Minimum number of unsolved problems for a usable stage III (ours)."""
    min_repaired: Share = 0.05
    """Minimum share of the treated problems with an accepted repair (ours)."""
    min_uplift: Annotated[float, Field(ge=0)] = 1.0
    """Minimum ratio of accepted repairs to correct samples, each per teacher token (ours)."""
    min_margin: Share = 0.0
    """Minimum margin of repair acceptance over fresh-sample accuracy (ours)."""
    min_pass_rate: Share = 0.0
    """Minimum pass rate of the teacher over all problems (ours)."""
    max_pass_rate: Share = 1.0
    """Maximum pass rate of the teacher over all problems (ours)."""
    max_greedy: Share = 0.1
    """Maximum share of the treated problems that greedy decoding solves; above it tables call the ceiling one of
    sampling (ours)."""


class Stop(OptionGroup):
    enabled: bool = True
    """Whether the run stops before its next GPU job where a teacher's stage leaves nothing for the rest of it: no
    sample right, no guided sample or repair accepted, or too many traces cut off (ours)."""
    max_truncated: Share = 0.5
    """Maximum share of a stage's traces that are cut off at `sampling.max_new_tokens` (ours)."""


class Primary(OptionGroup):
    method: Name = "heal"
    """Method under test."""
    baseline: Name | None = None
    """Reference of it and of all rows of `main` and `ablations`; `rs_matched` by default, else the first."""
    benchmark: Name | None = None
    """Benchmark of the contrast, with all its questions; the first of `benchmarks` by default."""
    teacher: Name | None = None
    """The first of `teachers` by default."""
    student: Name | None = None
    """The first of `students` by default."""


class Comparison(OptionGroup):
    title: str
    """Table heading."""
    methods: list[Name] | None = None
    """Names under `methods` and `ablations`; all of `methods` by default."""
    reference: Name | None = None
    """Method that the others are compared with; that of `primary` by default, or else the first."""
    train: dict[str, Any] = {}
    """Changes to the section `train`; its students are then trained separately, as `<method>_<comparison>`."""


class Experiment(OptionGroup):
    renamed_keys: ClassVar[dict[str, str]] = {"draws": "teacher_seeds", "seeds": "training_seeds"}
    extends: str | None = None
    """A config file, relative to this one: what this file does not set is as there (heal/config/layers.py)."""
    run: Name
    """Name of the run; outputs go to results/<run>/."""
    seed: int = 0
    """Base seed; every random number derives from it."""
    limit: Count | None = None
    """Maximum number of problems per problem set, for a first try."""
    teacher_seeds: Count = 1
    """Number of teacher sampling seeds: independent samplings of the teacher."""
    training_seeds: Count = 3
    """Number of training seeds per method and teacher seed: 3 to display, 5 to rank."""
    seeds_per_job: Count = 1
    """Number of training seeds that one job trains or evaluates in turn; with 1, a cluster takes them side by side."""
    teachers: dict[Name, Model]
    """Teachers by name; every method runs on each."""
    students: dict[Name, Model]
    """Students by name; every method trains each."""
    problems: Problems
    """Training, development and test problems."""
    engine: Engine = Engine()
    """Sampling and scoring."""
    sampling: Sampling = Sampling()
    """Base samples of the teacher."""
    guided: Guided = Guided()
    """Answer-guided samples of the teacher."""
    low_temperature: LowTemperature = LowTemperature()
    """Greedy and low-temperature samples of the teacher, for `rs_low_temperature`."""
    cost: Cost = Cost()
    """What a token costs, for methods that are compared at equal cost."""
    gear: Gear = Gear()
    """GEAR: find the breakpoint, repair with a hint. Its variant name is `default`."""
    gear_variants: dict[Name, dict[str, Any]] = {}
    """Further GEAR variants by name: the options that differ from `gear`. A method names one as `gear: no_hint`."""
    scoring: Scoring = Scoring()
    """Measurements on traces without a hint, for PURE."""
    pure: Pure = Pure()
    """PURE: drop shortcuts."""
    pace: Pace = Pace()
    """PACE: the three training stages."""
    prefixes: Prefixes = Prefixes()
    """Cuts of correct samples that a student continues from, for the baselines that need it."""
    premise: Premise = Premise()
    """Thresholds of a valid test of HEAL; below them the tables say "premise absent"."""
    stop: Stop = Stop()
    """When a run stops by itself; no change of these options reruns anything."""
    train: Train = Train()
    """Training of the students."""
    benchmarks: list[Name]
    """lm-eval tasks in evals/tasks/, by task name; each names its problem set."""
    primary: Primary = Primary()
    """The one contrast that is tested unadjusted (5 %), fixed before the run. All other rows are adjusted."""
    methods: dict[Name, dict[str, Any]]
    """Methods of the main table: name → `method`, and the options that differ from the sections above."""
    ablations: dict[Name, dict[str, Any]] = {}
    """Further methods, run by `snakemake ablations` only."""
    comparisons: dict[Name, Comparison] = {}
    """Further tables, of the same or separately trained methods, run by `snakemake comparisons` only."""

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
