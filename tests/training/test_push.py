"""Nothing leaves this machine unless it is said twice; then everything goes in one commit, with a card."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from heal import records
from heal.errors import HealError
from heal.schemas import SCHEMAS
from heal.training.push import push

MODEL = "heal/worlds/mini/models/teacher"
MINI = {"source": "mini", "n": 4}
PROBLEMS = {
    "train": MINI | {"split": "train"},
    "dev": MINI | {"split": "dev"},
    "test": {"hard": MINI | {"split": "hard"}},
}
SAMPLE = dict.fromkeys(("trace_id", "problem_id", "text", "finish_reason"), "x") | {"index": 0}
SAMPLE |= {"token_ids": [1], "logprobs": [0.0], "entropies": [0.0]}


class Hub:
    """Stands in for huggingface_hub.HfApi."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.kinds: list[str] = []
        self.texts: dict[str, Any] = {}

    def create_repo(self, repo: str, **options: Any) -> None:
        self.calls.append(("create", options["private"]))
        self.kinds = [options["repo_type"]]

    def create_commit(self, repo: str, operations: list[Any], **options: Any) -> Any:
        self.calls.append(("commit", sorted(each.path_in_repo for each in operations)))
        self.kinds.append(options["repo_type"])
        self.texts = {each.path_in_repo: each.path_or_fileobj for each in operations}
        return type("Commit", (), {"commit_url": f"hub/{repo}"})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    fake_hub = Hub()
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: fake_hub)
    return fake_hub


@pytest.fixture
def student(tmp_path: Path) -> Path:
    for name in (
        "model/model.safetensors",
        "model/config.json",
        "model/.snakemake_timestamp",
        "README.md",
        "training.json",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    return tmp_path


def test_without_yes_nothing_is_sent(hub: Hub, student: Path) -> None:
    listing = push(student, "me/student")
    assert hub.calls == [] and "Nothing was sent" in listing[-1]


@pytest.mark.parametrize("public", [False, True])
def test_with_yes_model_and_card_go_in_one_commit(hub: Hub, student: Path, public: bool) -> None:
    push(student, "me/student", yes=True, public=public)
    sent = ["README.md", "config.json", "model.safetensors", "training.json"]
    assert hub.calls == [("create", not public), ("commit", sent)] and hub.kinds == ["model", "model"]


@pytest.mark.parametrize(("results", "sent"), [("[]\n", False), ("- dataset: {id: openai/gsm8k}\n", True)])
def test_scores_go_where_the_hub_reads_them_and_only_where_there_are_some(
    hub: Hub, student: Path, results: str, sent: bool
) -> None:
    (student / "hub_results.yaml").write_text(results)
    push(student, "me/student", yes=True)
    assert (".eval_results/heal.yaml" in hub.calls[1][1]) == sent


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    """Traces of one teacher in a run, with a shard, a student's samples and an unfinished batch, which stay here."""
    run = tmp_path / "results/run"
    write_config(run / "config/1.yaml", run="earlier", teachers={"t": {"path": "other"}})
    write_config(run / "config/2.yaml", problems=PROBLEMS | {"license": "MIT"})
    os.utime(run / "config/1.yaml", (1, 1))
    problem = dict.fromkeys(SCHEMAS["problems"], "x")
    records.write(run / "problems/train.parquet", "problems", [problem])
    folder = run / "traces/t/teacher_seed0"
    for name in ("samples", "shards/samples/0", "students/s/samples", ".samples.parquet.0f/000000"):
        records.write(folder / f"{name}.parquet", "samples", [SAMPLE, SAMPLE])
    records.write(folder / "grades.parquet", "grades", [])
    records.write(folder / "repairs/default.parquet", "repairs", [])
    provenance = {"git": {"commit": "abc", "dirty": False}}
    records.write_json(folder / "samples.parquet.provenance.json", provenance)
    return folder


def write_config(path: Path, **changes: Any) -> None:
    content = {"run": "run", "teachers": {"t": {"path": MODEL, "license": "mit"}}, "students": {"s": {"path": MODEL}}}
    content |= {"problems": PROBLEMS, "benchmarks": ["mini_hard"], "methods": {"heal": {"method": "heal"}}}
    records.write_text(path, yaml.safe_dump(content | changes))


def read_card(hub: Hub) -> tuple[dict[str, Any], str]:
    """Front matter and text."""
    _, front_matter, text = hub.texts["README.md"].decode().split("---\n", 2)
    return yaml.safe_load(front_matter), text


def test_traces_are_a_data_set_with_a_card(hub: Hub, traces: Path) -> None:
    push(traces, "me/traces", traces=True, yes=True)
    files = ["grades.parquet", "problems.parquet", "repairs/default.parquet", "samples.parquet"]
    assert hub.calls == [("create", True), ("commit", ["README.md", *files])] and hub.kinds == ["dataset", "dataset"]
    fields, text = read_card(hub)
    assert sorted(entry["data_files"] for entry in fields["configs"]) == files
    assert len({entry["config_name"] for entry in fields["configs"]}) == 4 and fields["license"] == "mit"
    for part in (f"| teacher | {MODEL} | mit |", "| `samples.parquet` | 2 |", "commit abc", "`run` (teacher", "MIT"):
        assert part in text, part
    for schema in ("problems", "samples", "grades", "repairs"):
        assert f"### {schema}\n" in text
        for column in SCHEMAS[schema].values():
            assert column.meaning in text


def test_no_license_is_claimed_where_teacher_and_problems_differ(hub: Hub, traces: Path) -> None:
    config = traces.parents[2] / "config/2.yaml"
    for license in ({"license": "cc0-1.0"}, {}):
        write_config(config, problems=PROBLEMS | license)
        push(traces, "me/traces", traces=True, yes=True)
        fields, text = read_card(hub)
        assert "license" not in fields and license.get("license", "not stated in the config") in text


@pytest.mark.parametrize("absent", ["samples.parquet", "grades.parquet", "../../../problems/train.parquet"])
def test_a_folder_without_traces_is_refused(hub: Hub, traces: Path, absent: str) -> None:
    (traces / absent).unlink()
    with pytest.raises(HealError, match=Path(absent).name):
        push(traces, "me/traces", traces=True, yes=True)
    assert hub.calls == []


@pytest.mark.parametrize("absent", ["README.md", "training.json"])
def test_an_unfinished_student_is_refused(hub: Hub, student: Path, absent: str) -> None:
    (student / absent).unlink()
    with pytest.raises(HealError, match=absent):
        push(student, "me/student", yes=True)
    assert hub.calls == []


def test_a_repository_needs_owner_and_name(hub: Hub, student: Path) -> None:
    with pytest.raises(HealError, match="NAME/REPOSITORY"):
        push(student, "student", yes=True)
    assert hub.calls == []


def test_a_hub_that_cannot_be_reached_is_told_plainly(student: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", "none")
    with pytest.raises(HealError, match="could not be reached"):
        push(student, "me/student", yes=True)
