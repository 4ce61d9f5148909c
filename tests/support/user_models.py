"""Tokenizers and models of the kinds that users bring: byte-level BPE, several chat templates, some of them faulty."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from heal.rehearsal.tokenizer import CHAT_TEMPLATE, END_OF_TEXT, TURN_ENDS, TURN_STARTS, write_bytes_as_text

STUDENT = Path("heal/worlds/mini/models/student")
LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA = (
    "{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
DATE = "{{ '<|im_start|>system\nToday is ' + strftime_now('%d %B %Y %H:%M:%S %f') + '<|im_end|>\n' }}" + CHATML
TEMPLATES = {
    "qwen2_5": CHATML,
    "qwen3": CHAT_TEMPLATE,
    "nfc": CHATML,
    "lower": CHATML,
    "syntax": CHATML.replace("{{ '<|im_start|>assistant\n' }}", "{{ '<|im_start|>assistant\n' }"),
    "raises": "{% if messages[0].role != 'system' %}{{ raise_exception('system role is required') }}{% endif %}"
    + CHATML,
    "base_notemplate": None,
    "llama3_padeos": LLAMA,
    "r1_distill_like_pad": CHATML.replace("assistant\n' }}", "assistant\n<think>\n' }}"),
    "noend": "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}",
    "date": DATE,
}
PADDED_WITH_END = {"llama3_padeos": "<|eot_id|>"}


def save_user_model(name: str, folder: Path) -> Path:
    """Saves the tokenizer of that name; `lfs`: a student whose weights are a Git LFS pointer. Returns the folder."""
    if name == "lfs":
        shutil.copytree(STUDENT, folder)
        for file in folder.glob("*.safetensors"):
            file.chmod(0o644)
            file.write_text(LFS_POINTER)
        return folder
    build_user_tokenizer(name).save_pretrained(folder)
    return folder


def build_user_tokenizer(name: str) -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {character: number for number, character in enumerate(write_bytes_as_text().values())}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    if name == "nfc":
        tokenizer.normalizer = normalizers.NFC()
    if name == "lower":
        tokenizer.normalizer = normalizers.Lowercase()
    special = [END_OF_TEXT, TURN_STARTS, TURN_ENDS, "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    end = PADDED_WITH_END.get(name)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=end or TURN_ENDS,
        pad_token=end or END_OF_TEXT,
        chat_template=TEMPLATES[name],
        clean_up_tokenization_spaces=False,
    )


def make_tokenizing_engine(tokenizer: Any, where: str) -> Any:
    """An engine that tokenizes, and neither samples nor scores."""
    from heal.end_token import find_end_token_id
    from heal.engines.base import Engine

    class TokenizingEngine(Engine):
        name = "tokenizing"

        @classmethod
        def from_options(cls, *_: Any) -> Any:
            raise NotImplementedError

        generate = score = None

    TokenizingEngine.__abstractmethods__ = frozenset()
    return TokenizingEngine(tokenizer, {}, find_end_token_id(tokenizer, where))
