"""A student's card says what its files say, and is Markdown that the hub can read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from evals.report import model_card as card
from heal import records
from heal.config.data import Dataset
from heal.config.experiment import Model
from heal.errors import HealError
from heal.registry import build
from tests.support.run_factory import METHODS, write_run

TRAINING = {
    "tokens": {"total": 12345, "supervised": 6789},
    "steps_per_stage": {"1": 200, "2": 100, "3": 50},
    "schedule": "cumulative",
    "left_out_too_long": ["a"],
    "left_out_unreadable": [],
    "options": {"steps": 350, "epochs": 5.0, "report_to": []},
    "versions": {"torch": "1", "transformers": "2", "trl": "3"},
}


@pytest.fixture
def run(tmp_path: Path) -> card.Run:
    folder = write_run(tmp_path / "run", accuracy={"heal": 0.6}, training_seeds=1)
    student = folder / "students/t/teacher_seed0/s/heal/seed0"
    records.write_json(student / "training.json", TRAINING)
    records.write_json(Path(f"{student}.provenance.json"), {"git": {"commit": "abc", "dirty": True}})
    return card.Run(folder, ["t"], ["s"], ["heal"], ["b", "greedy"], 1, 1)


def render_card(run: card.Run, **student: str) -> str:
    models = {"teacher": Model(path=".", license="mit"), "student": Model(path=".", **student)}
    method = build(METHODS["heal"], where="test", field="heal")
    return card.card(run, 0, 0, method, models, Dataset(split="train", n=3), None)


def test_numbers_are_those_of_the_files(run: card.Run) -> None:
    text = render_card(run)
    share = run.answers(run.student_paths("t", "s", "heal", "b")[0][0], "b").scores_Q.mean()
    [line] = [line for line in text.splitlines() if line.startswith("| b ")]
    assert line.split("|")[4].strip().startswith(f"{share:.3f}")
    for part in ("12,345 tokens, 6,789", "abc with uncommitted changes", "| 1: base samples | 4 | 4 sample | 200 |"):
        assert part in text, part
    assert "report_to" not in text, "what is not set is not told"


def test_the_front_matter_is_yaml_and_claims_no_more_than_the_config(run: card.Run) -> None:
    fields = yaml.safe_load(render_card(run, license="Apache-2.0").split("---")[1])
    assert fields["license"] == "apache-2.0" and fields["library_name"] == "transformers"
    assert "base_model" not in fields, "a local folder is no model of the hub"
    unstated = render_card(run)
    assert "license" not in yaml.safe_load(unstated.split("---")[1])
    assert unstated.count(card.UNSTATED) == 2, "the student's and the problems'; the teacher's is given"
    hub = Model(path="Qwen/Qwen3-0.6B", revision="a" * 40)
    method = build(METHODS["heal"], where="test", field="heal")
    assert yaml.safe_load(card.front_matter(hub, method).split("---")[1])["base_model"] == "Qwen/Qwen3-0.6B"


def test_a_question_with_quotes_leaves_the_code_valid(run: card.Run) -> None:
    path = run.folder / "problems/train.parquet"
    rows = records.read(path, "problems")
    rows[0]["question"] = 'What\'s "2"\n{x}?'
    records.write(path, "problems", rows)
    compile(render_card(run).split("```python")[1].split("```")[0], "card", "exec")


def test_a_student_without_answers_is_refused(run: card.Run) -> None:
    run.student_paths("t", "s", "heal", "b")[0][0].unlink()
    with pytest.raises(HealError, match="Fix"):
        render_card(run)


def test_the_command_writes_the_card(run: card.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = {role: Model(path=".").model_dump() for role in ("teacher", "student")}
    options = {"run": run.folder, "teacher": "t", "student": "s", "method": "heal", "seed": 0, "out": tmp_path / "a.md"}
    options |= {
        "method-json": json.dumps(METHODS["heal"]),
        "models": json.dumps(models),
        "problems": '{"split": "train", "n": 3}',
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    monkeypatch.setattr("sys.argv", ["card", *arguments, "--benchmarks", "b"])
    card.main()
    assert "# s, taught by t with heal" in (tmp_path / "a.md").read_text()
