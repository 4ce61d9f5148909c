"""The configuration: what is refused, how it is said, and how the shipped configs differ."""

from __future__ import annotations

import re

import pytest
import yaml

from heal.config import experiment as config
from heal.config.run_config import read_run_config
from heal.errors import HealError
from heal.worlds.mini.teacher_text import TEACHERS
from tests.support.paths import ROOT

DEFAULT = ROOT / "config/config.yaml"


def write_changed_config(tmp_path, change):
    content = yaml.safe_load(DEFAULT.read_text())
    change(content)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def read_refusal(path):
    with pytest.raises(HealError) as refused:
        read_run_config(path)
    return str(refused.value)


@pytest.mark.parametrize("path", sorted([*ROOT.glob("config/*.yaml"), *ROOT.glob("tests/configs/*.yaml")]), ids=str)
def test_every_shipped_config_is_well_formed(path):
    assert read_run_config(path).methods


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda c: c.update(teacher_seds=2), ["teacher_seds: unknown key", "did you mean 'teacher_seeds'?"]),
        (lambda c: c["gear"].update(detectr="random"), ["gear.detectr: unknown key", "did you mean 'detector'?"]),
        (lambda c: c["gear"]["hint"].update(sorce="none"), ["gear.hint.sorce", "did you mean 'source'?"]),
        (lambda c: c["train"].update(max_steps="many"), ["train.max_steps", "valid integer", "'many'"]),
        (lambda c: c["train"].update(max_steps=1.5), ["train.max_steps", "1.5"]),
        (lambda c: c["pure"].update(drop_share=2) if "pure" in c else c.update(pure={"drop_share": 2}), ["drop_share"]),
        (
            lambda c: c["methods"].update(x={"method": "healed"}),
            ["methods.x.method", "unknown method 'healed'", "'heal'"],
        ),
        (lambda c: c["methods"].update(x={"method": "heal", "gaer": {}}), ["methods.x.gaer", "did you mean 'gear'?"]),
        (lambda c: c["methods"].update(x={"method": "heal", "pace": {"schedule": "odd"}}), ["methods.x.pace.schedule"]),
        (lambda c: c["ablations"].update(heal={"method": "heal"}), ["share the names ['heal']"]),
        (lambda c: c["teachers"].update({"../up": {"path": "x"}}), ["teachers.../up", "plain word"]),
        (lambda c: c.update(run="a b"), ["run", "plain word", "'a b'"]),
        (lambda c: c["benchmarks"].append("mini_eazy"), ["unknown benchmark 'mini_eazy'", "'mini_easy'"]),
        (lambda c: c["problems"]["test"].pop("easy"), ["'mini_easy' asks the problems 'easy'", "problems.test"]),
        (lambda c: c["teachers"].update(students={"path": "x"}), ["'students' is taken"]),
        (lambda c: c.pop("students"), ["students: missing"]),
        (lambda c: c.update(methods={}), ["methods: none"]),
        (lambda c: c["comparisons"].update(x={"title": "X", "methods": ["hael"]}), ["comparisons.x", "mean 'heal'?"]),
        (lambda c: c["comparisons"].update(x={"title": "X", "reference": "oracle"}), ["no method 'oracle'"]),
        (
            lambda c: c["comparisons"].update(x={"title": "X", "train": {"max_step": 3}}),
            ["comparisons.x.train.max_step"],
        ),
        (lambda c: c["comparisons"].update(main={"title": "X"}), ["'main' is taken"]),
        (lambda c: c["ablations"].update(heal_epochs={"method": "heal"}), ["'heal_epochs' is taken", "rename"]),
        (lambda c: c["problems"]["train"].pop("n"), ["problems.train", "`n`"]),
        (lambda c: c["primary"].update(method="hael"), ["primary.method", "'hael'", "mean 'heal'?"]),
        (lambda c: c["primary"].update(baseline="oracle"), ["primary.baseline", "'oracle'"]),  # an ablation
        (lambda c: c["primary"].update(benchmark="mini_hrad"), ["primary.benchmark", "mean 'mini_hard'?"]),
        (lambda c: c["primary"].update(teacher="x", student="tiny"), ["primary.teacher", "'x'", "default"]),
        (lambda c: c["primary"].update(baseline="heal"), ["'heal' is compared with itself"]),
        (lambda c: c["methods"].update({False: {"method": "heal"}}), ["methods.False", "in quotes", "yes, no"]),
        (
            lambda c: c["teachers"]["default"].update(revision=12),
            ["teachers.default.revision: expected text in quotes"],
        ),
        (
            lambda c: c["teachers"].update(x={"path": "Qwen/Qwen3-8B", "revision": "b968826"}),
            ["teachers.x: Qwen/Qwen3-8B is no folder here"],
        ),
        (
            lambda c: c["teachers"]["default"].update(traces="a{b}.jsonl"),
            ["teachers.default.traces", "rename the file"],
        ),
        (lambda c: c["gear"].update(leak_patterns=["(hint"]), ["gear.leak_patterns.0", "no regular expression"]),
    ],
)
def test_mistakes_are_refused_with_file_field_and_cure(tmp_path, change, parts):
    path = write_changed_config(tmp_path, change)
    message = read_refusal(path)
    assert str(path) in message and "Fix" in message
    for part in parts:
        assert part in message, message


