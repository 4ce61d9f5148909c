"""Estimate the tokens of everything that runs a model: trace files, training, benchmark answers.

Reads nothing but the inputs of a plan. What is unknown before a run is an assumption (heal.planning.assumptions).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields

from heal.config.experiment import Gear
from heal.cost import price_tokens
from heal.method.base import Method
from heal.method.pace import count_optimizer_steps, list_stage_sets
from heal.method.pure import SECTIONS
from heal.planning.inputs import PlanInputs
from heal.trace_files import (
    ALLOCATIONS,
    CONTINUATIONS,
    DEFAULT_VARIANT,
    EXTRA_BLOCK,
    EXTRA_SAMPLES,
    GRADES,
    GUIDED,
    GUIDED_SCORES,
    LOW_TEMPERATURE_SAMPLES,
    RANKS,
    REPAIR_RANKS,
    REPAIRS,
    SAMPLES,
    SCORES,
    STUDENT_SAMPLES,
    TraceFile,
)


@dataclass(frozen=True)
class Tokens:
    """Prompts, tokens read (prefilled, scored or trained on) and tokens written, with what attention costs them."""

    prompts: float = 0.0
    read: float = 0.0
    written: float = 0.0
    read_pairs: float = 0.0
    """Tokens before each read token, summed over the read tokens."""
    written_pairs: float = 0.0
    """The same of the written tokens."""
    tail_steps: float = 0.0
    """Decoding steps in which the longest sequences of a batch run alone."""

    def scale(self, factor: float) -> Tokens:
        return Tokens(*(factor * getattr(self, field.name) for field in fields(self)))


def add_tokens(parts: Iterable[Tokens]) -> Tokens:
    sums = dict.fromkeys((field.name for field in fields(Tokens)), 0.0)
    for part in parts:
        for name in sums:
            sums[name] += getattr(part, name)
    return Tokens(**sums)


def read_tokens(count: float, length: float) -> Tokens:
    """The read tokens of so many sequences of this length."""
    return Tokens(read=count * length, read_pairs=count * length * length / 2)


def write_tokens(count: float, length: float, context: float) -> Tokens:
    """The written tokens of so many sequences of this length, each behind a context."""
    return Tokens(written=count * length, written_pairs=count * length * (context + length / 2))


def estimate_tail(inputs: PlanInputs, problems: float) -> Tokens:
    """The ends of all batches of so many problems: half of the way from a usual trace to the longest possible one."""
    experiment = inputs.experiment
    batches = math.ceil(problems / experiment.engine.problems_per_batch)
    steps = max(0.0, experiment.sampling.max_new_tokens - inputs["trace_tokens"]) / 2
    return Tokens(tail_steps=batches * steps)


def list_made_files(inputs: PlanInputs) -> dict[str, TraceFile]:
    """Path → file, of all trace files that the workflow makes for one teacher and teacher sampling seed."""
    run_config = inputs.run_config
    wanted = [SAMPLES, GRADES, GUIDED, REPAIRS.of(variant=DEFAULT_VARIANT)]  # the premise
    for name in inputs.methods:
        wanted += run_config.methods[name].needs()
    if inputs.experiment.problems.train.from_world:  # audits and figures
        for variant in run_config.list_variants(inputs.methods):
            wanted += [REPAIRS.of(variant=variant), SCORES.of(variant=variant)]
    files: dict[str, TraceFile] = {}
    while wanted:
        file = wanted.pop()
        if file.path not in files:
            files[file.path] = file
            wanted += list_parents(inputs, file)
    return dict(sorted(files.items()))


def estimate_trace_tokens(inputs: PlanInputs) -> dict[str, Tokens]:
    """Path → tokens of each trace file that a model makes, for one teacher sampling seed; `{student}` stays open."""
    samples = estimate_samples(inputs)
    tokens = {
        SAMPLES.path: samples,
        STUDENT_SAMPLES.path: samples,
        GUIDED.path: estimate_guided_samples(inputs),
        GUIDED_SCORES.path: estimate_guided_scores(inputs),
        LOW_TEMPERATURE_SAMPLES.path: estimate_low_temperature_samples(inputs),
        RANKS.path: estimate_ranks(inputs),
        CONTINUATIONS.path: estimate_continuations(inputs),
    }
    for variant, gear in inputs.run_config.gear_variants.items():
        tokens[REPAIRS.of(variant=variant).path] = estimate_repairs(inputs, gear)
        tokens[SCORES.of(variant=variant).path] = estimate_scores(inputs, gear)
        tokens[REPAIR_RANKS.of(variant=variant).path] = estimate_repair_ranks(inputs, gear)
        for allocation in ALLOCATIONS:
            extra = EXTRA_SAMPLES.of(variant=variant, allocation=allocation)
            parents = list_parents(inputs, extra)
            matched = [tokens[parent.path] for parent in parents if parent.made_by == "teacher"]
            tokens[extra.path] = estimate_extra_samples(inputs, add_tokens(matched))
    return tokens


def estimate_samples(inputs: PlanInputs) -> Tokens:
    """Base samples of the training problems, by a teacher or a student."""
    problems, prompt_tokens = inputs.problems["train"], inputs["prompt_tokens"]
    samples = problems * inputs.experiment.sampling.n
    return add_tokens(
        [
            Tokens(prompts=problems),
            read_tokens(problems, prompt_tokens),
            write_tokens(samples, inputs["trace_tokens"], prompt_tokens),
            estimate_tail(inputs, problems),
        ]
    )


def estimate_low_temperature_samples(inputs: PlanInputs) -> Tokens:
    """One greedy sample and the low-temperature ones of every problem: two calls, so each prompt is read twice."""
    problems, prompt_tokens = inputs.problems["train"], inputs["prompt_tokens"]
    samples = problems * (1 + inputs.experiment.low_temperature.n)
    return add_tokens(
        [
            Tokens(prompts=2 * problems),
            read_tokens(2 * problems, prompt_tokens),
            write_tokens(samples, inputs["trace_tokens"], prompt_tokens),
            estimate_tail(inputs, 2 * problems),
        ]
    )


def count_guided_problems(inputs: PlanInputs) -> float:
    return inputs.problems["train"] * inputs["guided_share"]


def count_guided_samples(inputs: PlanInputs) -> float:
    """Answer-guided samples of all problems."""
    experiment = inputs.experiment
    return count_guided_problems(inputs) * (experiment.guided.n or experiment.sampling.n)


def count_treated_problems(inputs: PlanInputs) -> float:
    return inputs.problems["train"] * inputs["treated_share"]


def count_solved_problems(inputs: PlanInputs) -> float:
    return inputs.problems["train"] * (1 - inputs["treated_share"])


def count_cuts(inputs: PlanInputs, gear: Gear) -> float:
    """Wrong traces that GEAR cuts."""
    treated = count_treated_problems(inputs)
    return treated * min(gear.traces_per_problem, inputs.experiment.sampling.n) * inputs["repairable_share"]


def estimate_guided_samples(inputs: PlanInputs) -> Tokens:
    """Answer-guided samples: the hint is part of every prompt."""
    problems = count_guided_problems(inputs)
    context = inputs["prompt_tokens"] + inputs["hint_tokens"]
    return add_tokens(
        [
            Tokens(prompts=problems),
            read_tokens(problems, context),
            write_tokens(count_guided_samples(inputs), inputs["trace_tokens"], context),
            estimate_tail(inputs, problems),
        ]
    )


def estimate_greedy_samples(inputs: PlanInputs) -> Tokens:
    """One greedy sample of every treated problem, for the premise: no method's cost."""
    problems, prompt_tokens = count_treated_problems(inputs), inputs["prompt_tokens"]
    return add_tokens(
        [
            Tokens(prompts=problems),
            read_tokens(problems, prompt_tokens),
            write_tokens(problems, inputs["trace_tokens"], prompt_tokens),
            estimate_tail(inputs, problems),
        ]
    )


