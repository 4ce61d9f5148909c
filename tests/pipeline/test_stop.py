"""A stage that leaves the rest of a run without a point stops it, says why and how to go on; nothing else does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from heal import cli, records
from heal.config.experiment import Stop
from heal.config.experiment import load as load_experiment
from heal.config.run_config import RunConfig
from heal.errors import HealError
from heal.outcome import Outcome
from heal.pipeline.grade import Grade
from heal.pipeline.merge import Merge
from heal.pipeline.stop import CURES, ENOUGH, check_outcome
from heal.trace_files import GRADES, GUIDED, REPAIRS, REQUIRED, SAMPLES
from tests.support.paths import ROOT, SMOKE

PATH = Path("repairs/default.parquet")


def count(good: int | None, **reasons: int) -> Outcome:
    return Outcome((good or 0) + sum(reasons.values()), good, "accepted", reasons)


def get_error(outcome: Outcome, **options: Any) -> HealError | None:
    try:
        check_outcome(outcome, Stop(**options), PATH)
    except HealError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("outcome", "cause", "cure"),
    [
        (count(0, wrong=60, truncated=30), "none of 90 traces is accepted", "wrong"),
        (count(0, leak=60), "none of 60 traces is accepted", "leak"),
        (count(0, not_boxed=60), "none of 60 traces is accepted", "not_boxed"),
        (count(0, never_seen=60), "none of 60 traces is accepted", "wrong"),
        (count(20, truncated=40), "67% of the traces are cut off", "truncated"),
    ],
)
def test_a_pointless_rest_is_told_with_cause_and_cure(outcome: Outcome, cause: str, cure: str) -> None:
    error = get_error(outcome)
    assert error and error.problem.startswith(cause) and outcome.describe() in error.problem
    assert error.where == str(PATH) and CURES[cure] in error.fix and "stop: {enabled: false}" in error.fix


@pytest.mark.parametrize(
    "outcome",
    [
        count(1, wrong=999),
        count(30, truncated=30),
        count(0, wrong=ENOUGH - 1),
        count(0),
        Outcome(60, None, "", {"truncated": 30}),
    ],
    ids=["one good", "half", "few", "nothing to do", "no verdict"],
)
def test_anything_good_goes_on(outcome: Outcome) -> None:
    assert get_error(outcome) is None


def test_who_says_so_goes_on_and_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert get_error(count(0, wrong=60), enabled=False) is None
    assert "none of 60 traces is accepted; the run goes on" in capsys.readouterr().err
    assert get_error(count(20, truncated=40), max_truncated=0.7) is None


def write_samples(folder: Path, text: str, finish_reason: str = "stop") -> tuple[Path, Path]:
    """(problems, samples): one problem with the answer 5, and enough samples of one text."""
    problem = {"problem_id": "p", "question": "q", "answer": "5", "solution": None, "source": "s", "difficulty": "x"}
    sample = {"problem_id": "p", "text": text, "token_ids": [1], "logprobs": [0.0], "entropies": [0.0]}
    sample |= {"entropies_upper": None, "finish_reason": finish_reason}
    records.write(folder / "problems.parquet", "problems", [problem])
    rows = [sample | {"trace_id": f"t{index}", "index": index} for index in range(ENOUGH)]
    records.write(folder / "samples.parquet", "samples", rows)
    return folder / "problems.parquet", folder / "samples.parquet"


def grade(folder: Path, text: str, *flags: str) -> None:
    problems, samples = write_samples(folder, text)
    arguments = ["--problems", problems, "--samples", samples, "--out", folder / "grades.parquet", *flags]
    cli.main(["grade", *map(str, arguments)])


def test_grades_without_a_right_sample_stop_where_they_are_required(tmp_path: Path) -> None:
    grade(tmp_path, "so \\boxed{4}")
    grade(tmp_path, "so \\boxed{5}", "--required")
    grade(tmp_path, "so \\boxed{4}", "--required", "--no-stop.enabled")
    with pytest.raises(HealError, match="is right"):
        grade(tmp_path, "so \\boxed{4}", "--required")


def test_samples_that_are_cut_off_stop_when_they_are_merged(tmp_path: Path) -> None:
    _, samples = write_samples(tmp_path, "so", "length")
    arguments = ["merge", "--table", "samples", "--parts", str(samples), "--out", str(tmp_path / "merged.parquet")]
    cli.main(arguments)
    with pytest.raises(HealError, match="100% of the traces are cut off"):
        cli.main([*arguments, "--required"])


def test_going_on_reruns_nothing() -> None:
    """Else the stages before the stop would be made again, and all that was sampled from them."""
    experiment = load_experiment(ROOT / SMOKE)
    for command in (Grade, Merge):
        identities = []
        for stop in (Stop(), Stop(enabled=False, max_truncated=1.0)):
            identities.append(command.changed_options(RunConfig(experiment.model_copy(update={"stop": stop}))))
        assert identities[0] == identities[1]


def test_only_the_files_that_all_else_is_made_from_are_required() -> None:
    """A GEAR variant may be a control, of which nothing is accepted by design."""
    assert set(REQUIRED) == {SAMPLES, GRADES, GUIDED, REPAIRS.of(variant="default")}
    assert REPAIRS.of(variant="no_hint") not in REQUIRED
