"""The registry: every method is found, gives a curriculum from what it declared, and a broken file is named."""

from __future__ import annotations

import pytest

from heal import registry
from heal.config import experiment as config
from heal.errors import HealError
from heal.method.base import Traces
from heal.pipeline import curriculum
from heal.trace_files import REPAIRS, SAMPLES
from tests.support.paths import ROOT
from tests.support.trace_folder import EXPERIMENT, FURTHER, METHODS, STUDENT, make_examples, make_problems


@pytest.mark.parametrize("name", METHODS)
def test_every_method_found_gives_a_trainable_curriculum(name, trace_folder):
    questions = {problem["problem_id"]: problem["question"] for problem in make_problems()}
    examples = make_examples(name, trace_folder)
    assert list(curriculum.check_examples(examples, questions, name)) == examples
    rows = [curriculum.build_row(example, questions[example.problem_id]) for example in examples]
    assert rows and {row["stage"] for row in rows} <= {1, 2, 3}
    assert all(row["messages"][1]["content"].strip() for row in rows)
    most = EXPERIMENT.pace.max_per_problem
    counts = [(row["problem_id"], row["stage"]) for row in rows]
    assert max(map(counts.count, counts)) <= most


@pytest.mark.parametrize("name", registry.discover_methods())
def test_every_method_found_needs_what_rules_make_and_has_documented_options(name):
    method = next(method for method in METHODS.values() if method.name == name)
    registry.check_needs({name: method}, registry.resolve_gear_variants(EXPERIMENT), where="test")
    assert all(field.description for field in method.Options.model_fields.values())


def test_the_hint_is_never_part_of_the_training_text(trace_folder):
    for name in METHODS:
        assert not any("Hint" in example.text for example in make_examples(name, trace_folder))


TEMPLATE = (ROOT / "baselines/TEMPLATE.py").read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("import nothing_like_this", "does not import"),
        ("x = 1", "defines 0 subclasses of Method"),
        (TEMPLATE + "\n\nclass Second(Template):\n    name = 'second'\n", "defines 2 subclasses of Method"),
        (TEMPLATE.replace('"arXiv 0000.00000 (authors, title)"', '" "'), "no 'paper'"),
        (TEMPLATE.replace("    differs =", "    differed ="), "no 'differs'"),
        (TEMPLATE.replace("def build_curriculum", "def build_curricula"), r"no build_curriculum\(\)"),
        (TEMPLATE.replace('"template"', '"heal"'), "already taken"),
    ],
)
def test_a_broken_baseline_file_is_told_with_its_name(tmp_path, content, message):
    (tmp_path / "mine.py").write_text(content)
    with pytest.raises(HealError, match=message) as refused:
        registry.discover_methods(tmp_path)
    assert "mine.py" in str(refused.value)


def test_the_template_is_a_method(tmp_path, trace_folder):
    (tmp_path / "mine.py").write_text(TEMPLATE)
    method = registry.discover_methods(tmp_path)["template"]
    template = method(method.Options())
    assert list(template.build_curriculum(Traces(trace_folder, trace_folder / "train.parquet", template.needs(), 0)))


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("None", "returns None, no list of examples"),
        ("[]", "no training example"),
        ("[1]", "returns 1 in its list of examples"),
        ('[Example("p0", "x", 1, "sample", "i", -1.0)]', "example 1: weight -1.0"),
        ('[Example("p0", "x", 1, "sample", "i", float("nan"))]', "example 1: weight nan"),
        ('[Example("p0", "x", 1, "sample", "i", 0.0)]', "every weight is 0"),
        ('[Example("nowhere", "x", 1, "sample", "i")]', "example 1: no training problem 'nowhere'"),
        ('[Example("p0", "x", 1, "sample", "i", prefix="y")]', "example 1: prefix 'y'"),
    ],
)
def test_what_a_baseline_returns_wrongly_is_told_with_its_file(tmp_path, trace_folder, returned, message):
    content = (ROOT / "baselines/TEMPLATE.py").read_text().rpartition("        correct =")[0]
    (tmp_path / "mine.py").write_text(f"{content}        return {returned}\n")
    method = registry.discover_methods(tmp_path)["template"]
    baseline = method(method.Options())
    with pytest.raises(HealError) as refused:
        traces = Traces(trace_folder, trace_folder / "train.parquet", baseline.needs(), 0, STUDENT)
        list(curriculum.build_rows(baseline, traces))
    assert message in str(refused.value) and "mine.py" in str(refused.value)


@pytest.mark.parametrize(
    "needs", [None, SAMPLES, (SAMPLES,), [1], ["samples.parquet"], [REPAIRS.of(variant="other")], [REPAIRS]]
)
def test_needs_that_are_no_list_of_files_that_rules_make_are_refused(needs, monkeypatch):
    method = METHODS["rejection_sampling"]
    monkeypatch.setattr(type(method), "needs", lambda self: needs)
    with pytest.raises(HealError) as refused:
        registry.check_needs({"mine": method}, registry.resolve_gear_variants(FURTHER), where="a.yaml")
    assert refused.value.where.endswith("rejection_sampling.py, needs() of 'mine' in a.yaml") and refused.value.fix


def test_a_served_teacher_cannot_be_distilled():
    served = {
        "teachers": {
            "far": {"path": "heal/worlds/mini/models/teacher", "endpoint": {"base_url": "http://localhost/v1"}}
        }
    }
    content = {**FURTHER.model_dump(), **served}
    with pytest.raises(
        HealError, match="'on_policy' needs its teacher's weights in training, but teachers.far is an endpoint"
    ):
        registry.resolve_methods(config.Experiment.model_validate(content))


def test_a_run_reads_the_task_files_of_its_own_benchmarks_only():
    def find(*names):
        return {path.relative_to(registry.TASKS).as_posix() for path in registry.find_task_files(names)}

    assert find() == {"_boxed.yaml"}
    assert find("gsm8k") == {"_boxed.yaml", "gsm8k/gsm8k.yaml"}
    assert {"mini/_mini.yaml", "mini/mini_hard.yaml", "_boxed.yaml"} <= find("mini_hard")
    assert not find("mini_hard", "gsm8k") & find("math500") - {"_boxed.yaml"}
