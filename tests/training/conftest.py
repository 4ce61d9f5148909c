"""A tiny random model, a curriculum, and what a whole and a killed training of it leave."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, set_seed

from heal.config.models import ModelSource
from heal.training.train import train
from heal.worlds.mini.tokenizer import build_tokenizer
from tests.support.paths import ROOT
from tests.support.tiny_training import OPTIONS, make_conversation, watch_forward_passes, write_curriculum

# The process is killed when it is about to declare its checkpoint of step 15 whole: that one must not be trusted.
KILLED = """
import json, os, signal, sys
from pathlib import Path
from heal import records
from heal.config.models import ModelSource, Train
from heal.training import train
write = records.write_json
def dying(path, content):
    if "checkpoint-15" in str(path):
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, content)
records.write_json = dying
curriculum, model, options, out = sys.argv[1:]
train.train(curriculum, ModelSource(path=model), Train(**json.loads(options)), "cumulative", 0, Path(out))
"""


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tokenizer = build_tokenizer()
    set_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes, tie_word_embeddings=True)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def curriculum(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_curriculum(tmp_path_factory.mktemp("curriculum") / "c.jsonl", [make_conversation(n) for n in range(9)])


@pytest.fixture(scope="session")
def trained(model: Path, curriculum: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[torch.Tensor]]:
    out = tmp_path_factory.mktemp("trained") / "seed0"
    with watch_forward_passes() as batches:
        train(curriculum, ModelSource(path=str(model)), OPTIONS, "cumulative", 0, out)
    return out, batches


@pytest.fixture(scope="session")
def killed(model: Path, curriculum: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a killed training leaves: checkpoint-14 whole, checkpoint-15 half-written, no output."""
    folder = tmp_path_factory.mktemp("killed")
    options = OPTIONS.model_dump_json(exclude_none=True)
    command = [
        sys.executable,
        "-c",
        KILLED,
        str(curriculum),
        str(model),
        options,
        str(folder / "seed0"),
    ]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ended.returncode == -9, ended.stderr
    (partial,) = folder.iterdir()
    assert {path.name for path in partial.glob("checkpoint-*")} == {"checkpoint-14", "checkpoint-15"}
    weights = partial / "checkpoint-15" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    return folder
