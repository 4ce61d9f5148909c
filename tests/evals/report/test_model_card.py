"""A student's model card has the numbers of its files, and is Markdown that the hub can read."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from evals.report import model_card
from evals.results import Run
from heal import cli, records
from heal.config.models import Model
from heal.errors import HealError
from heal.registry import build_method
from tests.support.paths import ROOT
from tests.support.run_factory import write_run

TRAINING = {
    "tokens": {"total": 12345, "supervised": 6789},
    "steps_per_stage": {"1": 200, "2": 100, "3": 50},
    "schedule": "cumulative",
    "left_out_too_long": ["a"],
    "left_out_unreadable": [],
    "options": {"max_steps": 350, "epochs": 5.0, "report_to": []},
    "versions": {"torch": "1", "transformers": "2", "trl": "3"},
}
HEAL = build_method("heal", {}, where="test", field="heal")


@pytest.fixture
def student(tmp_path: Path) -> model_card.TrainedStudent:
    folder = write_run(tmp_path / "run", accuracy={"heal": 0.6}, training_seeds=1)
    student = folder / "students/t/teacher_seed0/s/heal/seed0"
    records.write_json(student / "training.json", TRAINING)
    records.write_json(Path(f"{student}.provenance.json"), {"git": {"commit": "abc", "dirty": True}})
    run = Run(folder, ["t"], ["s"], ["heal"], ["b", "greedy"], 1, 1)
    return model_card.TrainedStudent(run, teacher_seed=0, seed=0, method=HEAL)


def render(student: model_card.TrainedStudent, license: str | None = None) -> str:
    sources = [model_card.Source("teacher", "here", "mit"), model_card.Source("training problems", "mini", license)]
    return model_card.render_model_card(student, None, sources)


def test_numbers_are_those_of_the_files(student):
    text = render(student)
    answers = student.run.load_answers(student.get_answers_path("b"), "b")
    [line] = [line for line in text.splitlines() if line.startswith("| b ")]
    assert line.split("|")[4].strip().startswith(f"{answers.scores_Q.mean():.3f}")
    assert line.split("|")[5].strip() == f"{answers.truncated_Q.mean():.3f}"
    for part in ("12,345 tokens, 6,789", "abc with uncommitted changes", "| 1: base samples | 4 | 4 sample | 200 |"):
        assert part in text, part
    assert "| max_steps | 350 |" in text and "report_to" not in text, "options that are not set are not listed"
    assert text.count(model_card.UNSTATED) == 1 and model_card.UNSTATED not in render(student, "apache-2.0")


def test_the_front_matter_is_yaml_and_claims_no_more_than_the_config():
    local = yaml.safe_load(model_card.render_front_matter(Model(path=".", license="Apache-2.0"), HEAL).split("---")[1])
    assert local["license"] == "apache-2.0" and local["library_name"] == "transformers"
    assert "base_model" not in local, "a local folder is no model of the hub"
    hub = Model(path="Qwen/Qwen3-0.6B", revision="a" * 40)
    fields = yaml.safe_load(model_card.render_front_matter(hub, HEAL).split("---")[1])
    assert fields["base_model"] == "Qwen/Qwen3-0.6B" and "license" not in fields


def test_a_question_with_quotes_leaves_the_code_valid(student):
    path = student.run.folder / "problems/train.parquet"
    rows = records.read(path, "problems")
    rows[0]["question"] = 'What\'s "2"\n{x}?'
    records.write(path, "problems", rows)
    compile(render(student).split("```python")[1].split("```")[0], "card", "exec")


def test_a_student_without_answers_is_refused(student):
    student.get_answers_path("b").unlink()
    with pytest.raises(HealError, match="Fix"):
        render(student)


def test_the_command_reads_models_and_options_from_the_config(student, tmp_path):
    config = ROOT / "config/config.yaml"
    out = tmp_path / "card.md"
    names = ["--teacher", "default", "--student", "tiny", "--method", "heal", "--seed", "0"]
    for folder in ("evals", "students", "traces"):
        (student.run.folder / folder / "t").rename(student.run.folder / folder / "default")
    for folder in ("evals/default/teacher_seed0", "students/default/teacher_seed0", "evals/students"):
        (student.run.folder / folder / "s").rename(student.run.folder / folder / "tiny")
    place = ["--run-folder", str(student.run.folder), "--benchmarks", "b", "--out", str(out)]
    with pytest.raises(HealError, match="one --out for every --seed"):
        cli.main(["model-card", "--config", str(config), *names, *place, "--seed", "1"])
    cli.main(["model-card", "--config", str(config), *names, *place])
    text = out.read_text()
    assert "# tiny, taught by default with heal" in text and "heal/worlds/mini/models/teacher" in text
    assert (tmp_path / "hub_results.yaml").read_text() == "[]\n", "the hub knows no benchmark of the mini world"
    assert "GEAR options: `" in text and '"min_step_tokens": 1' in text, "the options of the variant that it uses"
