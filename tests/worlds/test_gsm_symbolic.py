"""Laws of the word problems: solutions check, errors are found, splits and warm-up share nothing, hints are context."""

import importlib.util
import random
import re
import sys
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import islice

import numpy as np
import pytest

from heal import cli, registry
from heal.config.data import Dataset, Problems
from heal.data import load_problems as problems
from heal.errors import HealError
from heal.grading.grader import Grader, check_gold
from heal.method.steps import split_text
from heal.records import Row
from heal.training.conversations import read_curriculum
from heal.worlds.base import Problem, Prompts
from heal.worlds.gsm_symbolic import problems as words
from heal.worlds.gsm_symbolic import templates
from heal.worlds.gsm_symbolic.checker import check_steps, find_first_wrong_step
from heal.worlds.gsm_symbolic.equations import STATED, find_claims
from heal.worlds.gsm_symbolic.warm_up import GsmSymbolicWarmUp, build_examples
from heal.worlds.registry import count_warmup_examples, resolve_options

needs_package = pytest.mark.skipif(
    importlib.util.find_spec(words.PACKAGE) is None, reason="reasoning-gym is not installed: make smol-env"
)


def test_the_templates_are_divided_as_described():
    groups = templates.GROUPS
    assert {name: len(group) for name, group in groups.items()} == {"easy": 25, "strong": 25, "weak": 20, "unseen": 15}
    assert sorted(sum(groups.values(), ())) == sorted(templates.ORDER) and len(set(templates.ORDER)) == 85
    assert len(templates.TAUGHT) == 70 and not set(templates.TAUGHT) & set(templates.UNSEEN)
    rank = {template: place for place, template in enumerate(templates.TAUGHT)}
    assert all(rank[template] < 25 for template in groups["easy"])
    assert all(rank[template] >= 35 for template in groups["weak"])
    middle = np.mean([templates.ORDER.index(template) for template in groups["unseen"]])
    assert middle == pytest.approx(42, abs=2)


def test_the_splits_are_kept_apart_without_decontamination():
    train = Dataset(source="gsm_symbolic", split="train", n=5)
    assert not Problems(train=train, dev=train, test={}).decontaminated
    with pytest.raises(HealError, match="unknown split of gsm_symbolic 'hard'(?s:.*)seen, train, unseen, weak"):
        resolve_options(Dataset(source="gsm_symbolic", split="hard", n=5))


def test_without_the_package_the_message_says_what_to_do(monkeypatch):
    words.load_generators.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(HealError, match="make smol-env"):
        problems.load(Dataset(source="gsm_symbolic", split="train", n=5), seed=0)


def test_the_benchmarks_ask_every_held_out_split():
    tasks = {name: fields for name, fields in registry.read_tasks().items() if name.startswith("gsm_symbolic")}
    assert {fields["dataset_kwargs"]["split"] for fields in tasks.values()} == {"dev", "seen", "weak", "unseen"}
    assert tasks["gsm_symbolic_weak_sampled"]["repeats"] == 4


@pytest.fixture(scope="module")
def all_splits() -> dict[str, list[Problem]]:
    return {split: words.generate(split, 140, seed=3) for split in words.SPLITS}


@pytest.fixture(scope="module")
def everything(all_splits) -> list[Problem]:
    return [problem for split in all_splits.values() for problem in split]


@needs_package
def test_every_template_makes_problems_whose_solutions_are_valid_and_end_with_the_answer(everything):
    assert {problem.source for problem in everything} == {f"gsm_symbolic/template{t}" for t in templates.ORDER}
    with Grader() as grader:
        for problem in everything:
            steps = split_text(problem.solution)
            assert check_steps(problem, steps) == [True] * len(steps) and len(steps) > 2
            assert steps[-1] == f"The answer is \\boxed{{{problem.answer}}}."
            assert "####" not in problem.solution and not re.search(r"\d\.0(?!\d)", problem.solution)
            check_gold(problem.answer, grader)
            assert grader.grade(problem.solution, problem.answer).correct


