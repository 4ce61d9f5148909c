"""Where a run may be: in a folder of any name, with results/ on another disk; and one run per folder at a time."""

import fcntl
import shutil

import pytest

from heal import records
from tests.support.paths import SMOKE
from tests.support.snakemake import copy_repository, run_snakemake

pytestmark = pytest.mark.workflow
PROBLEMS = ("problems", "--configfile", SMOKE, "--config", "limit=3")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A copy of the repository, with spaces and letters beyond ASCII in its path; results/ is a link to a folder."""
    base = tmp_path_factory.mktemp("base") / "Größe 2 & mehr/研究 'x'"
    base.mkdir(parents=True)
    copy = copy_repository(base)
    (copy / "results").symlink_to(base / "other disk")
    return copy


def test_a_link_that_leads_nowhere_is_told_before_any_job(folder):
    status, output = run_snakemake(folder, *PROBLEMS)
    assert status != 0 and "a link to" in output and "which does not exist" in output and "Traceback" not in output


def test_a_second_run_in_the_same_folder_is_told_so_and_changes_nothing(folder):
    other = folder.parent / "other disk"
    other.mkdir(exist_ok=True)
    with open(folder / ".snakemake.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status, output = run_snakemake(folder, *PROBLEMS)
    assert status != 0 and "Another run is active in" in output and "Traceback" not in output, output
    assert not list(other.glob("*/problems/*.parquet"))


def test_a_run_works_in_a_folder_of_any_name_with_linked_results(folder):
    other = folder.parent / "other disk"
    other.mkdir(exist_ok=True)
    status, output = run_snakemake(folder, *PROBLEMS)
    assert status == 0, output
    problems = sorted(other.glob("smoke/problems/*.parquet"))
    assert problems and all(records.read(path, "problems") for path in problems)
    shutil.rmtree(other)