def estimate_repairs(inputs: PlanInputs, gear: Gear) -> Tokens:
    """Repairs of one GEAR variant; a teacher's hint is one more prompt per cut."""
    cuts = count_cuts(inputs, gear)
    repairs = cuts * gear.repairs_per_trace
    kept_tokens = inputs["kept_share"] * inputs["trace_tokens"]
    hint_tokens = inputs["hint_tokens"] * (gear.hint.source != "none")
    hint_prompts = cuts * (gear.hint.source == "teacher")
    context = inputs["prompt_tokens"] + kept_tokens + hint_tokens
    treated = count_treated_problems(inputs)
    return add_tokens(
        [
            Tokens(prompts=cuts + hint_prompts),
            read_tokens(cuts + hint_prompts, context),
            write_tokens(repairs, inputs["trace_tokens"] - kept_tokens, context),
            write_tokens(hint_prompts, hint_tokens, context),
            estimate_tail(inputs, treated),
        ]
    )


def estimate_scores(inputs: PlanInputs, gear: Gear) -> Tokens:
    """Scores of one GEAR variant: accepted repairs, and the teacher's own traces."""
    repairs = count_cuts(inputs, gear) * gear.repairs_per_trace * inputs["repairs_accepted"]
    own = min(inputs.experiment.scoring.calibration_traces, count_solved_problems(inputs))
    return estimate_scoring(inputs, repairs + own)