TEMPLATES = {
    ("guided", "template"): "{question} {answer}",
    ("gear", "hint", "template"): "{answer}",
    ("gear", "hint", "user_turn"): "{question} {hint}",
    ("gear", "hint", "solution_template"): "{step}",
    ("gear", "hint", "ask_template"): "{question} {kept} {answer}",
}


def change_template(path, text):
    """A change of a config: the template at a path of keys."""

    def change(content):
        for key in path[:-1]:
            content = content.setdefault(key, {})
        content[path[-1]] = text

    return change


@pytest.mark.parametrize("path", TEMPLATES, ids=".".join)
def test_a_template_with_wrong_braces_is_refused_and_one_with_doubled_braces_is_not(tmp_path, path):
    good = TEMPLATES[path]
    field = good.rpartition("{")[2].removesuffix("}")
    for bad, part in (
        (f"{good} \\boxed{{}}", "no field {}"),
        (f"{good} {{anwser}}", "no field {anwser}"),
        (f"{good} {{", "braces that are no field"),
        (good.replace("{", "{{").replace("}", "}}"), "is missing"),
        (f"{good} \\boxed{{{field}}}", f"write \\boxed{{{{{{{field}}}}}}}"),
    ):
        message = read_refusal(write_changed_config(tmp_path, change_template(path, bad)))
        assert ".".join(path) in message and part in message, message
    accepted = f"{good} \\boxed{{{{}}}} \\boxed{{{{{{{field}}}}}}}"
    assert read_run_config.__wrapped__(write_changed_config(tmp_path, change_template(path, accepted))).methods


def test_every_mistake_is_told_at_once(tmp_path):
    message = read_refusal(
        write_changed_config(tmp_path, lambda c: (c.update(teacher_seds=1), c["train"].update(bach=2)))
    )
    assert "teacher_seds" in message and "train.bach" in message and "2 mistakes" in message


