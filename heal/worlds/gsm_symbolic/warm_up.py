"""Worked examples that a model is trained on before the run uses it: what it knows, and how it takes a hint.

Reads the templates (heal/worlds/gsm_symbolic/problems.py); writes curriculum rows for heal.training.train. Their problems are in no
split. An example with a hint has it in the user's turn, or mid-trace as heal.pipeline.repair puts it there: behind right steps,
or behind a wrong one, which is then made good. What stands before the end of a mid-trace hint is `given`, not learnt.

    python -m heal.worlds.gsm_symbolic.warm_up --options '{"templates": "easy", "per_template": 40}' --out curriculum.jsonl
"""

from __future__ import annotations

import random
import re
from collections import Counter
from itertools import islice
from operator import itemgetter

from heal import records
from heal.config.data import WarmUpData
from heal.config.experiment import Guided, Hint
from heal.data.load_problems import with_instruction
from heal.errors import exit_with_errors
from heal.method.steps import split_text
from heal.pipeline.runner import arguments_parser, read_options
from heal.provenance import recorded
from heal.records import Row, content_id
from heal.worlds.gsm_symbolic import templates
from heal.worlds.gsm_symbolic.checker import first_wrong_step
from heal.worlds.gsm_symbolic.equations import NUMBER
from heal.worlds.gsm_symbolic.problems import BLANK, distinct

PLACES = ("start", "mid")  # where a hint stands, in turn
WRONG_PREFIXES = 4  # every so many-th mid-trace hint stands behind a wrong step (ours)
LARGEST_SLIP = 9
TRIES = 20


def wanted(options: WarmUpData) -> dict[int, int]:
    """Template → how many examples of it are asked for."""
    chosen = templates.EASY if options.templates == "easy" else templates.TAUGHT
    return {t: options.per_weak_template if t in templates.WEAK else options.per_template for t in chosen}


def slipped(problem: Row, steps: list[str], rng: random.Random) -> str | None:
    """The last of right steps with one number changed, so that the checker refuses it; None where it never does."""
    places = list(re.finditer(NUMBER, steps[-1]))
    for _ in range(TRIES if places else 0):
        place = rng.choice(places)
        digits = place.group().replace(",", "")
        slip = rng.choice((-1, 1)) * rng.randint(1, LARGEST_SLIP)
        if not digits.isdecimal() or int(digits) + slip < 1:
            continue
        wrong = steps[-1][: place.start()] + str(int(digits) + slip) + steps[-1][place.end() :]
        if first_wrong_step(problem, [*steps[:-1], wrong]) == len(steps):
            return wrong
    return None


def example(problem: Row, origin: str, user: str, given: str, rest: list[str]) -> Row:
    """One conversation; `given`: the part of the assistant's message that is context."""
    answer = given + BLANK.join(rest)
    row = {
        "id": content_id("warm-up", user, answer, given),
        "origin": origin,
        "source": problem["source"],
        "stage": 1,
        "weight": 1.0,
        "messages": [{"role": "user", "content": user}, {"role": "assistant", "content": answer}],
    }
    return row | ({"given": given} if given else {})


def unaided(problem: Row) -> Row:
    """Question and worked solution."""
    return example(problem, "worked", problem["question"], "", split_text(problem["solution"]))


def hinted_at_start(problem: Row, template: str) -> Row:
    """The answer in the user's turn, as heal.pipeline.sample asks for answer-guided samples."""
    user = template.format(question=problem["question"], answer=problem["answer"])
    return example(problem, "hint_start", user, "", split_text(problem["solution"]))


def hinted_midway(problem: Row, template: str, wrong: bool, rng: random.Random) -> Row:
    """The hint behind one or more steps; behind a wrong one, the same step follows as it should be."""
    steps = split_text(problem["solution"])
    kept = rng.randint(1, len(steps) - 1)
    before, rest, origin = steps[:kept], steps[kept:], "hint_mid"
    if wrong and (slip := slipped(problem, before, rng)):
        before, rest, origin = [*before[:-1], slip], [before[-1], *rest], "hint_wrong"
    given = BLANK.join([*before, template.format(answer=problem["answer"]), ""])
    return example(problem, origin, problem["question"], given, rest)


def examples(
    options: WarmUpData, instruction: str, guided_template: str, hint_template: str, seed: int
) -> tuple[list[Row], dict[int, int]]:
    """The examples in random order, and how many each template has; a template with few numbers may have fewer."""
    rng = random.Random(f"warm-up {seed}")
    rows, counts = [], {}
    midway = 0
    for template, n in wanted(options).items():
        made = list(islice(distinct(template, "warm_up", seed, key=itemgetter("question")), n))
        counts[template] = len(made)
        hinted = 0 if template in templates.WEAK else round(options.hinted_share * len(made))
        for number, problem in enumerate(made):
            problem = problem | {"question": with_instruction(problem["question"], instruction)}
            if number >= hinted:
                rows.append(unaided(problem))
            elif PLACES[number % 2] == "start":
                rows.append(hinted_at_start(problem, guided_template))
            else:
                midway += 1
                rows.append(hinted_midway(problem, hint_template, midway % WRONG_PREFIXES == 0, rng))
    rng.shuffle(rows)
    return rows, counts


def main() -> None:
    parser = arguments_parser(__doc__)
    parser.add_argument("--instruction", default="", help="put behind every question after a blank line")
    parser.add_argument("--guided-template", default=Guided().template, help="the user's turn with the answer")
    parser.add_argument("--hint-template", default=Hint().template, help="the hint that is injected mid-trace")
    arguments = parser.parse_args()
    options = read_options(WarmUpData, arguments.options)
    with recorded(
        arguments.out, "heal.worlds.gsm_symbolic.warm_up", options=vars(arguments), seeds=[arguments.seed]
    ) as facts:
        rows, counts = examples(
            options, arguments.instruction, arguments.guided_template, arguments.hint_template, arguments.seed
        )
        facts["examples"] = {"by_template": counts, "by_origin": Counter(row["origin"] for row in rows)}
        records.write_jsonl(arguments.out, rows)


if __name__ == "__main__":
    exit_with_errors(main)
