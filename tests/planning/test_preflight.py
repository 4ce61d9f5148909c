"""`heal check` on models and data: each fault is found before anything runs, and all are told at once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from heal.config import experiment as config
from heal.config.run_config import RunConfig
from heal.errors import HealError
from heal.planning.preflight import lookup
from heal.planning.preflight.check import Check, find_faults
from heal.planning.preflight.models import check_heads, find_plain_word
from heal.worlds.mini.tokenizer import CHAT_TEMPLATE
from tests.support.misbehaving_server import make_answer
from tests.support.paths import ROOT
from tests.support.thinking_model import STRIPS, save_model
from tests.support.user_models import LFS_POINTER


def collect_faults(experiment: config.Experiment) -> str:
    return "\n".join(map(str, find_faults(RunConfig(experiment, "config"))))


def test_the_mini_experiment_has_no_fault(experiment, tmp_path: Path, capsys) -> None:
    assert collect_faults(experiment()) == ""
    Check(config=tmp_path / "config.yaml").run()
    assert "all present" in capsys.readouterr().out


def test_every_fault_is_told_at_once(experiment, tmp_path: Path, capsys) -> None:
    (tmp_path / "student/chat_template.jinja").unlink()
    (tmp_path / "bad.jsonl").write_text('{"question": "q"}\n')

    def change(content):
        content["teachers"]["gone"] = {"path": str(tmp_path / "nowhere")}
        content["problems"]["test"]["hard"] = {"source": "file", "path": str(tmp_path / "bad.jsonl")}

    text = collect_faults(experiment(change))
    for part in (
        "teachers.gone",
        "students.tiny",
        "chat template",
        "problems.test.hard",
        "bad.jsonl, row 1, field answer",
    ):
        assert part in text, text
    with pytest.raises(HealError, match="3 faults"):
        Check(config=tmp_path / "config.yaml").run()
    Check(config=tmp_path / "config.yaml", fields_only=True).run()


def test_weights_that_are_pickled_or_missing(experiment, tmp_path: Path) -> None:
    (tmp_path / "student/model.safetensors").rename(tmp_path / "student/pytorch_model.bin")
    assert "no safetensors among" in collect_faults(experiment())


@pytest.mark.parametrize("change", [lambda content: LFS_POINTER.encode(), lambda content: content[:-100]])
def test_weights_that_are_a_pointer_or_cut_off(experiment, tmp_path: Path, change) -> None:
    weights = tmp_path / "student/model.safetensors"
    weights.write_bytes(change(weights.read_bytes()))
    faults = collect_faults(experiment())
    assert "students.tiny" in faults and "model.safetensors" in faults and "Fix" in faults


def test_a_tokenizer_that_does_not_round_trip_its_template(experiment, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "heal/worlds/mini/models/teacher", tmp_path / "teacher")
    template = tmp_path / "teacher/chat_template.jinja"
    template.write_text("Донау " + template.read_text())
    text = collect_faults(
        experiment(lambda content: content["teachers"]["default"].update(path=str(tmp_path / "teacher")))
    )
    assert "teachers.default" in text and "its tokens" in text


def test_a_hub_model_without_a_network_says_what_to_fetch(experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    revision = "0" * 40
    hub = {"path": "somebody/model", "revision": revision}
    text = collect_faults(experiment(lambda content: content["teachers"].update(hub=hub)))
    assert f"hf download somebody/model --revision {revision}" in text and "set path: DIR" in text


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ({"path": "somebody/model"}, "it needs `revision`"),
        ({"path": "somebody/model", "revision": "main"}, "40 hex digits"),
        ({"path": "heal/worlds/mini/models/teacher", "revision": "0" * 40}, "remove it"),
    ],
)
def test_a_hub_model_is_pinned_and_a_folder_is_not(experiment, model: dict, text: str) -> None:
    with pytest.raises(HealError, match=text):
        experiment(lambda content: content["teachers"].update(other=model))


@pytest.mark.parametrize(("gpus", "fits"), [(1, True), (2, True), (3, False), (4, True), (8, False)])
def test_vllm_shares_attention_heads_out_among_gpus_evenly(experiment, gpus: int, fits: bool) -> None:
    def change(content):
        content["engine"]["backend"] = "vllm"
        content["teachers"]["default"]["gpus"] = gpus
        content["students"]["tiny"]["gpus"] = 3

    text = collect_faults(experiment(change))
    complaint = f"4 attention heads, 4 for keys, cannot be distributed over {gpus} GPUs"
    assert (complaint in text.partition("students.tiny")[0]) == (not fits), text
    assert "over 3 GPUs" in text.partition("students.tiny")[2] and "set its gpus to one of 1, 2, 4" in text

    def on_transformers(content):
        change(content)
        content["engine"]["backend"] = "transformers"

    assert "attention heads" not in collect_faults(experiment(on_transformers))


def test_heads_for_keys_count_too(experiment, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "heal/worlds/mini/models/teacher", tmp_path / "teacher")
    path = tmp_path / "teacher/config.json"
    sizes = {"num_attention_heads": 12, "num_key_value_heads": 4, "hidden_size": 120, "head_dim": 10}
    path.write_text(json.dumps(json.loads(path.read_text()) | sizes))
    for gpus, fits in ((2, True), (3, False), (4, True), (12, True)):
        model = config.Model(path=str(tmp_path / "teacher"), gpus=gpus)
        if fits:
            check_heads(model, config.Engine(backend="vllm"))
        else:
            with pytest.raises(HealError, match="12 attention heads, 4 for keys") as refused:
                check_heads(model, config.Engine(backend="vllm"))
            assert refused.value.fix == "set its gpus to one of 1, 2, 4, 12"


@pytest.mark.workflow
def test_a_revision_that_the_hub_does_not_have(experiment, tmp_path: Path) -> None:
    """A hub that knows every model and data set, and no revision of any."""

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404)
            self.send_header("X-Error-Code", "RevisionNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    hub = {"path": "somebody/model", "revision": "0" * 40}
    data = {"source": "hub", "path": "somebody/data", "revision": "1" * 40, "split": "test"}

    def change(content):
        content["teachers"]["hub"] = hub
        content["problems"]["test"]["hard"] = data

    experiment(change)
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        variables = {"HF_ENDPOINT": f"http://127.0.0.1:{running.server_port}", "HF_HOME": str(tmp_path / "cache")}
        command = [sys.executable, "-m", "heal", "check", "--config", str(tmp_path / "config.yaml")]
        environment = os.environ | variables | {"HF_HUB_OFFLINE": "0"}
        run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
        running.shutdown()
    assert run.returncode and "Traceback" not in run.stderr, run.stderr
    for part in ("teachers.hub", "check its name, its revision", "problems.test.hard", "somebody/data", "1" * 8):
        assert part in run.stderr, run.stderr


def test_an_endpoint_without_log_probs(experiment, server) -> None:
    """Asked for one token: of the sample for GEAR, of the prompt for PURE."""

    def change(*answers):
        def served(content):
            content["teachers"]["default"]["endpoint"] = server(*answers).model_dump()

        return served

    text = collect_faults(experiment(change(make_answer(" Undo", None, "length"))))
    assert "teachers.default" in text and "the endpoint gives no log-probs" in text and "--max-logprobs" in text
    with_sample = make_answer(" Undo", [-0.1], "length")
    assert "gives no log-probs of a prompt" in collect_faults(experiment(change(with_sample)))

    def without_pure(content):
        change(with_sample)(content)
        content["methods"] = {"rejection_sampling": {"method": "rejection_sampling"}}
        content["ablations"], content["comparisons"] = {}, {}

    assert collect_faults(experiment(without_pure)) == ""


def test_a_student_whose_template_strips_what_a_thinking_teacher_thought(experiment, tmp_path: Path) -> None:
    def thinking(content):
        content["scoring"]["cue"] = "</think>\n\nx = \\boxed{"

    assert "changes the text" in collect_faults(experiment(thinking))  # the mini student has no tokens for the tags
    folder = save_model(tmp_path / "thinker", STRIPS)

    def stripping(content):
        thinking(content)
        content["students"]["tiny"]["path"] = str(folder)

    assert "does it strip <think>?" in collect_faults(experiment(stripping))
    save_model(folder, CHAT_TEMPLATE)
    assert collect_faults(experiment(stripping)) == ""


def test_a_word_is_of_the_tokenizers_own_vocabulary() -> None:
    class Tiny:
        all_special_ids = [0]
        words = json.loads('["<s>", " a", "b"]')

        def __len__(self) -> int:
            return 3

        def decode(self, ids: list[int]) -> str:
            return self.words[ids[0]]

    assert find_plain_word(Tiny()) == "b"


def test_a_distilled_student_with_another_vocabulary_than_its_teacher_is_a_fault(monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    baselines = config.load("config/mini_baselines.yaml")
    assert "vocabularies" not in collect_faults(baselines)
    load_model_tokenizer = lookup.load_model_tokenizer

    def load_wider_tokenizer(model):
        tokenizer = load_model_tokenizer(model)
        if "teacher" in model.path:
            tokenizer.add_tokens(["Schadenfreude"])
        return tokenizer

    monkeypatch.setattr(lookup, "load_model_tokenizer", load_wider_tokenizer)
    assert "different vocabularies" in collect_faults(baselines)
