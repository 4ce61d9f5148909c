"""`heal check` on files of models and the hub: logins, licenses, missing shards, templates without an end of turn."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from heal.config.models import Model
from heal.config.run_config import RunConfig
from heal.errors import HealError
from heal.planning.preflight import files
from heal.planning.preflight.check import find_faults
from heal.planning.preflight.files import check_licenses, check_weights, find_missing_shards
from tests.support.paths import ROOT
from tests.support.planning import make_experiment

MINI = ROOT / "heal/worlds/mini/models/student"
HUB = {"path": "somebody/Model-8B", "revision": "0" * 40}


@contextmanager
def serve_hub(status: int, headers: dict[str, str]):
    """A hub that answers every request with this status."""

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.mark.parametrize(
    ("status", "headers"), [(401, {}), (403, {"X-Error-Code": "GatedRepo"}), (401, {"X-Error-Code": "GatedRepo"})]
)
def test_a_model_or_data_set_that_needs_a_login_says_where_to_ask(status, headers, tmp_path):
    script = (
        "from heal.config.data import Dataset\n"
        "from heal.config.models import Model\n"
        "from heal.errors import HealError\n"
        "from heal.config.run_config import read_run_config\n"
        "from heal.planning.preflight.files import check_dataset_access\n"
        "from heal.planning.preflight.lookup import Lookup\n"
        "from heal.planning.preflight.models import check_student, check_teacher\n"
        "lookup = Lookup(read_run_config('config/config.yaml'))\n"
        f"model = Model(path='somebody/Model-8B', revision={'0' * 40!r})\n"
        f"data = Dataset(source='hub', path='somebody/data', revision={'1' * 40!r}, split='test')\n"
        "for check, arguments in ((check_teacher, (model, lookup)), (check_student, (model, lookup)),"
        " (check_dataset_access, (data,))):\n"
        "    try:\n"
        "        check(*arguments)\n"
        "    except HealError as error:\n"
        "        print(error)\n"
    )
    with serve_hub(status, headers) as url:
        environment = os.environ | {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
        run = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
        )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("the hub wants a login") == 3, run.stdout
    for part in ("https://huggingface.co/somebody/Model-8B", "https://huggingface.co/datasets/somebody/data"):
        assert part in run.stdout
    assert "hf auth login" in run.stdout


def test_a_weight_file_that_is_missing_is_named(tmp_path):
    there = ["model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors", "config.json"]
    assert find_missing_shards(there) == ["model-00002-of-00003.safetensors"]
    folder = shutil.copytree(MINI, tmp_path / "model")
    check_weights(Model(path=str(folder)))
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model.safetensors", "b": "rest.safetensors"}}))
    with pytest.raises(HealError, match="1 files are missing: rest.safetensors"):
        check_weights(Model(path=str(folder)))
    index.write_text("{}")
    with pytest.raises(HealError, match="no `weight_map`"):
        check_weights(Model(path=str(folder)))


def test_a_license_that_the_hub_does_not_give_is_a_caution(monkeypatch):
    def check(model, on_hub):
        monkeypatch.setattr(files, "read_license", lambda _: on_hub)
        return [str(one) for one in check_licenses(make_experiment(), "teachers.big", model)]

    assert check(Model(**HUB, license="apache-2.0"), "apache-2.0") == []
    assert check(Model(**HUB, license="apache-2.0"), None) == []
    assert "'apache-2.0', but the hub says 'llama3'" in check(Model(**HUB, license="apache-2.0"), "llama3")[0]
    assert "teachers.big.license: no license" in check(Model(**HUB), "mit")[0]
    assert check(Model(path=str(MINI)), "mit") == []


@pytest.mark.parametrize("role", ["teachers", "students"])
def test_a_template_without_an_end_of_turn_is_a_fault_of_teacher_and_student(experiment, tmp_path, role):
    name = {"teachers": "default", "students": "tiny"}[role]
    folder = tmp_path / "endless"
    shutil.copytree(ROOT / f"heal/worlds/mini/models/{role.removesuffix('s')}", folder)
    (folder / "chat_template.jinja").write_text("{% for message in messages %}{{ message.content }} {% endfor %}x")

    def change(content):
        content[role][name]["path"] = str(folder)

    faults = [str(one) for one in find_faults(RunConfig(experiment(change), "config"))]
    assert any(f"{role}.{name}: " in text and "no special token" in text for text in faults), faults


def test_a_license_is_read_from_the_hubs_card(monkeypatch):
    card = SimpleNamespace(card_data={"license": "mit"})
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: card)
    assert files.read_license(Model(**HUB)) == "mit"

    def refuse(*_: Any, **__: Any):
        raise OSError

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", refuse)
    assert files.read_license(Model(**HUB)) is None


def test_a_model_in_the_hubs_cache_is_checked_without_a_network(monkeypatch, tmp_path):
    snapshot = shutil.copytree(MINI, tmp_path / "snapshot")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(snapshot))
    check_weights(Model(**HUB))
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(HealError, match="no safetensors among"):
        check_weights(Model(**HUB))


def test_an_unreachable_hub_costs_seconds_and_says_so(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9 cannot be reached" in (files.switch_to_cache() or "")
    assert files.switch_to_cache() is None  # from here on the cache is used
    started = time.monotonic()
    with pytest.raises(HealError, match="cannot be listed"):
        files.list_model_files(Model(**HUB))
    assert time.monotonic() - started < 5


def test_only_a_config_with_hub_files_asks_the_hub():
    assert not files.uses_hub(make_experiment())
    assert files.uses_hub(make_experiment(lambda content: content["teachers"].update(big=HUB)))
    data = {"source": "hub", "path": "somebody/data", "revision": "1" * 40, "split": "test"}
    assert files.uses_hub(make_experiment(lambda content: content["problems"]["test"].update(more=data)))