def estimate_guided_scores(inputs: PlanInputs) -> Tokens:
    """Scores of the accepted answer-guided samples."""
    return estimate_scoring(inputs, count_guided_samples(inputs) * inputs["guided_accepted"])


def estimate_scoring(inputs: PlanInputs, traces: float) -> Tokens:
    """Scores of so many traces.

    Each trace is read twice, and read up to a number of points at which the gold answer's probability is measured; a
    trace of more steps is read again, at most to its end, for each division of the steps around the crossing.
    """
    scoring, trace_tokens = inputs.experiment.scoring, inputs["trace_tokens"]
    steps = trace_tokens / inputs["step_tokens"]
    gap = max(1.0, (steps - 1) / max(1, scoring.max_points - 1))
    divisions = math.ceil(math.log(gap, SECTIONS) - 1e-9)
    points = 1 + min(scoring.max_points, steps) + divisions * (SECTIONS - 1)
    length = inputs["prompt_tokens"] + trace_tokens
    point_tokens = traces * points * inputs["point_tokens"]
    at_points = Tokens(read=point_tokens, read_pairs=point_tokens * length / 2)
    return add_tokens([Tokens(prompts=traces), read_tokens((2 + divisions) * traces, length), at_points])


def list_parents(inputs: PlanInputs, file: TraceFile) -> list[TraceFile]:
    """The files that a file is made from: extra samples match the scores of guided samples where the run has them."""
    parents = list(file.parents)
    if file.rule == EXTRA_SAMPLES.rule and not inputs.experiment.pure.filters_guided:
        parents.remove(GUIDED_SCORES)
    return parents


def estimate_extra_samples(inputs: PlanInputs, matched: Tokens) -> Tokens:
    """Extra samples at the cost of the matched files, in blocks that share a prompt."""
    prompt_tokens, trace_tokens = inputs["prompt_tokens"], inputs["trace_tokens"]
    read_price = inputs.experiment.cost.read_price
    budget = price_tokens(matched.written, matched.read, read_price)
    blocks = budget / price_tokens(EXTRA_BLOCK * trace_tokens, prompt_tokens, read_price)
    return add_tokens(
        [
            Tokens(prompts=blocks),
            read_tokens(blocks, prompt_tokens),
            write_tokens(blocks * EXTRA_BLOCK, trace_tokens, prompt_tokens),
            estimate_tail(inputs, blocks * EXTRA_BLOCK / inputs.experiment.sampling.n),
        ]
    )


