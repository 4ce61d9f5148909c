"""The workflow makes the trace viewer when it is asked for, and only then."""

import pytest

from tests.support.paths import ROOT, SMOKE
from tests.support.snakemake import plan_jobs

pytestmark = pytest.mark.workflow


def test_the_workflow_makes_the_page_when_it_is_asked_for():
    arguments = ["--configfile", SMOKE, "--forceall"]
    jobs = plan_jobs(ROOT, "viewer", *arguments)
    assert jobs["render_viewer"] == 1 and "repair_traces" in jobs and "train_student" not in jobs
    assert "render_viewer" not in plan_jobs(ROOT, *arguments)
