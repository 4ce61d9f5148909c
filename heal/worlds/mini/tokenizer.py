"""The mini world's tokenizer: one token per word, number and blank line; exact both ways.

Words keep their leading space and the decoder joins without adding any, so text -> ids -> text returns the same text.
Reads nothing; `build_tokenizer().save_pretrained(DIR)` writes tokenizer.json, its config and the chat template.
"""

import re

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from heal.worlds.mini.puzzles import HINT, MAX_SHIFT, MODULUS, OPENERS, TABLES, Puzzle, answer_text, step_text
from heal.worlds.mini.teacher_text import JUMPS, LOUD_OPENERS

PAD, USER, ASSISTANT, END, UNKNOWN = "<|pad|>", "<|user|>", "<|assistant|>", "<|end|>", "<|unk|>"
PIECE = r"\n\n| ?\\boxed\{| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]|\s"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{{ '<|assistant|>' }}{% generation %}{{ message['content'] }}{{ '<|end|>' }}{% endgeneration %}"
    "{% else %}{{ '<|user|>' }}{{ message['content'] }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def pieces(text: str) -> list[str]:
    """The words of a text as the tokenizer cuts them."""
    return re.findall(PIECE, text)


def vocabulary() -> dict[str, int]:
    """Every piece that a text of the world can hold, specials first."""
    ops = [(kind, a) for kind in ("add", "subtract") for a in range(1, MAX_SHIFT + 1)] + [("table", t) for t in TABLES]
    texts = [f"{Puzzle(tuple(ops), 0, 0).question} {HINT}\n\n{HINT}", answer_text(0)]
    texts += [step_text(op, 0, 0, opener) for op in ops for opener in OPENERS + LOUD_OPENERS]
    texts += [jump.format(answer=0) for jump in JUMPS]
    words = {piece for text in texts for piece in pieces(text)} - {"{", "}"}
    numbers = {f"{space}{n}" for n in range(MODULUS + 1) for space in ("", " ")}
    ordered = [PAD, USER, ASSISTANT, END, UNKNOWN, "}", *sorted(words - numbers), *sorted(numbers)]
    return {piece: index for index, piece in enumerate(ordered)}


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer with its chat template; `<|end|>` ends a text and differs from the padding token."""
    core = Tokenizer(models.WordLevel(vocabulary(), unk_token=UNKNOWN))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(PIECE), "isolated")
    core.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        additional_special_tokens=[USER, ASSISTANT],
        clean_up_tokenization_spaces=False,
        padding_side="left",
        model_max_length=512,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
