"""Plans and checks read paths relative to the repository."""

import shutil
from pathlib import Path

import pytest
import yaml

from heal.config import experiment as config
from tests.support.paths import ROOT

STUDENT = ROOT / "heal/worlds/mini/models/student"


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The mini experiment with models and few problems, and changes to its content."""
    monkeypatch.chdir(ROOT)
    shutil.copytree(STUDENT, tmp_path / "student")

    def load(change=lambda content: None) -> config.Experiment:
        content = yaml.safe_load((ROOT / "config/config.yaml").read_text())
        content["students"]["tiny"]["path"] = str(tmp_path / "student")
        for dataset in (
            content["problems"]["train"],
            content["problems"]["dev"],
            *content["problems"]["test"].values(),
        ):
            dataset["n"] = 3
        change(content)
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(content))
        return config.load(path)

    return load