def estimate_ranks(inputs: PlanInputs) -> Tokens:
    """A student's pass over every sample of the solved problems, at most."""
    samples = count_solved_problems(inputs) * inputs.experiment.sampling.n
    return add_tokens([Tokens(prompts=samples), read_tokens(samples, inputs["prompt_tokens"] + inputs["trace_tokens"])])


def estimate_repair_ranks(inputs: PlanInputs, gear: Gear) -> Tokens:
    """A student's pass over the accepted repairs of one GEAR variant."""
    repairs = count_cuts(inputs, gear) * gear.repairs_per_trace * inputs["repairs_accepted"]
    return add_tokens([Tokens(prompts=repairs), read_tokens(repairs, inputs["prompt_tokens"] + inputs["trace_tokens"])])


def estimate_continuations(inputs: PlanInputs) -> Tokens:
    """A student's continuations from evenly spaced cuts of correct samples."""
    prefixes, trace_tokens = inputs.experiment.prefixes, inputs["trace_tokens"]
    prompts = count_solved_problems(inputs) * prefixes.traces_per_problem * prefixes.cuts
    kept_tokens = trace_tokens * (prefixes.cuts - 1) / (2 * prefixes.cuts)
    context = inputs["prompt_tokens"] + kept_tokens
    return add_tokens(
        [
            Tokens(prompts=prompts),
            read_tokens(prompts, context),
            write_tokens(prompts * prefixes.continuations, trace_tokens - kept_tokens, context),
            estimate_tail(inputs, count_solved_problems(inputs)),
        ]
    )


def estimate_answers(inputs: PlanInputs) -> Tokens:
    """Answers of one model to all benchmarks; each benchmark is one batch."""
    parts = []
    for benchmark in inputs.benchmarks.values():
        answers = inputs.problems[benchmark.split] * benchmark.repeats
        length = inputs["answer_share"] * benchmark.max_tokens
        parts += [
            Tokens(prompts=answers, tail_steps=(benchmark.max_tokens - length) / 2),
            read_tokens(answers, inputs["prompt_tokens"]),
            write_tokens(answers, length, inputs["prompt_tokens"]),
        ]
    return add_tokens(parts)


def estimate_training(inputs: PlanInputs, conversations: float) -> Tokens:
    """Training on so many conversations, repeats included."""
    length = inputs["prompt_tokens"] + inputs["trace_tokens"]
    return add_tokens([Tokens(prompts=conversations), read_tokens(conversations, length)])


def estimate_optimizer_steps(inputs: PlanInputs, name: str) -> int:
    """Optimizer steps of one student of a method; by epochs, over at most what the method's trace files can give."""
    options, method = inputs.run_config.get_training(name), inputs.run_config.methods[name]
    examples = {stage: size for stage, size in estimate_examples(inputs, method).items() if size}
    sizes = []
    for _, stages in list_stage_sets(examples, method.schedule):
        sizes.append(sum(examples[stage] for stage in stages))
    return sum(count_optimizer_steps(sizes, options.max_steps, options.epochs, options.batch_size))


def estimate_examples(inputs: PlanInputs, method: Method) -> dict[int, float]:
    """Stage → examples, at most; worked solutions, for which no trace file is needed, are one per problem."""
    needs, problems = method.needs(), inputs.problems["train"]
    if not needs:
        return {1: problems}
    tokens, samples = estimate_trace_tokens(inputs), 1.0
    for file in needs:
        if file.rule in (EXTRA_SAMPLES.rule, LOW_TEMPERATURE_SAMPLES.rule):  # the cap grows with the samples
            samples += tokens[file.path].written / tokens[SAMPLES.path].written
    most = problems * (method.pace or inputs.experiment.pace).max_per_problem
    return {
        1: most * samples * (1 - inputs["treated_share"]),
        2: most * inputs["guided_share"] * (GUIDED in needs),
        3: most * inputs["treated_share"] * any(file.schema == "repairs" for file in needs),
    }
