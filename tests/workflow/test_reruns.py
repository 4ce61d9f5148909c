"""What reruns: a raised VERSION, an option and its readers; no comment, no new default option, no touched file."""

import json
import re
import shutil
from contextlib import ExitStack, contextmanager

import pytest

from heal.versions import RECORD
from tests.support.paths import SMOKE
from tests.support.snakemake import plan_jobs, read_rules, run_snakemake
from tools.stage_hashes import compare, fingerprint_run, read_record

pytestmark = pytest.mark.workflow
TARGETS = ("ablations", "viewer")


@contextmanager
def replace(path, old, new):
    """Replaces a text in a file, and puts the file back."""
    before = path.read_text()
    assert old in before, f"{path} has no {old!r}"
    path.write_text(before.replace(old, new, 1))
    try:
        yield
    finally:
        path.write_text(before)


def find_version_line(path):
    """The line that sets a module's VERSION."""
    return re.search(r"^VERSION = \d+$", path.read_text(), re.MULTILINE)[0]


def plan(folder, config=SMOKE):
    """The rules that a run of the targets would run, the targets excepted."""
    return set(plan_jobs(folder, *TARGETS, "--configfile", config)) - set(TARGETS)


def test_a_second_run_does_nothing(finished):
    assert "Nothing to be done" in run_snakemake(finished, *TARGETS, "--configfile", SMOKE)[1]


def test_every_command_writes_what_is_recorded(finished):
    assert compare(read_record(), fingerprint_run(finished / "results/smoke")) == []


def test_touching_files_reruns_nothing(finished):
    for folder in ("heal", "evals", "baselines", "workflow"):
        for path in (finished / folder).rglob("*.*"):
            path.touch()
    for path in finished.glob("results/smoke/problems/*.parquet"):
        path.touch()
    assert plan(finished) == set()


def test_another_number_of_gpus_reruns_nothing(finished):
    assert plan_jobs(finished, *TARGETS, "--configfile", SMOKE, "--resources", "gpu=3") == {}


COMMENTED = (
    "heal/engines/endpoint.py",
    "heal/config/experiment.py",
    "heal/pipeline/score.py",
    "evals/tasks/mini/task.py",
)


def test_a_comment_and_a_docstring_rerun_nothing(finished):
    with ExitStack() as edits:
        for file in COMMENTED:
            edits.enter_context(replace(finished / file, '"""', '"""Edited. '))
            edits.enter_context(replace(finished / file, "\nfrom ", "\n# A comment.\nfrom "))
        assert plan(finished) == set()


def test_a_new_option_with_a_default_reruns_nothing(finished):
    path = finished / "heal/config/experiment.py"
    with replace(path, "class Sampling(OptionGroup):\n", "class Sampling(OptionGroup):\n    min_p: float = 0.0\n"):
        assert plan(finished) == set()
        # The option is read: another value than the default reruns its readers.
        write_config(finished, "sampling: {n: 4,", "sampling: {n: 4, min_p: 0.5,")
        assert "sample_base" in plan(finished, "other.yaml")


@pytest.mark.parametrize(
    ("file", "first", "later", "unchanged"),
    [
        (
            "heal/pipeline/score.py",
            {"score_traces"},
            {"merge_shards", "sample_extra", "build_curriculum", "train_student", "render_viewer"},
            {"sample_base", "sample_guided", "repair_traces", "load_problems", "evaluate_teacher"},
        ),
        (
            "heal/training/train.py",
            {"train_student"},
            {"evaluate_student", "tabulate_comparison"},
            {"build_curriculum", "sample_base", "score_traces", "evaluate_teacher", "render_viewer"},
        ),
        (
            "evals/figures/accuracy.py",
            {"plot_accuracy"},
            {"render_report"},
            {"tabulate_comparison", "train_student", "evaluate_student"},
        ),
    ],
    ids=["score", "train", "plot_accuracy"],
)
def test_a_raised_version_reruns_its_rule_and_what_follows(finished, file, first, later, unchanged):
    line = find_version_line(finished / file)
    with replace(finished / file, line, "VERSION = 99"):
        jobs = plan(finished)
    assert first | later <= jobs and not unchanged & jobs, jobs


def test_an_edited_benchmark_reruns_the_evaluations_and_no_training(finished):
    with replace(finished / "evals/tasks/mini/_mini.yaml", "\n", "\n# edited\n"):
        jobs = plan(finished)
    assert "evaluate_student" in jobs and not {"train_student", "build_curriculum"} & jobs


def test_a_new_benchmark_reruns_nothing(finished):
    folder = finished / "evals/tasks/new"
    folder.mkdir()
    try:
        (folder / "new.yaml").write_text("include: ../_boxed.yaml\ntask: new\ndataset_kwargs:\n  split: hard\n")
        assert plan(finished) == set()
    finally:
        shutil.rmtree(folder)


