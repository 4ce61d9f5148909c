"""Laws of every world that is found: splits, repeatable problems, valid solutions; a new world is one new file."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from heal.config import experiment as config
from heal.config.data import Dataset, Problems
from heal.config.run_config import RunConfig
from heal.data.load_problems import load
from heal.data.show_problems import format_problem
from heal.errors import HealError
from heal.grading.grader import Grader, check_gold
from heal.method.steps import split_text
from heal.worlds import registry
from heal.worlds.base import Problem, World
from tests.support.paths import ROOT

N = 12
WORLDS = registry.discover_worlds()
SPLITS = [(name, split) for name, world in WORLDS.items() for split in world.splits]


def generate(name: str, split: str, n: int = N, seed: int = 0, **options: object) -> list[dict]:
    try:
        return registry.generate_problems(Dataset(source=name, split=split, n=n, options=options), seed)
    except HealError as error:
        if "not installed" in error.problem:
            pytest.skip(error.problem)
        raise


@pytest.mark.parametrize(("name", "split"), SPLITS)
def test_solutions_are_valid_and_a_foreign_step_is_not(name, split):
    with Grader() as grader:
        for row in generate(name, split):
            check_gold(row["answer"], grader, where=row["source"])
            row["problem_id"] = "p"
            steps = split_text(row["solution"])
            assert registry.check_steps(row, steps) == [True] * len(steps)
            assert registry.find_first_wrong_step(row, steps) is None
            wrong = [steps[0], "98765 + 1 = 4", *steps[1:]]
            assert registry.find_first_wrong_step(row, wrong) == 2
            assert len(registry.check_steps(row, ["", "\\boxed{", "x = = 3 / 0", "…"])) == 4
            assert grader.grade(row["solution"], row["answer"]).correct
            assert "WRONG" not in format_problem(row)


@pytest.mark.parametrize(("name", "split"), SPLITS)
def test_problems_are_repeatable_different_and_a_prefix_of_more(name, split):
    rows = generate(name, split)
    assert generate(name, split, n=5) == rows[:5] != generate(name, split, n=5, seed=1)
    assert len({row["question"] for row in rows}) == N
    assert {registry.find_world(row) for row in rows} == {WORLDS[name]}


@pytest.mark.parametrize("name", WORLDS)
def test_splits_share_no_problem_whatever_their_seeds(name):
    first_splits: dict[str, str] = {}
    for split in WORLDS[name].splits:
        for seed in (0, 1):
            for row in generate(name, split, n=60, seed=seed):
                assert first_splits.setdefault(row["question"], split) == split


@pytest.mark.parametrize("name", WORLDS)
def test_a_world_says_what_its_results_mean(name):
    world = WORLDS[name]
    for text in (world.note, world.checker_note):
        assert not text or text.endswith("."), text
    assert world.checker_note.startswith("Steps are judged by ")
    assert (
        (world.WarmUpOptions is not None)
        == (type(world).build_warmup_examples is not World.build_warmup_examples)
        == (type(world).count_warmup_examples is not World.count_warmup_examples)
    )


@pytest.mark.parametrize("name", WORLDS)
def test_a_problem_of_another_world_is_refused(name):
    problem = {"problem_id": "p1", "question": "Why?", "answer": "?", "solution": None, "source": f"{name}/train"}
    with pytest.raises(HealError, match="problem p1: its steps cannot be checked"):
        registry.check_steps(problem, ["x"])


def test_problems_from_elsewhere_have_no_world():
    problem = {"problem_id": "p1", "question": "q", "answer": "1", "source": "gsm8k"}
    assert registry.find_world(problem) is None and registry.find_withheld_steps(problem) is None
    assert registry.find_world_of_problems([problem]) is None and not registry.is_checkable([problem])
    with pytest.raises(HealError, match="its source is 'gsm8k'") as caught:
        registry.check_steps(problem, [])
    assert all(name in caught.value.fix for name in WORLDS)


def make_problems(**train: object) -> Problems:
    held_out = {"source": "file", "path": "held_out.jsonl"}
    return Problems.model_validate({"train": train, "dev": held_out, "test": {"a": held_out}})


@pytest.mark.parametrize(
    ("train", "problem", "fix"),
    [
        ({"source": "mimi", "split": "train", "n": 3}, "problems.train.source: unknown source 'mimi'", "'mini'"),
        ({"source": "mixtures", "split": "train", "n": 3}, "unknown source 'mixtures'", "'mixture'"),
        ({"source": "mini", "split": "hrad", "n": 3}, "problems.train.split: unknown split of mini 'hrad'", "'hard'"),
        (
            {"source": "mini", "split": "hard", "n": 3, "options": {"wrong_gold_shar": 0.1}},
            "problems.train.options.wrong_gold_shar: unknown key",
            "'wrong_gold_share'",
        ),
        (
            {"source": "mini", "split": "hard", "n": 3, "options": {"wrong_gold_share": 2}},
            "less than or equal to 1",
            "",
        ),
        ({"source": "gsm_symbolic", "split": "weak", "n": 3, "options": {"terms": 2}}, "options.terms: unknown", ""),
    ],
)
def test_an_unknown_world_split_or_option_is_refused_with_the_nearest_name(train, problem, fix):
    with pytest.raises(HealError) as caught:
        registry.check_problem_sets(make_problems(**train), where="my.yaml")
    assert problem in str(caught.value) and fix in caught.value.fix and "my.yaml" in str(caught.value)


def test_a_config_is_checked_against_the_worlds_before_anything_runs():
    experiment = config.load(ROOT / "config/config.yaml")
    RunConfig(experiment).check_worlds()
    hard = experiment.problems.test["hard"].model_copy(update={"split": "harder"})
    problems = experiment.problems.model_copy(update={"test": {"hard": hard}})
    with pytest.raises(HealError, match="problems.test.hard.split: unknown split of mini 'harder'"):
        RunConfig(experiment.model_copy(update={"problems": problems})).check_worlds()


def test_warm_up_examples_come_from_the_named_world_with_checked_options():
    assert registry.count_warmup_examples("gsm_symbolic", {"templates": "easy", "per_template": 2}) == 50
    with pytest.raises(HealError, match="'mini' builds no warm-up examples") as caught:
        registry.resolve_warmup_options("mini", {}, field="teachers.a.warm_up")
    assert "gsm_symbolic" in caught.value.fix
    with pytest.raises(HealError, match="teachers.a.warm_up.examples.per_templat: unknown key"):
        examples = {"templates": "easy", "per_template": 2, "per_templat": 2}
        registry.resolve_warmup_options("gsm_symbolic", examples, field="teachers.a.warm_up")


TEMPLATE = ROOT / "heal/worlds/TEMPLATE.py"


@pytest.fixture
def copied_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """heal/worlds/TEMPLATE.py, copied as the world `sums` to a folder that is scanned too."""
    import heal.worlds

    path = tmp_path / "sums.py"
    shutil.copy(TEMPLATE, path)
    path.write_text(path.read_text().replace('name = "template"', 'name = "sums"'))
    monkeypatch.setattr(heal.worlds, "__path__", [*heal.worlds.__path__, str(tmp_path)])
    registry.discover_worlds.cache_clear()
    yield path
    monkeypatch.undo()
    registry.discover_worlds.cache_clear()
    sys.modules.pop("heal.worlds.sums", None)


def test_the_template_is_a_world_as_soon_as_it_is_copied(copied_template):
    assert set(registry.discover_worlds()) == {*WORLDS, "sums"}
    rows = load(Dataset(source="sums", split="train", n=20, options={"terms": 2}), seed=0)
    assert all(row["source"] == "sums/train" and row["question"].count("+") == 2 for row in rows)
    registry.check_problem_sets(make_problems(source="sums", split="dev", n=5), where="my.yaml")
    for row in rows:
        steps = split_text(row["solution"])
        assert registry.check_steps(row, steps) == [True] * 3
        assert registry.check_steps(row, [steps[0], steps[2]]) == [True, False]
        assert registry.check_steps(row, ["1 + 1 = 3", *steps[1:]])[0] is False


def test_the_template_keeps_its_splits_apart_by_a_rule(copied_template):
    questions: list[str] = []
    for split in ("train", "dev", "test"):
        questions += [row["question"] for row in generate("sums", split, n=3000, terms=1)]
    assert len(set(questions)) == 9000


def test_two_worlds_of_one_name_and_a_reserved_name_are_refused(copied_template):
    text = copied_template.read_text()
    copied_template.write_text(text.replace('"sums"', '"mini"'))
    with pytest.raises(HealError, match="the name 'mini' is already taken"):
        registry.discover_worlds()
    sys.modules.pop("heal.worlds.sums", None)
    copied_template.write_text(text.replace('"sums"', '"hub"'))
    with pytest.raises(HealError, match="the name 'hub' cannot be used"):
        registry.discover_worlds()


def test_a_source_without_the_world_s_name_is_refused(copied_template):
    copied_template.write_text(copied_template.read_text().replace('f"{self.name}/{split}"', "split"))
    with pytest.raises(HealError, match=r"sums\.py: found source 'train'") as caught:
        generate("sums", "train")
    assert "'sums/'" in caught.value.fix


def test_a_row_and_a_problem_have_the_same_content():
    problem = Problem("q", "1", None, "mini/train", "easy")
    assert Problem.from_row(problem.to_row() | {"problem_id": "x"}) == problem


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["mini"], 0, "mini: train, dev, easy, hard, unseen"),
        (["mini", "hard", "--count", "2"], 0, "valid"),
        (["mini", "hard", "--count", "1", "--options", "wrong_gold_share=1.0"], 0, "Gold answer"),
        (["mini", "hrd"], 2, "did you mean 'hard'?"),
    ],
)
def test_show_problems_prints_problems_with_the_checker_s_verdicts(arguments, status, text):
    command = [sys.executable, "-m", "heal", "show-problems", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert run.returncode == status and text in run.stdout + run.stderr and "WRONG" not in run.stdout


def test_a_world_without_warm_up_examples_says_so():
    world = registry.get_world("mini")
    assert world.WarmUpOptions is None
    for call in (lambda: world.build_warmup_examples(None, None, 0), lambda: world.count_warmup_examples(None)):
        with pytest.raises(HealError, match="world mini: builds no warm-up examples"):
            call()
