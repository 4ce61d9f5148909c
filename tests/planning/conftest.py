"""Plans read paths relative to the repository."""

import pytest

from tests.support.paths import ROOT


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)
