"""Every fault applies to the code and leaves Python that compiles; whether a rehearsal sees it, benchmarks/ shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from heal.errors import HealError
from tests.rehearsal.faults import FAULTS, Fault
from tests.support.paths import ROOT


def copy_file(fault: Fault, folder: Path) -> Path:
    path = folder / fault.file
    path.parent.mkdir(parents=True)
    path.write_text((ROOT / fault.file).read_text())
    return path


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_changes_the_file_and_leaves_it_whole(fault: Fault, tmp_path: Path) -> None:
    path = copy_file(fault, tmp_path)
    fault.apply(tmp_path)
    assert path.read_text() != (ROOT / fault.file).read_text()
    if path.suffix == ".py":
        compile(path.read_text(), str(path), "exec")


def test_a_fault_that_no_longer_applies_is_told(tmp_path: Path) -> None:
    fault = Fault("gone", "", "", FAULTS[0].file, "new", "text that is not there")
    copy_file(fault, tmp_path)
    with pytest.raises(HealError, match="does not apply"):
        fault.apply(tmp_path)
