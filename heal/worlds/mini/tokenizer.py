"""The mini world's tokenizer: one token per word, number and blank line; exact both ways.

Words keep their leading space and the decoder joins without adding any, so text → ids → text returns the same text.
`build_tokenizer().save_pretrained(FOLDER)` writes tokenizer.json, its config and the chat template.
"""

import re

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from heal.worlds.mini.puzzles import HINT, MODULUS, OPENERS, SHIFTS, TABLES, Op, Puzzle, format_answer, format_step
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


def split_pieces(text: str) -> list[str]:
    """The words of a text as the tokenizer cuts them."""
    return re.findall(PIECE, text)


def build_vocabulary() -> dict[str, int]:
    """Every piece that a text of the world can contain → its id, specials first."""
    operations: list[Op] = [*SHIFTS, *(("table", table) for table in TABLES)]
    words = set(split_pieces(f"{Puzzle(tuple(operations), 0, 0).question} {HINT}\n\n{HINT}{format_answer(0)}"))
    for opener in OPENERS + LOUD_OPENERS:
        for operation in operations:
            words.update(split_pieces(format_step(operation, 0, 0, opener)))
    for jump in JUMPS:
        words.update(split_pieces(jump.format(answer=0)))
    numbers = set()
    for number in range(MODULUS + 1):
        numbers |= {f"{number}", f" {number}"}
    ordered = [PAD, USER, ASSISTANT, END, UNKNOWN, "}", *sorted(words - numbers - {"{", "}"}), *sorted(numbers)]
    return {piece: index for index, piece in enumerate(ordered)}


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer with its chat template; `<|end|>` ends a text and is not the padding token."""
    core = Tokenizer(models.WordLevel(build_vocabulary(), unk_token=UNKNOWN))
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