def test_a_name_that_stands_twice_is_refused_with_its_lines(tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text(DEFAULT.read_text() + "\nrun: other\n")
    assert "'run' stands twice (lines" in read_refusal(path)


@pytest.mark.parametrize("content", ["", "- a\n- b", "a: [", "\xff"])
def test_a_file_that_is_no_config_is_refused(tmp_path, content):
    path = tmp_path / "broken.yaml"
    path.write_bytes(content.encode("latin-1"))
    assert str(path) in read_refusal(path)
    assert "no such file" in read_refusal(tmp_path / "absent.yaml")


def test_options_of_a_method_start_from_the_run_and_change_only_what_they_say(tmp_path):
    path = write_changed_config(tmp_path, lambda c: c.update(pure={"drop_share": 0.3}))
    methods = read_run_config(path).methods
    own, random = methods["heal"].options.pure, methods["heal_random_drop"].options.pure
    assert own.drop_share == 0.3 and random == own.model_copy(update={"rule": "random"})


def test_a_gear_variant_starts_from_the_run_s_gear_and_changes_only_what_it_says(tmp_path):
    path = write_changed_config(tmp_path, lambda c: c["gear"].update(rewind=2))
    variants = read_run_config(path).gear_variants
    own, random = variants["default"], variants["random_cut"]
    assert own.rewind == 2 and random == own.model_copy(update={"detector": "random"})


@pytest.mark.parametrize(
    ("change", "old", "new"),
    [
        (lambda c: c.update(draws=2), "draws", "teacher_seeds"),
        (lambda c: c.update(seeds=2), "seeds", "training_seeds"),
        (lambda c: c["train"].update(batch=2), "train.batch", "batch_size"),
        (lambda c: c["train"].update(save_steps=2), "train.save_steps", "save_minutes"),
        (lambda c: c["engine"].update(rows=2), "engine.rows", "max_num_seqs"),
        (lambda c: c["guided"].update(below=0.1), "guided.below", "pass_rate_below"),
    ],
)
def test_an_old_key_is_answered_with_its_new_name(tmp_path, change, old, new):
    message = read_refusal(write_changed_config(tmp_path, change))
    assert f"{old}: unknown key" in message and f"renamed to {new!r}" in message


def test_an_old_key_of_another_unit_is_answered_with_the_new_unit(tmp_path):
    message = read_refusal(write_changed_config(tmp_path, lambda c: c["train"].update(save_steps=100)))
    assert "renamed to 'save_minutes', now in minutes instead of optimizer steps" in message


def test_a_comparison_trains_its_methods_apart_only_where_it_trains_them_otherwise():
    run_config = read_run_config(DEFAULT)
    experiment, methods, comparisons = run_config.experiment, run_config.methods, run_config.comparisons
    assert list(comparisons["main"].methods) == list(experiment.methods)
    assert list(comparisons["ablations"].methods) == [*experiment.methods, *experiment.ablations]
    assert comparisons["tokens"].train == experiment.train and set(comparisons["tokens"].methods) <= set(
        comparisons["ablations"].methods
    )
    apart = comparisons["epochs"]
    assert not set(apart.methods) & set(comparisons["ablations"].methods) and apart.reference == "rs_matched_epochs"
    assert {base: methods[name] for name, base in apart.methods.items()} == {
        name: methods[name] for name in experiment.methods
    }
    assert apart.train == experiment.train.model_copy(update={"max_steps": None, "epochs": 5.0})


def test_a_config_without_a_primary_contrast_has_one_where_it_can(tmp_path):
    path = write_changed_config(tmp_path, lambda c: c.pop("primary"))
    primary = read_run_config(path).get_comparison("main").primary
    assert vars(primary) == {
        "method": "heal",
        "baseline": "rs_matched",
        "benchmark": "mini_easy",
        "teacher": "default",
        "student": "tiny",
    }
    (tmp_path / "two").mkdir()
    without = write_changed_config(
        tmp_path / "two", lambda c: (c.pop("primary"), c["methods"].pop("heal"), c.pop("comparisons"))
    )
    assert read_run_config(without).get_comparison("main").primary is None


def test_comparisons_of_the_same_students_with_the_same_reference_share_the_main_rows():
    run_config = read_run_config(DEFAULT)
    main = run_config.get_comparison("main")
    assert main.primary.benchmark == "mini_hard" and main.reference == main.primary.baseline
    for name in ("ablations", "tokens"):
        view = run_config.get_comparison(name)
        assert view.main_methods == list(main.methods) and view.primary == main.primary
    apart = run_config.get_comparison("epochs")
    assert apart.main_methods == [] and apart.primary is None


@pytest.mark.parametrize(
    ("name", "also"),
    [
        ("mini_confident", set()),
        ("mini_guided", set()),
        ("mini_blurred", set()),
        ("mini_wrong_gold", {"problems"}),
        ("mini_study", {"training_seeds", "seeds_per_job"}),
        ("mini_study_subset", {"teacher_seeds", "training_seeds", "seeds_per_job"}),
        ("mini_baselines", {"methods"}),
    ],
)
def test_the_other_mini_runs_are_compared_under_the_same_settings(name, also):
    default, other = (config.load(ROOT / "config" / file) for file in ("config.yaml", f"{name}.yaml"))
    differing = {field for field in type(default).model_fields if getattr(default, field) != getattr(other, field)}
    teachers = set() if name in ("mini_wrong_gold", "mini_baselines") else {"teachers"}
    assert differing == {"run", "ablations", "comparisons"} | teachers | also
    assert other.methods.items() <= default.methods.items()
    if name != "mini_baselines":
        assert other.ablations.items() <= default.ablations.items()


def test_the_mini_study_has_every_mini_teacher_and_its_subset_is_a_part_of_it():
    study, subset = (config.load(ROOT / "config" / name) for name in ("mini_study.yaml", "mini_study_subset.yaml"))
    shipped = {f"heal/worlds/mini/models/{name}" for name in TEACHERS}
    assert {model.path for model in study.teachers.values()} == shipped
    assert subset.teachers == study.teachers and subset.ablations.items() <= study.ablations.items()


def test_make_runs_studies_of_every_mini_teacher_and_the_subset_is_a_part():
    commands = re.findall(r"SNAKEMAKE,study --configfile (\S+?)\)", (ROOT / "Makefile").read_text())
    whole, part = (config.load(ROOT / path) for path in commands)
    teachers = {str(path.relative_to(ROOT)) for path in (ROOT / "heal/worlds/mini/models").glob("teacher*")}
    assert {model.path for model in whole.teachers.values()} == teachers
    assert (whole.teacher_seeds, whole.training_seeds) == (3, 5)
    assert part.teacher_seeds <= whole.teacher_seeds and part.training_seeds <= whole.training_seeds
    assert set(part.methods) <= set(whole.methods) and set(part.ablations) < set(whole.ablations)
    for field in ("teachers", "students", "problems", "train", "gear", "pure"):
        assert getattr(part, field) == getattr(whole, field), field
