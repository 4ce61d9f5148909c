"""Worked examples that a model is trained on before the run uses it: what it knows, and how it uses a hint.

Their problems are in no split. An example with a hint has it in the user's turn, or mid-trace as heal.pipeline.repair
injects it: after right steps, or after a wrong step, which is then corrected. The text up to the end of a mid-trace
hint is context (`given`) that is not trained on.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Literal

from heal.config.options import Count, OptionGroup, Share
from heal.method.steps import split_text
from heal.records import Row, hash_content
from heal.worlds.base import Problem, Prompts
from heal.worlds.gsm_symbolic import templates
from heal.worlds.gsm_symbolic.checker import find_first_wrong_step
from heal.worlds.gsm_symbolic.equations import NUMBER
from heal.worlds.gsm_symbolic.problems import BLANK, generate_distinct

WRONG_PREFIXES = 4
"""One of so many mid-trace hints comes after a wrong step (ours)."""
LARGEST_SLIP = 9
"""Largest difference between a right number and the wrong one of a wrong step."""
TRIES = 20


class GsmSymbolicWarmUp(OptionGroup):
    """What `warm_up.examples` of a model may contain, with `warm_up.world: gsm_symbolic`."""

    templates: Literal["easy", "taught"]
    """The templates of the worked examples: the easy ones, or all but the unseen ones."""
    per_template: Count
    """Examples of each template."""
    per_weak_template: Count = 1
    """For `taught`: examples of each weak template, of which the model is to know too little."""
    hinted_share: Share = 0.0
    """Share of the examples of templates that are not weak with a hint, at the start or mid-trace."""


def count_per_template(options: GsmSymbolicWarmUp) -> dict[int, int]:
    """Template → number of its examples."""
    counts = {}
    for template in templates.EASY if options.templates == "easy" else templates.TAUGHT:
        weak = template in templates.WEAK
        counts[template] = options.per_weak_template if weak else options.per_template
    return counts


def build_examples(options: GsmSymbolicWarmUp, prompts: Prompts, seed: int) -> list[Row]:
    """The examples in random order; a template with few numbers may have fewer than the options say.

    Hints are at the start and mid-trace in turn.
    """
    rng = random.Random(f"warm-up {seed}")
    rows = []
    midway = 0
    for template, n in count_per_template(options).items():
        problems = list(islice(generate_distinct(template, "warm_up", seed, lambda problem: problem.question), n))
        hinted = 0 if template in templates.WEAK else round(options.hinted_share * len(problems))
        for number, problem in enumerate(problems):
            problem = replace(problem, question=prompts.ask(problem.question))
            if number >= hinted:
                rows.append(build_unaided(problem))
            elif number % 2 == 0:
                rows.append(build_hinted_at_start(problem, prompts.guided_template))
            else:
                midway += 1
                rows.append(build_hinted_midway(problem, prompts.hint_template, midway % WRONG_PREFIXES == 0, rng))
    rng.shuffle(rows)
    return rows


def build_unaided(problem: Problem) -> Row:
    """Question and worked solution."""
    return build_row(problem, "worked", problem.question, split_solution(problem))


def build_hinted_at_start(problem: Problem, template: str) -> Row:
    """The answer in the user's turn, as heal.pipeline.sample asks for answer-guided samples."""
    user = template.format(question=problem.question, answer=problem.answer)
    return build_row(problem, "hint_start", user, split_solution(problem))


def build_hinted_midway(problem: Problem, template: str, wrong: bool, rng: random.Random) -> Row:
    """The hint after one or more steps; after a wrong one, the right step follows."""
    steps = split_solution(problem)
    count = rng.randint(1, len(steps) - 1)
    before, rest, origin = steps[:count], steps[count:], "hint_mid"
    slip = write_slip(problem, before, rng) if wrong else None
    if slip:
        before, rest, origin = [*before[:-1], slip], [before[-1], *rest], "hint_wrong"
    context = BLANK.join([*before, template.format(answer=problem.answer), ""])
    return build_row(problem, origin, problem.question, rest, context)


def split_solution(problem: Problem) -> list[str]:
    """The steps of the worked solution."""
    return split_text(problem.solution or "")


def write_slip(problem: Problem, steps: Sequence[str], rng: random.Random) -> str | None:
    """The last of some right steps with one number changed, which the checker refuses; None where it never does."""
    last = steps[-1]
    places = list(re.finditer(NUMBER, last))
    for _ in range(TRIES if places else 0):
        place = rng.choice(places)
        digits = place.group().replace(",", "")
        slip = rng.choice((-1, 1)) * rng.randint(1, LARGEST_SLIP)
        if not digits.isdecimal() or int(digits) + slip < 1:
            continue
        wrong = last[: place.start()] + str(int(digits) + slip) + last[place.end() :]
        if find_first_wrong_step(problem, [*steps[:-1], wrong]) == len(steps):
            return wrong
    return None


def build_row(problem: Problem, origin: str, user: str, rest: Sequence[str], context: str = "") -> Row:
    """One conversation. context: the beginning of the assistant's message, which is not trained on."""
    answer = context + BLANK.join(rest)
    row = {
        "id": hash_content("warm-up", user, answer, context),
        "origin": origin,
        "source": problem.source,
        "stage": 1,
        "weight": 1.0,
        "messages": [{"role": "user", "content": user}, {"role": "assistant", "content": answer}],
    }
    if context:
        row["given"] = context
    return row