@pytest.mark.workflow
@needs_package
def test_the_order_of_the_templates_is_that_of_their_solutions():
    def effort(template: int) -> tuple[int, int, int]:
        solutions = [
            split_text(problem.solution) for problem in islice(words.generate_distinct(template, "warm_up", 0), 20)
        ]
        operations = [sum(claim.operations for step in steps for claim in find_claims(step)) for steps in solutions]
        return max(map(len, solutions)), max(operations), template

    assert tuple(sorted(templates.ORDER, key=effort)) == templates.ORDER


@needs_package
def test_a_problem_says_of_which_kind_its_template_is(all_splits):
    kinds = {split: {problem.difficulty for problem in rows} for split, rows in all_splits.items()}
    taught = {"easy", "strong", "weak"}
    assert kinds == {"train": taught, "dev": taught, "seen": taught - {"weak"}, "weak": {"weak"}, "unseen": {"unseen"}}


@needs_package
def test_no_two_splits_share_a_problem_whatever_the_seeds():
    split_by_numbers = {}
    for split in words.SPLITS:
        for seed in (0, 1):
            rows = words.generate(split, 100, seed)
            assert len({words.get_identity(row) for row in rows}) == len(rows)
            for row in rows:
                assert split_by_numbers.setdefault(words.get_identity(row), split) == split
    options = GsmSymbolicWarmUp(templates="taught", per_template=6, per_weak_template=3, hinted_share=0.5)
    for row in build_examples(options, Prompts("", "{question}", "{answer}"), seed=0):
        problem = Problem(row["messages"][0]["content"], "", None, row["source"])
        assert words.get_identity(problem) not in split_by_numbers


@needs_package
@pytest.mark.parametrize("split", words.SPLITS)
def test_fewer_problems_are_the_first_of_more_and_the_seed_decides(split, all_splits):
    assert words.generate(split, 33, seed=3) == all_splits[split][:33]
    assert words.generate(split, 33, seed=4) != all_splits[split][:33]


@needs_package
def test_templates_take_turns_and_a_split_that_is_used_up_says_so(all_splits, monkeypatch):
    counts = Counter(problem.source for problem in all_splits["weak"])
    assert max(counts.values()) - min(counts.values()) <= 1
    monkeypatch.setitem(words.SPLITS, "weak", ((53,), "test"))
    with pytest.raises(HealError, match="only . different problems"):
        words.generate("weak", 100, seed=0)
    with pytest.raises(ValueError, match="unknown split"):
        words.generate("hard", 1, seed=0)


@needs_package
def test_nearly_every_changed_number_is_found_at_its_step(everything):
    rng, hits = random.Random(0), []
    for problem in everything:
        steps = split_text(problem.solution)
        at = rng.randrange(len(steps))
        places = list(STATED.finditer(steps[at]))
        if places:
            hit = rng.choice(places)
            wrong = str(Fraction(hit["number"].replace(",", "")).__ceil__() + rng.randint(1, 9))
            changed = steps[at][: hit.start()] + wrong + steps[at][hit.end("number") :]
            hits.append(find_first_wrong_step(problem, [*steps[:at], changed, *steps[at + 1 :]]) == at + 1)
    assert len(hits) > 600 and np.mean(hits) > 0.97


@needs_package
def test_most_jumps_are_found(everything):
    hits = []
    for problem in everything:
        steps = split_text(problem.solution)
        hits.append(find_first_wrong_step(problem, [steps[0], steps[-1]]) == 2)
    assert np.mean(hits) > 0.85


@needs_package
def test_problems_that_came_out_badly_are_not_used():
    problem = words.draw_problem(6, random.Random(0))
    assert words.find_flaw(problem) is None
    assert words.find_flaw(replace(problem, answer="-4")) == "a negative answer"
    assert "decimals" in words.find_flaw(replace(problem, question="How much is 1.66666?"))
    assert "not true" in words.find_flaw(replace(problem, solution=f"2 * 3 = 7\n\n{problem.solution}"))


@needs_package
def test_the_whole_package_is_not_imported():
    words.load_generators()
    assert words.PACKAGE not in sys.modules


@needs_package
def test_a_config_gets_its_problems(all_splits):
    rows = problems.load(Dataset(source="gsm_symbolic", split="unseen", n=20), seed=3)
    assert [Problem.from_row(row) for row in rows] == all_splits["unseen"][:20]
    assert len({row["problem_id"] for row in rows}) == 20


