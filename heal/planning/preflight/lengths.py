"""Check lengths: of every request of every stage against the model's positions and engine.max_length.

Requests are shortened to what has room, and those without room are skipped and counted. So a limit that only some
prompts exceed is a caution; one that every prompt exceeds is a fault (of a repair: with its hint alone), and so is a
benchmark question that does not fit with its answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from heal.config.experiment import Experiment, Gear
from heal.config.models import Model
from heal.errors import HealError
from heal.planning.preflight.findings import Caution, Findings
from heal.planning.preflight.lookup import Lookup
from heal.records import Row
from heal.trace_files import DEFAULT_VARIANT


@dataclass(frozen=True)
class Stage:
    """The requests of one stage: a prompt per problem, and what follows it."""

    name: str
    field: str
    """Field of the config that sets most of the length."""
    prompts: Sequence[int]
    """Tokens of each prompt."""
    added: int
    """Most tokens that follow a prompt."""
    parts: str
    """What they are, with their numbers."""
    fix: str
    whole: bool = False
    """Whether every request must fit."""
    least: int | None = None
    """Tokens that follow a prompt at least, where `added` is a worst case that few requests reach."""


@dataclass(frozen=True)
class Limit:
    """Longest sequence of a model."""

    tokens: int
    source: str


def check_lengths(lookup: Lookup, field: str, model: Model) -> Findings:
    """Faults and cautions of one model's requests. field: teachers.NAME or students.NAME."""
    experiment = lookup.run_config.experiment
    try:
        tokenizer, shape = lookup.get_tokenizer(model), lookup.get_shape(model)
        questions = lookup.get_questions("train")
    except HealError:  # reported by the check of the model, or of the data
        return
    positions = shape.positions
    if positions and is_limited(experiment, model) and (experiment.engine.max_length or 0) > positions:
        problem = f"{experiment.engine.max_length} tokens, but {model.path} has {positions} positions"
        yield HealError(problem, where="engine.max_length", fix=f"set it to at most {positions}")
    limit = find_limit(experiment, model, positions)
    is_teacher = field.startswith("teachers.")
    prompts = count_prompt_tokens(tokenizer, model, [row["question"] for row in questions])
    if is_teacher:
        stages = list(list_teacher_stages(lookup, tokenizer, model, questions, prompts))
    else:
        stages = list_student_stages(lookup, prompts)
        yield from check_training_lengths(lookup, field, prompts, positions)
    stages += list_benchmark_stages(lookup, tokenizer, model)
    if limit:
        for stage in stages:
            yield from check_stage(stage, limit, field)


def is_limited(experiment: Experiment, model: Model) -> bool:
    """Whether engine.max_length holds for this model."""
    return experiment.engine.backend == "vllm" or model.endpoint is not None


def find_limit(experiment: Experiment, model: Model, positions: int | None) -> Limit | None:
    """The smaller of engine.max_length and the model's positions; None where neither is known."""
    limits = [Limit(positions, f"the positions of {model.path}")] if positions else []
    if is_limited(experiment, model) and experiment.engine.max_length:
        limits.append(Limit(experiment.engine.max_length, "engine.max_length"))
    return min(limits, key=lambda limit: limit.tokens, default=None)


def count_prompt_tokens(tokenizer: Any, model: Model, questions: Sequence[str]) -> list[int]:
    """Tokens of each question as a user turn in the chat template."""
    counts = []
    for question in questions:
        turn = [{"role": "user", "content": question}]
        text = tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False, **model.template_options)
        counts.append(count_tokens(tokenizer, text))
    return counts


def count_tokens(tokenizer: Any, text: str) -> int:
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


def list_teacher_stages(
    lookup: Lookup, tokenizer: Any, model: Model, questions: Sequence[Row], prompts: Sequence[int]
) -> Iterator[Stage]:
    """Samples, guided samples, repairs of every GEAR variant that is used, hints, and scores."""
    experiment = lookup.run_config.experiment
    new = experiment.sampling.max_new_tokens
    sampled = f"sampling.max_new_tokens {new}"
    lower = "lower sampling.max_new_tokens"
    if not model.traces:
        yield Stage("base samples", "sampling.max_new_tokens", prompts, new, sampled, lower)
    hinted = []
    for row in questions:
        hinted.append(experiment.guided.template.format(question=row["question"], answer=row["answer"]))
    guided = count_prompt_tokens(tokenizer, model, hinted)
    yield Stage("guided samples", "guided.template", guided, new, sampled, lower)
    used = lookup.run_config.list_variants(lookup.run_config.methods)
    for variant in used:
        gear = lookup.run_config.gear_variants[variant]
        yield from list_repair_stages(experiment, variant, gear, tokenizer, questions, prompts)
    answer = max((count_tokens(tokenizer, row["answer"]) for row in questions), default=0)
    cue = count_tokens(tokenizer, experiment.scoring.cue) + count_tokens(tokenizer, experiment.scoring.closing)
    parts = f"{sampled}, scoring.cue with the longest answer {cue + answer}"
    yield Stage("scores", "scoring.cue", prompts, new + cue + answer + 1, parts, lower)


