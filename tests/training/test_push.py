"""Nothing leaves this machine unless it is said twice; then everything goes in one commit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from heal.errors import HealError
from heal.training.push import push


class Hub:
    """Stands in for huggingface_hub.HfApi."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def create_repo(self, repo: str, **options: Any) -> None:
        self.calls.append(("create", options["private"]))

    def create_commit(self, repo: str, operations: list[Any], **_: Any) -> Any:
        self.calls.append(("commit", sorted(each.path_in_repo for each in operations)))
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
    assert hub.calls == [("create", not public), ("commit", sent)]


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
