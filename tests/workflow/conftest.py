"""One finished smoke run, shared by every test module that needs one.

HEAL_SMOKE_RUN=FOLDER takes a copy of the repository that has a finished run already (while writing tests).
"""

import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from tests.support.paths import ROOT, SMOKE
from tests.support.snakemake import copy_repository, run_snakemake


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory):
    """A clone after `snakemake ablations viewer`: with the committed gates, which tables quote. Made once, by whichever
    test process is first."""
    if "HEAL_SMOKE_RUN" in os.environ:
        return Path(os.environ["HEAL_SMOKE_RUN"])
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, status_file, log = base / "copy", base / "smoke_run.status", base / "smoke_run.log"
    with FileLock(base / "smoke_run.lock"):
        if not status_file.exists():
            copy_repository(base)
            shutil.copytree(ROOT / "results/reference", folder / "results/reference")
            status, output = run_snakemake(folder, "ablations", "viewer", "--configfile", SMOKE)
            log.write_text(output)
            status_file.write_text(str(status))
    assert status_file.read_text() == "0", log.read_text()[-6000:]
    return folder


@pytest.fixture(scope="module")
def finished(smoke_run, tmp_path_factory):
    """A copy of the finished run with times and Snakemake's metadata, for the tests of one module to edit."""
    return Path(shutil.copytree(smoke_run, tmp_path_factory.mktemp("finished") / "copy"))
