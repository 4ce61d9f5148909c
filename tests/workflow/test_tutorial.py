"""The tutorial: its commands run as they are written, print what it shows, and its excerpts are those of its files."""

import re
import subprocess
from dataclasses import dataclass

import pytest

from heal import records
from heal.config.experiment import load
from tests.support.paths import ROOT
from tests.support.snakemake import copy_repository, make_environment

PAGE = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FILES = sorted((ROOT / "docs/tutorial").iterdir())


@dataclass
class Step:
    """A block of commands, and the lines that the page says they print."""

    commands: str
    shown: str = ""
    status: int | None = None
    printed: str = ""


def read_steps():
    steps = []
    for kind, text in BLOCK.findall(PAGE):
        if kind == "bash":
            steps.append(Step(text))
        elif kind == "text":
            steps[-1].shown = text
    return steps


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory):
    """A copy of the repository after every command of the page, and the steps; a failed step is the last."""
    folder, done = copy_repository(tmp_path_factory.mktemp("tutorial")), []
    environment = make_environment() | {"PYTHONPATH": str(folder), "NO_COLOR": "1"}
    for step in read_steps():
        command = ["bash", "-e", "-c", step.commands]
        run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1800)
        step.status, step.printed = run.returncode, run.stdout + run.stderr
        done.append(step)
        if step.status:
            break
    return folder, done


@pytest.mark.parametrize("kind", ["csv", "yaml"])
def test_every_excerpt_is_in_a_file_of_the_tutorial(kind):
    contents = [file.read_text(encoding="utf-8") for file in FILES]
    excerpts = [text for found, text in BLOCK.findall(PAGE) if found == kind]
    assert excerpts
    for excerpt in excerpts:
        assert any(excerpt in content for content in contents), excerpt


def test_the_page_names_every_file_and_no_block_is_of_another_kind():
    for file in FILES:
        assert f"tutorial/{file.name})" in PAGE, file.name
    assert {kind for kind, _ in BLOCK.findall(PAGE)} == {"bash", "text", "csv", "yaml"}
    assert PAGE.count("```") == 2 * len(BLOCK.findall(PAGE))


def test_only_the_stand_ins_are_marked_as_such():
    text = (ROOT / "docs/tutorial/my.yaml").read_text(encoding="utf-8")
    marked = {re.match(r"\w+", line)[0] for line in text.splitlines() if line.endswith("# stand-in")}
    assert marked == {"guided", "gear", "scoring"}
    assert not load(ROOT / "docs/tutorial/my.yaml").problems.train.from_world


@pytest.mark.workflow
def test_every_command_runs_and_prints_what_the_page_shows(tutorial):
    _, steps = tutorial
    assert steps[-1].status == 0, f"{steps[-1].commands}\n{steps[-1].printed[-6000:]}"
    assert len(steps) == len(read_steps()) and sum(bool(step.shown) for step in steps) >= 3
    for step in steps:
        printed = step.printed.splitlines()
        for line in step.shown.splitlines():
            assert line in printed, f"{step.commands}\n{step.printed[-3000:]}"


@pytest.mark.workflow
def test_the_run_has_the_files_that_the_page_names(tutorial):
    folder, _ = tutorial
    table = PAGE.partition("in `results/my_run/` |")[2].partition("\n\n")[0]
    named = re.findall(r"`([^`]+)`", "".join(row.rpartition(" | ")[2] for row in table.splitlines()))
    assert len(named) >= 8
    paths = {str(path.relative_to(folder / "results/my_run")) for path in (folder / "results/my_run").rglob("*")}
    for name in named:
        assert any(path == name.rstrip("/") or path.endswith(f"/{name}") for path in paths), name


@pytest.mark.workflow
def test_imported_traces_take_the_place_of_samples(tutorial):
    folder, _ = tutorial
    run = folder / "results/my_traces"
    rows = records.read_jsonl(ROOT / "docs/tutorial/traces.jsonl")
    samples = records.read(run / "traces/my_teacher/teacher_seed0/samples.parquet", "samples")
    assert sorted(row["text"] for row in samples) == sorted(text for row in rows for text in row["responses"])
    assert list(run.glob("curricula/*/*/*/heal/curriculum.jsonl")) and not (run / "students").exists()
