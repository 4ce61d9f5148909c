"""A run asks before it makes samples again that exist, and keeps those that it replaces."""

import base64

import pyarrow.parquet as pq
import pytest

from tests.support.paths import SMOKE
from tests.support.snakemake import plan_jobs, run_snakemake

pytestmark = pytest.mark.workflow
SHARD = "traces/default/teacher_seed0/shards/samples/0.parquet"
TARGET = f"results/smoke/{SHARD}"


@pytest.fixture
def more_samples(finished):
    """Arguments of a run whose teacher samples five traces per problem, where the finished run has four."""
    (finished / "five.yaml").write_text((finished / SMOKE).read_text().replace("sampling: {n: 4,", "sampling: {n: 5,"))
    return [TARGET, "--configfile", "five.yaml"]


def test_a_changed_option_asks_once_for_all_samples_and_touches_none(finished, more_samples):
    before = (finished / TARGET).stat().st_mtime_ns
    status, output = run_snakemake(finished, "traces", *more_samples[1:])
    assert status != 0 and "sampling.n was 4 and is 5" in output and "Traceback" not in output, output[-3000:]
    assert "sample_base: " in output and "repair_traces: " in output and "allow_resampling=true" in output
    assert (finished / TARGET).stat().st_mtime_ns == before and "Finished jobid" not in output


def test_a_raised_version_asks_too(finished):
    path = finished / "heal/pipeline/sample.py"
    path.write_text(path.read_text().replace("\nVERSION = ", "\nVERSION = 9"))
    try:
        status, output = run_snakemake(finished, TARGET, "--configfile", SMOKE)
    finally:
        path.write_text(path.read_text().replace("\nVERSION = 9", "\nVERSION = "))
    assert status != 0 and "VERSION of `heal sample base` was" in output, output[-3000:]


def test_with_permission_the_samples_are_made_again_and_the_old_ones_are_kept(finished, more_samples):
    old = (finished / TARGET).read_bytes()
    status, output = run_snakemake(finished, *more_samples, "--config", "allow_resampling=true")
    assert status == 0 and "sampling.n was 4 and is 5" in output, output[-3000:]
    (kept,) = finished.glob(f"results/replaced/smoke/*/{SHARD}")
    assert kept.read_bytes() == old
    assert set(pq.read_table(finished / TARGET, columns=["index"])["index"].to_pylist()) == set(range(5))
    assert plan_jobs(finished, *more_samples) == {}  # the permission is no option: without it, nothing has changed


def test_a_run_that_was_killed_before_it_noted_a_finished_shard_goes_on_unasked(finished):
    """Snakemake notes that a job has started, then that it has ended; here the kill came in between."""
    marker = finished / ".snakemake/incomplete" / base64.urlsafe_b64encode(TARGET.encode()).decode()
    marker.write_text('{"external_jobid": null}')
    status, output = run_snakemake(finished, TARGET, "--configfile", SMOKE)
    assert status == 0 and "Finished jobid" in output, output[-3000:]
    assert (finished / TARGET).exists() and not marker.exists()


@pytest.mark.parametrize("force", [["--forcerun", "sample_base"], ["--forcerun", TARGET], ["--force"], ["--forceall"]])
def test_forced_samples_are_asked_for(finished, force):
    status, output = run_snakemake(finished, TARGET, "--configfile", SMOKE, *force)
    assert status != 0 and "forced on the command line" in output, output[-3000:]


def test_touch_takes_what_exists_without_asking(finished):
    (finished / "seven.yaml").write_text((finished / SMOKE).read_text() + "\nseed: 7\n")
    arguments = [TARGET, "--configfile", "seven.yaml"]
    status, output = run_snakemake(finished, *arguments, "--touch")
    assert status == 0, output[-3000:]
