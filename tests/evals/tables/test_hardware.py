"""Under every table: the hardware of its rows, from provenance; a warning where compared rows are mixed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evals.audits.combine_teacher_seeds import collect_notes
from evals.results import open_run
from evals.tables.costs import format_costs
from evals.tables.hardware import list_hardware_notes, list_trace_notes
from evals.tables.notes import Note, Topic, get_notes_path, read_notes, select_notes, write_notes
from heal import records
from tests.support.run_factory import make_view
from tests.support.tables import write_comparison, write_detail_tables

CPU = {"machine": {"processor": "AMD EPYC 9654", "cpu_flags": ["AVX2", "AVX-512"], "cores": 2, "gpus": 0}}
OLD = {"machine": {"processor": "Old Xeon", "cores": 2, "gpus": 0}}
METHODS = ("rs", "heal", "oracle")


def make_gpu_record(name: str = "NVIDIA H100", driver: str = "580.65.06", count: int = 1) -> dict[str, Any]:
    return CPU | {"gpu_seconds": 9.0, "gpu": {"names": [name] * count, "driver": driver, "cuda": "13.0"}}


def write_provenance(run: Path, record: dict[str, Any]) -> None:
    """Gives every output of the run the same provenance."""
    traces = run / "traces/t/teacher_seed0"
    for name, command in (("shards/samples/0", "sample base"), ("shards/repairs/default/0", "repair")):
        records.write_json(traces / f"{name}.parquet.provenance.json", {"command": command, "seconds": 1.0} | record)
    records.write_json(traces / "grades.parquet.provenance.json", {"command": "grade", "seconds": 1.0} | CPU)
    for folder in ("evals/t/teacher", "evals/students/s"):
        records.write_json(run / folder / "evaluation.provenance.json", record)
    for method in METHODS:
        for seed in range(3):
            place = f"t/teacher_seed0/s/{method}/seed{seed}"
            records.write_json(run / f"students/{place}.provenance.json", record)
            records.write_json(run / f"evals/{place}/evaluation.provenance.json", record)


def list_notes(run: Path) -> list[tuple[Topic, str]]:
    return [(note.topic, note.text) for note in list_hardware_notes(open_run(make_view(run)))]


def test_one_sentence_names_the_hardware_of_all_rows(run: Path) -> None:
    write_provenance(run, make_gpu_record() | {"engine": {"model_runner": "V2"}})
    words = "1 × NVIDIA H100, driver 580.65.06, CUDA 13.0, vLLM model runner V2"
    expected = f"Hardware: teacher's traces, training and evaluation on {words}."
    assert list_notes(run) == [(Topic.HARDWARE, expected)]
    write_detail_tables(run)
    for name in ("main.md", "main.tex", "main_strata.md", "main_at_k.md", "main_ranks.md"):
        assert "model runner V2" in (run / "tables" / name).read_text(), name
    assert "model runner V2" not in (run / "tables/main.txt").read_text()
    assert select_notes(read_notes(get_notes_path(run / "tables/main.csv")), Topic.HARDWARE)
    assert "model runner V2" in format_costs([], list_hardware_notes(open_run(make_view(run))))


@pytest.mark.parametrize("record", [OLD, {}, {"gpu_seconds": 5.0} | OLD])
def test_provenance_that_does_not_say_it_adds_nothing(run: Path, record: dict[str, Any]) -> None:
    before = write_comparison(run).with_suffix(".md").read_bytes()
    write_provenance(run, record)
    (run / "traces/t/teacher_seed0/shards/samples/0.parquet.provenance.json").unlink()
    assert list_notes(run) == []
    assert write_comparison(run).with_suffix(".md").read_bytes() == before


@pytest.mark.parametrize(
    ("folder", "part"),
    [
        ("students/t/teacher_seed0/s/heal/seed1.provenance.json", "training"),
        ("evals/t/teacher_seed0/s/heal/seed1/evaluation.provenance.json", "evaluation"),
    ],
)
@pytest.mark.parametrize(
    "other", [make_gpu_record("NVIDIA A100"), make_gpu_record(driver="570.1"), make_gpu_record(count=2), CPU]
)
def test_compared_rows_of_different_hardware_are_warned_of(
    run: Path, folder: str, part: str, other: dict[str, Any]
) -> None:
    write_provenance(run, make_gpu_record())
    records.write_json(run / folder, other)
    (warning,) = [text for topic, text in list_notes(run) if topic is Topic.MIXED_HARDWARE]
    assert warning.startswith(f"Hardware is mixed in {part} of teacher t, student s: ")
    assert "heal, oracle, rs on 1 × NVIDIA H100, driver 580.65.06" in warning and "heal on " in warning
    write_comparison(run)
    for name in ("main.md", "main.txt"):
        assert "Hardware is mixed in" in (run / "tables" / name).read_text(), name


def test_traces_of_different_processors_are_warned_of(run: Path) -> None:
    write_provenance(run, CPU)
    other = {"machine": CPU["machine"] | {"cpu_flags": ["AVX2"]}, "command": "repair"}
    records.write_json(run / "traces/t/teacher_seed0/shards/repairs/default/0.parquet.provenance.json", other)
    (warning,) = [text for topic, text in list_notes(run) if topic is Topic.MIXED_HARDWARE]
    assert "in teacher's traces of teacher t: repair on AMD EPYC 9654 (AVX2); sample base on AMD EPYC 9654" in warning


def test_a_teacher_on_more_gpus_than_its_students_is_named_and_no_warning(run: Path) -> None:
    write_provenance(run, make_gpu_record())
    records.write_json(run / "evals/t/teacher/evaluation.provenance.json", make_gpu_record(count=4))
    ((topic, text),) = list_notes(run)
    assert topic is Topic.HARDWARE and "evaluation on 1 × NVIDIA H100" in text and "| 4 × NVIDIA H100" in text


def test_a_served_model_has_no_known_hardware(run: Path) -> None:
    served = CPU | {"options": {"model": {"path": "x", "endpoint": {"base_url": "http://x/v1"}}}}
    write_provenance(run, make_gpu_record())
    records.write_json(run / "evals/t/teacher/evaluation.provenance.json", served)
    ((_, text),) = list_notes(run)
    assert "an endpoint (its hardware is unknown)" in text


def test_a_table_on_traces_alone_names_theirs(run: Path) -> None:
    write_provenance(run, make_gpu_record())
    folder = run / "traces/t/teacher_seed0"
    ((topic, text),) = [(note.topic, note.text) for note in list_trace_notes(folder, "t")]
    assert topic is Topic.HARDWARE and text.startswith("Hardware: teacher's traces on 1 × NVIDIA H100")
    records.write_json(folder / "shards/samples/1.parquet.provenance.json", {"command": "sample base"} | CPU)
    topics = [note.topic for note in list_trace_notes(folder, "t")]
    assert topics == [Topic.HARDWARE, Topic.MIXED_HARDWARE]


def test_combined_audits_keep_the_hardware_of_every_teacher_seed(tmp_path: Path) -> None:
    notes = [[Note(Topic.RUN, "x"), Note(Topic.HARDWARE, name)] for name in ("A", "B", "A")]
    paths = [tmp_path / f"{seed}.csv" for seed in range(3)]
    for path, own in zip(paths, notes, strict=True):
        write_notes(get_notes_path(path), own)
    assert collect_notes(paths) == [*notes[0], Note(Topic.HARDWARE, "B")]


def test_another_model_runner_is_named_among_the_settings_and_refuses_no_table(run: Path) -> None:
    """vLLM runs models otherwise on a GPU than on a CPU."""
    for file in sorted(run.glob("evals/**/results.json")):
        runner = "V1" if "seed1" in file.parts else "V2"
        settings = {"temperature": 1.0, "repeats": 4, "engine": "vllm 0.32", "model_runner": runner}
        records.write_json(file, {"settings": settings})
    assert 'model_runner "V1 | V2"' in write_comparison(run).with_suffix(".md").read_text()
