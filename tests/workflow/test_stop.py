"""The workflow stops behind the files that all else is made from, and behind no others."""

import re

import pytest

from tests.support.paths import ROOT, SMOKE
from tests.support.snakemake import run_snakemake

pytestmark = pytest.mark.workflow


def test_merged_samples_guided_samples_and_own_repairs_and_the_grades_are_required():
    arguments = ["ablations", "--dry-run", "--forceall", "--printshellcmds", "--configfile", SMOKE]
    status, output = run_snakemake(ROOT, *arguments)
    assert status == 0, output[-3000:]
    jobs = re.findall(r"heal (?:merge|grade) .*--out \S*/teacher_seed0/(\S+)\.parquet", output)
    required = re.findall(r"heal (?:merge|grade) .* --required +--out \S*/teacher_seed0/(\S+)\.parquet", output)
    assert sorted(required) == ["grades", "guided", "repairs/default", "samples"]
    assert {"repairs/no_hint", "scores/default", "extra/uniform/default.grades"} <= set(jobs)
