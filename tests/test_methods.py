"""Methods: each is found, gives a curriculum from what it declared, and a mistake in a baseline file is told."""

from collections import Counter
from pathlib import Path
from typing import get_args

import pytest

from baselines.extra_easy import further
from heal import records, registry
from heal.config import experiment as config
from heal.errors import HealError
from heal.method.base import Example, Traces, distinct
from heal.method.steps import split_text
from heal.pipeline import curriculum
from heal.trace_files import files
from heal.worlds.mini import puzzles

ROOT = Path(__file__).parent.parent
EXPERIMENT = config.load(ROOT / "config/config.yaml")
FURTHER = config.load(ROOT / "config/mini_baselines.yaml")
CONFIGURED = registry.resolve(EXPERIMENT) | registry.resolve(FURTHER)
# Every kind that is found is tried, whether a config has it or not.
METHODS = CONFIGURED | {
    kind: registry.build(registry.shared_options(FURTHER, {"kind": kind}) | {"kind": kind}, where="test", field=kind)
    for kind in registry.discover()
    if kind not in {method.kind for method in CONFIGURED.values()}
}
N = 12
STUDENT = "tiny"


def problem_rows():
    return [
        {
            "problem_id": f"p{i}",
            "question": puzzle.question,
            "answer": puzzle.answer,
            "solution": puzzles.solution(puzzle),
            "source": "mini",
            "difficulty": puzzle.difficulty,
        }
        for i, puzzle in enumerate(puzzles.generate("train", N, 0))
    ]


def trace(problem, name, text):
    empty = {"token_ids": [1], "logprobs": [-0.1], "entropies": [0.1], "finish_reason": "stop"}
    return {"trace_id": name, "problem_id": problem["problem_id"], "index": 0, "text": text, **empty}


def graded(row, correct=True):
    return {
        "trace_id": row["trace_id"],
        "problem_id": row["problem_id"],
        "extracted": "1",
        "correct": correct,
        "reason": "",
    }


def repair(row):
    story = {
        "source_id": "s",
        "detector": "d",
        "step_entropies": [0.1],
        "surges": [0.1],
        "breakpoint": 2,
        "kept_steps": 1,
    }
    story |= {"kept": "", "hint": "h", "continuation": row["text"]}
    return row | story | {"extracted": "1", "accepted": True, "reason": ""}