HINTED = {"templates": "taught", "per_template": 10, "per_weak_template": 2, "hinted_share": 0.4}
GUIDED, HINT, BOX = "{question}\n\nHint: the answer is {answer}.", "Hint: the answer is {answer}.", "Use a box."


@pytest.fixture(scope="module")
def curriculum(tmp_path_factory) -> list[Row]:
    """The rows as heal.training.train reads them."""
    out = tmp_path_factory.mktemp("warm-up") / "curriculum.jsonl"
    flags = ["--examples.world", "gsm_symbolic", "--instruction", BOX, "--guided-template", GUIDED]
    for name, value in HINTED.items():
        flags += ["--examples.options", f"{name}={value}"]
    cli.main(["build-warmup-examples", *flags, "--hint-template", HINT, "--out", str(out)])
    return read_curriculum(out)


def split_example(row: Row) -> tuple[Problem, list[str]]:
    """The problem of an example as its text has it, and the steps behind what is given."""
    answer = row["messages"][1]["content"]
    gold = re.findall(r"boxed\{(.*)\}", answer)[-1]
    rest = split_text(answer[len(row.get("given", "")) :])
    return Problem(row["messages"][0]["content"], gold, None, row["source"]), rest


@needs_package
def test_the_share_of_hints_is_as_asked_and_weak_templates_have_none(curriculum):
    weak = {f"gsm_symbolic/template{template}" for template in templates.WEAK}
    assert len(curriculum) == len({row["id"] for row in curriculum}) == 50 * 10 + 20 * 2
    assert {row["origin"] for row in curriculum if row["source"] in weak} == {"worked"}
    origins = Counter(row["origin"] for row in curriculum if row["source"] not in weak)
    assert origins["worked"] == 300 and origins["hint_start"] == origins["hint_mid"] + origins["hint_wrong"] == 100
    assert 15 <= origins["hint_wrong"] <= 25


@needs_package
def test_hints_stand_where_the_teacher_is_asked_with_them(curriculum):
    for row in curriculum:
        problem, rest = split_example(row)
        hint = HINT.format(answer=problem.answer)
        prefix = row.get("given", "")
        assert BOX in problem.question
        assert problem.question.endswith(f"{BOX}\n\n{hint}" if row["origin"] == "hint_start" else BOX)
        assert ("given" in row) == (row["origin"] in ("hint_mid", "hint_wrong"))
        assert not prefix or (prefix.endswith(f"\n\n{hint}\n\n") and prefix.count("Hint") == 1)
        assert "Hint" not in "\n\n".join(rest) and rest


@needs_package
def test_only_behind_a_wrong_prefix_something_is_wrong_and_it_is_the_last_step_given(curriculum):
    for row in curriculum:
        problem, rest = split_example(row)
        prefix_steps = split_text(row.get("given", ""))[:-1]
        right = prefix_steps[:-1] if row["origin"] == "hint_wrong" else prefix_steps
        problem = replace(problem, solution="\n\n".join([*right, *rest]))
        assert check_steps(problem, [*right, *rest]) == [True] * len(right + rest)
        if row["origin"] == "hint_wrong":  # the same step again, with other numbers
            assert re.sub(r"\d", "", rest[0]) == re.sub(r"\d", "", prefix_steps[-1])
        assert find_first_wrong_step(problem, prefix_steps) == (
            len(prefix_steps) if row["origin"] == "hint_wrong" else None
        )


@needs_package
def test_easy_templates_alone_are_asked_for_and_the_seed_decides():
    options = GsmSymbolicWarmUp(templates="easy", per_template=3)
    rows = build_examples(options, Prompts("", GUIDED, HINT), seed=1)
    counts = Counter(row["source"] for row in rows)
    assert counts == {f"gsm_symbolic/template{template}": 3 for template in templates.EASY}
    assert len(rows) == count_warmup_examples("gsm_symbolic", {"templates": "easy", "per_template": 3})
    assert rows == build_examples(options, Prompts("", GUIDED, HINT), seed=1)
    assert rows != build_examples(options, Prompts("", GUIDED, HINT), seed=2)
