"""Fixtures that tests of several packages share. They import what they need when they run."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from heal.config.models import Endpoint


@pytest.fixture(scope="session")
def trace_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Traces in which the teacher solves the first third of the problems; repairs and guided samples solve the rest."""
    from tests.support.trace_folder import write_trace_folder

    return write_trace_folder(tmp_path_factory.mktemp("traces"))


@pytest.fixture
def server() -> Iterator[Callable[..., Endpoint]]:
    """Starts the misbehaving server with its answers; gives the endpoint that a config would name."""
    from heal.config.models import Endpoint
    from tests.support.misbehaving_server import Misbehaving, list_models

    Misbehaving.sent, Misbehaving.models = [], list_models()
    running = ThreadingHTTPServer(("127.0.0.1", 0), Misbehaving)
    threading.Thread(target=running.serve_forever, daemon=True).start()

    def start(*answers: tuple[Any, ...], **options: Any) -> Endpoint:
        Misbehaving.answers = list(answers)
        url = f"http://127.0.0.1:{running.server_port}/v1"
        return Endpoint(**({"base_url": url, "model_name": "there", "retries": 2} | options))

    yield start
    running.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium, driven by playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make test-env")
    chromium = shutil.which("chromium")
    assert chromium, "chromium is not installed: make test-pages installs it"
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=chromium)
        yield running
        running.close()