def write_config(folder, old, new):
    """other.yaml in the copy: the smoke config with one text replaced."""
    content = (folder / SMOKE).read_text()
    assert old in content
    (folder / "other.yaml").write_text(content.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "rerun", "unchanged"),
    [
        (
            "\nscoring:",
            "\npure: {drop_share: 0.4}\nscoring:",
            {"build_curriculum", "render_viewer", "plot_pure", "train_student"},
            {"sample_base", "sample_guided", "repair_traces"},
        ),
        (
            "gear:\n",
            "gear:\n  rewind: 2\n",
            {"repair_traces", "score_traces", "build_curriculum"},
            {"sample_base", "sample_guided", "load_problems"},
        ),
        (
            "train: {max_steps: 8,",
            "train: {max_steps: 9,",
            {"train_student", "evaluate_student"},
            {"sample_base", "repair_traces", "score_traces", "build_curriculum", "evaluate_teacher"},
        ),
        (
            "cue: 'x = ",
            "cue: 'y = ",
            {"score_traces"},
            {"sample_base", "sample_guided", "repair_traces"},
        ),
    ],
    ids=["pure.drop_share", "gear.rewind", "train.max_steps", "scoring.cue"],
)
def test_another_option_reruns_the_rules_that_read_it(finished, old, new, rerun, unchanged):
    write_config(finished, old, new)
    jobs = plan(finished, "other.yaml")
    assert rerun <= jobs and not unchanged & jobs, jobs


def test_an_option_given_with_its_default_reruns_nothing(finished):
    write_config(finished, "gear:\n", "gear:\n  rewind: 1\n")
    assert plan(finished, "other.yaml") == set()


def test_more_training_seeds_leave_the_finished_students_as_they_are(finished):
    write_config(finished, "training_seeds: 2", "training_seeds: 3")
    jobs = plan(finished, "other.yaml")
    assert {"train_student_2", "evaluate_student_2", "tabulate_comparison"} <= jobs
    assert not {"train_student_0_1", "evaluate_student_0_1", "build_curriculum", "evaluate_untrained"} & jobs


def test_another_grouping_of_seeds_retrains_nothing(finished):
    """It evaluates again, and what follows: an evaluation's inputs are all students of its job."""
    write_config(finished, "seeds_per_job: 2", "seeds_per_job: 1")
    jobs = plan(finished, "other.yaml")
    assert "evaluate_student" in jobs and not {"train_student", "build_curriculum"} & jobs


def test_another_base_seed_trains_every_student_again(finished):
    """Snakemake does not compare the seeds that a job is told, which come from its outputs."""
    write_config(finished, "run: smoke\n", "run: smoke\nseed: 7\n")
    assert {"train_student", "sample_base"} <= plan(finished, "other.yaml")


@pytest.mark.parametrize(("file", "text"), [("heal/pipeline/score.py", "VERSION = 0"), (str(RECORD), None)])
def test_a_version_below_the_recorded_one_stops_before_any_job(finished, file, text):
    """The source goes back to an older version, or the record is from a newer one."""
    path = finished / file
    record = json.loads((finished / RECORD).read_text())
    record["stages"]["score"]["version"] = 99
    before = path.read_text()
    path.write_text(json.dumps(record) if text is None else before.replace(find_version_line(path), text))
    try:
        status, output = run_snakemake(finished, *TARGETS, "--configfile", SMOKE)
    finally:
        path.write_text(before)
    assert status != 0 and "heal/pipeline/score.py" in output and "below the recorded" in output
    assert "Fix: set VERSION to at least" in output and "Traceback" not in output and "Job stats" not in output


VERBS = {
    *("audit", "build", "check", "combine", "continue", "decontaminate", "evaluate", "grade", "load", "merge", "plan"),
    *("plot", "rank", "render", "repair", "sample", "score", "tabulate", "train", "unpack", "warm", "write"),
}


@pytest.mark.parametrize("name", sorted(read_rules()))
def test_a_rule_is_a_verb_and_runs_one_command_with_its_version_and_options(name):
    from heal.cli import COMMANDS, find_command

    text = read_rules()[name]
    assert name.partition("_")[0] in VERBS
    shell = re.search(r'shell:\n((?: +".*"\n)+)', text)[1]
    assert "python -m" not in text and re.match(r' +"HEAL_LOG={log:q} heal ', shell)
    command = find_command(re.match(r' +"HEAL_LOG={log:q} heal (.*)', shell)[1].split()[:2])
    if name == "check_reference":  # it has no output: it always runs
        assert "output:" not in text
        return
    assert f'version=get_version("{command}")' in text
    if COMMANDS[command].load().sections:
        assert f'options=track_options("{command}"' in text
    assert "tee" not in shell.split()
