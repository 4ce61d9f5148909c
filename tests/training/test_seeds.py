"""Laws of several seeds in one call: the bytes of a call per seed, files that appear together, no training twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from heal.command import parse_command
from heal.config.models import ModelSource
from heal.errors import HealError
from heal.training import checkpoints
from heal.training.train import Train as TrainCommand
from heal.training.train import train
from tests.support.tiny_training import EVERY_STEP, OPTIONS, read_contents, watch_forward_passes

SEEDS = (5, 0, 7)
STEPS = 4


def make_command(model: Path, curriculum: Path, folder: Path, seeds: tuple[int, ...] = SEEDS) -> Any:
    flags = ["--model.path", str(model), "--curriculum", str(curriculum), "--options.batch-size", "4"]
    flags += ["--options.max-steps", str(STEPS), "--options.save-minutes", str(EVERY_STEP)]
    flags += ["--options.learning-rate", str(OPTIONS.learning_rate)]
    for seed in seeds:
        flags += ["--seed", str(seed), "--out", str(folder / f"seed{seed}")]
    return parse_command(TrainCommand, "train", flags)


@pytest.fixture(scope="module")
def together(model: Path, curriculum: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("together")
    make_command(model, curriculum, folder).run()
    return folder


def test_each_student_gets_the_bytes_that_it_gets_alone(
    model: Path, curriculum: Path, together: Path, tmp_path: Path
) -> None:
    options = OPTIONS.model_copy(update={"max_steps": STEPS})
    students = []
    for seed in SEEDS:
        train(curriculum, ModelSource(path=str(model)), options, "cumulative", seed, tmp_path / f"seed{seed}")
        students.append(read_contents(tmp_path / f"seed{seed}"))
        assert read_contents(together / f"seed{seed}") == students[-1]
    weights = {student["model/model.safetensors"] for student in students}
    assert len(weights) == len(SEEDS)


def test_only_the_students_and_one_provenance_file_each_are_left(together: Path) -> None:
    names = [f"seed{seed}" for seed in SEEDS]
    assert {path.name for path in together.iterdir()} == {*names, *(f"{name}.provenance.json" for name in names)}
    for seed, name in zip(SEEDS, names, strict=True):
        record = json.loads((together / f"{name}.provenance.json").read_text())
        summary = json.loads((together / name / "training.json").read_text())
        assert record["seeds"] == [summary["seed"]] == [seed] and record["output"] == str(together / name)
        assert record["options"]["out"] == [str(together / name)]
        assert record["tokens"]["trained"] == summary["tokens"]["total"]


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_seeds_and_folders_match(model: Path, curriculum: Path, tmp_path: Path, seeds: tuple[int, ...]) -> None:
    command = make_command(model, curriculum, tmp_path, (0, 1)).model_copy(update={"seed": list(seeds)})
    with pytest.raises(HealError, match="give one --out for every --seed"):
        command.run()
    twice = command.model_copy(update={"seed": [0, 1], "out": [tmp_path / "s"] * 2})
    with pytest.raises(HealError, match="two students have one folder"):
        twice.run()


def test_a_killed_call_trains_no_finished_student_again(
    model: Path, curriculum: Path, together: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops in the second student, while checkpoint-3 is written; no file has appeared."""
    write = checkpoints.records.write_json

    def stop(path: Any, content: Any) -> None:
        if f".partial-seed{SEEDS[1]}-" in str(path) and "checkpoint-3" in str(path):
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(checkpoints.records, "write_json", stop)
    with pytest.raises(KeyboardInterrupt):
        make_command(model, curriculum, tmp_path).run()
    first = f"seed{SEEDS[0]}"
    assert not list(tmp_path.glob("seed?")) and [path.name for path in tmp_path.glob("*.json")] == [
        f"{first}.provenance.json"
    ]
    (hidden,) = tmp_path.glob(f".partial-{first}-*")
    assert [path.name for path in hidden.iterdir()] == ["student"]  # its checkpoints are not needed
    provenance = (tmp_path / f"{first}.provenance.json").read_bytes()
    monkeypatch.setattr(checkpoints.records, "write_json", write)
    with watch_forward_passes() as batches:
        make_command(model, curriculum, tmp_path).run()
    assert len(batches) == (STEPS - 2) + STEPS
    for seed in SEEDS:
        assert read_contents(tmp_path / f"seed{seed}") == read_contents(together / f"seed{seed}")
    assert (tmp_path / f"{first}.provenance.json").read_bytes() == provenance
    assert not list(tmp_path.glob(".partial-*"))


def test_what_students_share_is_prepared_once(
    model: Path, curriculum: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from heal.training import training

    calls: list[str] = []

    def count(name: str) -> None:
        function = getattr(training, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            calls.append(name)
            return function(*arguments, **options)

        monkeypatch.setattr(training, name, counted)

    names = ["read_curriculum", "find_model_folder", "hash_files", "load_student_tokenizer", "select_examples"]
    for name in names:
        count(name)
    make_command(model, curriculum, tmp_path).run()
    assert sorted(calls) == sorted(names)


@pytest.mark.parametrize("moved", [1, 3])
def test_a_call_that_is_killed_while_it_moves_a_student_can_be_run_again(
    model: Path, curriculum: Path, together: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: int
) -> None:
    """As Snakemake does, everything that has appeared is removed before the second call."""
    replace, calls = Path.replace, []

    def stop(path: Path, target: Path) -> Path:
        if ".partial-" in str(path):
            calls.append(path)
            if len(calls) > moved:
                raise KeyboardInterrupt
        return replace(path, target)

    seed = SEEDS[0]
    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        make_command(model, curriculum, tmp_path, (seed,)).run()
    monkeypatch.setattr(Path, "replace", replace)
    shutil.rmtree(tmp_path / f"seed{seed}")
    make_command(model, curriculum, tmp_path, (seed,)).run()
    assert read_contents(tmp_path / f"seed{seed}") == read_contents(together / f"seed{seed}")
    assert not list(tmp_path.glob(".partial-*"))