def score(row):
    lists = {key: [0.1, 0.2] for key in ("nll_mean", "nll_top20", "nll_max", "uncertainty_product", "uncertainty_mean")}
    about = {"kind": "repair", "steps": ["a", "b"], "statement": 2, "statement_nll": 0.1}
    return {"trace_id": row["trace_id"], "problem_id": row["problem_id"], **about, **lists}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Traces in which the teacher solves the first third of the problems, and repairs and guided samples do the rest.

    The last problem, which is repaired, was solved once.
    """
    folder = tmp_path_factory.mktemp("traces")
    problems = problem_rows()
    records.write(folder / "train.parquet", "problems", problems)
    samples = [trace(p, f"s{i}{p['problem_id']}", p["solution"] + " " * i) for p in problems for i in range(2)]
    lucky = samples[-1]["trace_id"]
    grades = [graded(row, int(row["problem_id"][1:]) < N // 3 or row["trace_id"] == lucky) for row in samples]
    rest = problems[N // 3 :]
    guided = [trace(p, f"g{i}{p['problem_id']}", f"{p['solution']} {i}") for p in rest for i in range(6)]
    repairs = [repair(trace(p, f"r{p['problem_id']}", p["solution"])) for p in rest]
    records.write(folder / "samples.parquet", "samples", samples)
    records.write(folder / "grades.parquet", "grades", grades)
    accepted = {"extracted": "1", "accepted": True, "reason": ""}
    records.write(folder / "guided.parquet", "guided", [row | accepted for row in guided])
    for file in {file for method in METHODS.values() for file in method.needs()}:
        if file.startswith("repairs/"):
            records.write(folder / file, "repairs", repairs)
        elif file.startswith("scores/"):
            records.write(folder / file, "scores", [score(row) for row in repairs])
        elif file.endswith(".grades.parquet"):
            records.write(folder / file, "grades", grades)
        elif file.startswith("extra/"):
            records.write(folder / file, "samples", samples)
    own = folder / f"students/{STUDENT}"
    attempts = [trace(p, f"o{i}{p['problem_id']}", f"x = \\boxed{{{i}}}") for p in problems for i in range(4)]
    records.write(own / "samples.parquet", "samples", attempts)
    # The student solves problem i in i of its 4 attempts, and never answers the same twice otherwise.
    verdicts = [graded(row, n % 4 < n // 4) | {"extracted": str(n % 4 + 1)} for n, row in enumerate(attempts)]
    records.write(own / "grades.parquet", "grades", verdicts)
    right = [row for row, grade in zip(samples, grades, strict=True) if grade["correct"]]
    ranks = [
        {"trace_id": row["trace_id"], "problem_id": row["problem_id"], "logprobs": [-0.5, -1.0], "ranks": [1, 90 - i]}
        for i, row in enumerate(right)
    ]
    records.write(own / "ranks.parquet", "ranks", ranks)
    records.write(own / "continued.parquet", "continued", [row for source in right[::2] for row in ends(source)])
    return folder


def ends(source, first=2):
    """Continuations of a correct sample, two from each of three cuts; right from cut `first` on, half of them there."""
    steps = [step + "\n\n" for step in split_text(source["text"])]
    rows = []
    for cut in range(3):
        for index in range(2):
            kept, new = "".join(steps[:cut]), f"{index} " + "".join(steps[cut:]).rstrip()
            right = cut > first or (cut == first and index == 0)
            story = {"source_id": source["trace_id"], "index": index, "kept_steps": cut, "steps": len(steps)}
            story |= {"trace_id": f"{source['trace_id']}-{cut}-{index}", "problem_id": source["problem_id"]}
            story |= {"kept": kept, "continuation": new, "text": kept + new, "finish_reason": "stop"}
            rows.append(story | {"extracted": "1", "accepted": right, "reason": "" if right else "wrong"})
    return rows


def examples_of(name, folder):
    method = METHODS[name]
    return method.curriculum(Traces(folder, folder / "train.parquet", method.needs(), 0, STUDENT))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_found_gives_a_trainable_curriculum(name, folder):
    rows = curriculum.rows(examples_of(name, folder), problem_rows(), name)
    assert rows and {row["stage"] for row in rows} <= {1, 2, 3}
    assert all(row["messages"][1]["content"].strip() for row in rows)
    most = EXPERIMENT.pace.max_per_problem
    counts = [(row["problem_id"], row["stage"]) for row in rows]
    assert max(map(counts.count, counts)) <= most


@pytest.mark.parametrize("kind", registry.discover())
def test_every_kind_found_needs_what_rules_make_and_has_documented_options(kind):
    method = next(method for method in METHODS.values() if method.kind == kind)
    registry.check_needs({kind: method}, FURTHER.gear, where="test")
    assert all(field.description for field in method.Options.model_fields.values())


def test_the_hint_is_never_part_of_the_training_text(folder):
    for name in METHODS:
        assert not any("Hint" in example.text for example in examples_of(name, folder))


def test_guided_puts_guided_traces_in_place_of_repairs_at_equal_counts(folder):
    heal, guided = examples_of("heal", folder), examples_of("guided", folder)
    count = lambda examples, stage: sorted(e.problem_id for e in examples if e.stage == stage)  # noqa: E731
    assert all(count(heal, stage) == count(guided, stage) for stage in (1, 2, 3))
    second = {e.origin_id for e in guided if e.stage == 2}
    assert all(e.origin == "guided" and e.origin_id not in second for e in guided if e.stage == 3)


def test_extra_easy_has_as_many_further_traces_as_heal_has_repairs_and_none_of_its_problems(folder):
    heal, easy = examples_of("heal", folder), examples_of("extra_easy", folder)
    assert [e for e in easy if e.stage < 3] == [e for e in heal if e.stage < 3]
    third = [e for e in easy if e.stage == 3]
    assert len(third) == sum(e.stage == 3 for e in heal) > 0
    assert not {e.problem_id for e in third} & {e.problem_id for e in heal if e.stage == 3}


@pytest.mark.parametrize("count", [0, 1, 2, 4, 5, 8, 11, 100])
def test_further_traces_are_fresh_ones_spread_over_problems_and_then_those_already_used(count):
    solved = {p: [{"trace_id": f"{p}{i}", "text": f"{i}"} for i in range(n)] for p, n in (("a", 5), ("b", 9), ("c", 3))}
    chosen = {row["trace_id"] for rows in further(solved, 3, count).values() for row in rows}
    assert len(chosen) == min(count, 9) and max(Counter(name[0] for name in chosen).values(), default=0) <= 3
    fresh = {name for name in chosen if int(name[1]) >= 3}
    assert len(fresh) == min(count, 5)
    assert count < 2 or {name[0] for name in fresh} == {"a", "b"}


def test_training_on_references_refuses_a_problem_without_one_or_leaves_it_out(folder, tmp_path):
    problems = problem_rows()
    problems[3]["solution"] = None
    records.write(tmp_path / "train.parquet", "problems", problems)
    traces, oracle = Traces(folder, tmp_path / "train.parquet", [], 0), registry.discover()["reference_sft"]
    with pytest.raises(HealError, match="no worked solution") as refused:
        oracle(oracle.Options()).curriculum(traces)
    assert "row 4" in str(refused.value)
    left = oracle(oracle.Options(missing="leave_out")).curriculum(traces)
    assert [e.problem_id for e in left] == [p["problem_id"] for p in problems if p["solution"]]


GPU_ONLY = {"teacher"}  # a hint that the mini teacher cannot give


def values(options, *fields):
    """(field, value) for every value that these switches of a group of options can take."""
    return [(field, value) for field in fields for value in get_args(options.model_fields[field].annotation)]


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [("gear", *pair) for pair in values(config.Gear, "detector")]
    + [("hint", *pair) for pair in values(config.Hint, "source", "place")]
    + [("pure", *pair) for pair in values(config.Pure, "rule", "scope")]
    + [("pace", *pair) for pair in values(config.Pace, "schedule")],
)
def test_every_switch_of_the_method_is_a_named_variant(section, field, value):
    preset = "single_gpu.yaml" if value in GPU_ONLY else "config.yaml"
    every = registry.resolve(config.load(ROOT / "config" / preset)).values()
    heal = [method.options for method in every if method.kind == "heal"]
    chosen = [options.gear.hint if section == "hint" else getattr(options, section) for options in heal]
    assert value in {getattr(one, field) for one in chosen}, f"add a variant with {field}: {value} to {preset}"


def test_without_pure_nothing_is_dropped(folder):
    with_pure, without = examples_of("heal", folder), examples_of("heal_no_pure", folder)
    assert {e.origin_id for e in with_pure} < {e.origin_id for e in without}


def test_only_declared_files_can_be_read(folder):
    traces = Traces(folder, folder / "train.parquet", ["grades.parquet"], 0)
    with pytest.raises(HealError, match="was not declared"):
        traces.read("samples.parquet", "samples")


def test_other_options_have_other_files():
    gear = EXPERIMENT.gear
    assert files.repairs(gear) == files.repairs(gear.model_copy())
    assert files.repairs(gear) != files.repairs(gear.model_copy(update={"rewind": 2}))


def test_distinct_keeps_the_first_of_equal_texts():
    rows = [{"text": "a", "n": 1}, {"text": "a", "n": 2}, {"text": "b", "n": 3}]
    assert [row["n"] for row in distinct(rows, 5)] == [1, 3] and len(distinct(rows, 1)) == 1


@pytest.mark.parametrize(
    "example", [Example("p0", "", 1, "sample", "x"), Example("p0", "t", 1, "s", "x", float("nan"))]
)
def test_what_cannot_be_trained_on_is_refused(example):
    with pytest.raises(HealError, match="example 1"):
        curriculum.rows([example], problem_rows(), "method m")
    with pytest.raises(HealError, match="no training example"):
        curriculum.rows([], problem_rows(), "method m")


TEMPLATE = (ROOT / "baselines/TEMPLATE.py").read_text()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("import nothing_like_this", "does not import"),
        ("x = 1", "defines 0 methods"),
        (TEMPLATE + "\n\nclass Second(Template):\n    kind = 'second'\n", "defines 2 methods"),
        (TEMPLATE.replace('"arXiv 0000.00000 (authors, title)"', '" "'), "no 'paper'"),
        (TEMPLATE.replace("    differs =", "    differed ="), "no 'differs'"),
        (TEMPLATE.replace("def curriculum", "def curricula"), r"no curriculum\(\)"),
        (TEMPLATE.replace('"template"', '"heal"'), "exists already"),
    ],
)
def test_a_broken_baseline_file_is_told_with_its_name(tmp_path, content, said):
    (tmp_path / "mine.py").write_text(content)
    with pytest.raises(HealError, match=said) as refused:
        registry.discover(tmp_path)
    assert "mine.py" in str(refused.value)


def test_the_template_is_a_method(tmp_path, folder):
    (tmp_path / "mine.py").write_text(TEMPLATE)
    method = registry.discover(tmp_path)["template"]
    made = method(method.Options())
    assert made.curriculum(Traces(folder, folder / "train.parquet", made.needs(), 0))