def list_repair_stages(
    experiment: Experiment, variant: str, gear: Gear, tokenizer: Any, questions: Sequence[Row], prompts: Sequence[int]
) -> Iterator[Stage]:
    """The repairs of a GEAR variant, with their kept beginning as long as a trace, and its teacher's hints."""
    field = "gear.hint" if variant == DEFAULT_VARIANT else f"gear_variants.{variant}.hint"
    new, hint = experiment.sampling.max_new_tokens, estimate_hint_tokens(gear, tokenizer, questions)
    parts = f"the hint {hint}, kept and new tokens {new} (sampling.max_new_tokens)"
    yield Stage(
        f"repairs {variant}", field, prompts, hint + new, parts, "lower sampling.max_new_tokens", least=hint + 1
    )
    if gear.hint.source == "teacher":
        kept = int(gear.search_fraction * new)
        asked = count_tokens(tokenizer, gear.hint.ask_template) + max(
            (count_tokens(tokenizer, row["answer"]) for row in questions), default=0
        )
        parts = f"kept tokens {kept}, ask_template {asked}, max_tokens {gear.hint.max_tokens}"
        added = kept + asked + gear.hint.max_tokens
        fix = "lower gear.search_fraction or its max_tokens"
        yield Stage(f"hints {variant}", field, prompts, added, parts, fix, least=asked + 1)


def estimate_hint_tokens(gear: Gear, tokenizer: Any, questions: Sequence[Row]) -> int:
    """Most tokens of a hint, with the spaces around it."""
    hint = gear.hint
    if hint.source == "none":
        return 0
    if hint.source == "teacher":
        return hint.max_tokens + 2
    if hint.source == "solution":
        steps = [max((row.get("solution") or "").split("\n\n"), key=len) for row in questions]
        texts = [hint.solution_template.format(step=step) for step in steps]
    elif hint.source == "retry":
        texts = [hint.retry_text]
    else:  # noise is as long as the answer hint
        texts = [hint.template.format(answer=row["answer"]) for row in questions]
    return 2 + max((count_tokens(tokenizer, text) for text in texts), default=0)


def list_student_stages(lookup: Lookup, prompts: Sequence[int]) -> list[Stage]:
    """The untrained student's passes, where a method needs them, and its own answers while it is distilled."""
    experiment, methods = lookup.run_config.experiment, lookup.run_config.methods
    new = experiment.sampling.max_new_tokens
    stages = []
    if any(file.made_by == "student" for method in methods.values() for file in method.needs()):
        parts = f"sampling.max_new_tokens {new}"
        fix = "lower sampling.max_new_tokens"
        stages.append(Stage("student passes", "sampling.max_new_tokens", prompts, new, parts, fix))
    for name, method in methods.items():
        if method.distillation:
            own = method.distillation.max_new_tokens
            parts = f"max_new_tokens {own}"
            field = f"{name}.distillation.max_new_tokens"
            stages.append(Stage("own answers in distillation", field, prompts, own, parts, "lower it"))
    return stages


def check_training_lengths(lookup: Lookup, field: str, prompts: Sequence[int], positions: int | None) -> Findings:
    """Training's max_length against the positions, and against the traces: longer conversations are skipped."""
    experiment = lookup.run_config.experiment
    new, options = experiment.sampling.max_new_tokens, experiment.train
    if positions and options.max_length > positions:
        problem = f"{options.max_length} tokens, but {field} has {positions} positions"
        yield HealError(problem, where="train.max_length", fix=f"set it to at most {positions}")
    if not prompts:
        return
    if min(prompts) >= options.max_length:
        problem = (
            f"{options.max_length} tokens, but the shortest prompt has {min(prompts)}: nothing is left to train on"
        )
        yield HealError(problem, where="train.max_length", fix=f"raise it to at least {max(prompts) + new}")
    elif max(prompts) + new > options.max_length:
        problem = f"{options.max_length} tokens: the longest prompt has {max(prompts)}, a trace up to {new} more"
        fix = f"raise it to {max(prompts) + new}, or accept that longer conversations are skipped and counted"
        yield Caution(problem, where="train.max_length", fix=fix)


def list_benchmark_stages(lookup: Lookup, tokenizer: Any, model: Model) -> list[Stage]:
    """The questions of every benchmark."""
    stages = []
    for name, benchmark in lookup.get_benchmarks().items():
        try:
            questions = [row["question"] for row in lookup.get_questions(benchmark.split)]
        except HealError:  # reported by the check of the data
            continue
        prompts = count_prompt_tokens(tokenizer, model, questions)
        parts = f"max_gen_toks {benchmark.max_tokens}"
        fix = f"use a task with a smaller max_gen_toks (evals/tasks/), or leave {name} out of `benchmarks`"
        stages.append(Stage(f"benchmark {name}", "benchmarks", prompts, benchmark.max_tokens, parts, fix, whole=True))
    return stages


def check_stage(stage: Stage, limit: Limit, field: str) -> Findings:
    """A fault where no request of the stage fits, or all must and one does not; a caution where some do not."""
    if not stage.prompts:
        return
    shortest, longest = min(stage.prompts), max(stage.prompts)
    if longest + stage.added <= limit.tokens:
        return
    too_long = sum(prompt + stage.added > limit.tokens for prompt in stage.prompts)
    if too_long == len(stage.prompts):
        counted, example = "every request", f"the shortest prompt {shortest}"
    else:
        counted, example = f"{too_long} of {len(stage.prompts)} prompts", f"the longest prompt {longest}"
    problem = f"{stage.name} of {field}: {counted} can exceed {limit.tokens} tokens ({limit.source}): "
    problem += f"{example}, {stage.parts}"
    room = limit.tokens - longest
    fix = f"{stage.fix} by {longest + stage.added - limit.tokens}"
    if limit.source == "engine.max_length":
        fix += f"; or raise engine.max_length to {longest + stage.added}"
    least = stage.added if stage.least is None else stage.least
    if stage.whole or shortest + least > limit.tokens or room <= 0:
        yield HealError(problem, where=stage.field, fix=fix)
    else:
        yield Caution(problem, where=stage.field, fix=f"{fix}; or accept that these are shortened or skipped")
