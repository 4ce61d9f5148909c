"""Training conversations → token ids and loss labels, checked so that no mask is silently wrong.

Reads curriculum.jsonl (one conversation per row). The loss is on the assistant's last message and its EOS only, without
its first part where the row says `given`: a prefix that the model is to go on from, not to learn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from heal import records
from heal.errors import HealError
from heal.method.steps import THINKING_STARTS
from heal.records import Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NOT_SUPERVISED = -100  # the label that the loss ignores
MOST_UNREADABLE = 0.05  # share of the texts that may have no tokens before the tokenizer counts as the wrong one
NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


class Example(NamedTuple):
    ids: list[int]
    labels: list[int]  # NOT_SUPERVISED on the prompt


def read_curriculum(path: str | Path) -> list[Row]:
    """The training conversations. Raises HealError naming row and field where one cannot be trained on."""
    rows = records.read_jsonl(path)
    if not rows:
        raise HealError("no training conversation", where=str(path), fix="did the method keep any trace? see its log")
    for number, row in enumerate(rows, 1):
        if problem := row_problem(row):
            raise HealError(problem, where=f"{path}, row {number}", fix="mend the row, or make the curriculum again")
    if not any(row.get("weight", 1.0) for row in rows):
        raise HealError("every weight is 0", where=str(path), fix="give at least one row a weight above 0")
    return rows


def row_problem(row: Row) -> str | None:
    """What is wrong with a curriculum row, field first; None where nothing is."""
    for field in ("id", "origin", "stage", "messages"):
        if field not in row:
            return f"{field}: missing"
    if not isinstance(row["id"], str) or not isinstance(row["origin"], str):
        return "id and origin: expected text"
    if type(row["stage"]) is not int or not 1 <= row["stage"] <= 3:
        return f"stage: expected 1, 2 or 3, found {row['stage']!r}"
    weight = row.get("weight", 1.0)
    if type(weight) not in (int, float) or not (math.isfinite(weight) and weight >= 0):
        return f"weight: expected a number of at least 0, found {weight!r}"
    messages = row["messages"]
    if not isinstance(messages, list) or len(messages) < 2:
        return "messages: expected a user's and an assistant's message"
    for message in messages:
        if not isinstance(message, dict) or not all(isinstance(message.get(key), str) for key in ("role", "content")):
            return f"messages: expected role and content as text, found {message!r:.60}"
    if messages[-1]["role"] != "assistant" or all(message["role"] != "user" for message in messages):
        return "messages: expected a user's message and the assistant's as the last"
    answer, given = messages[-1]["content"], row.get("given", "")
    if not answer.strip():
        return "messages: the assistant's message is empty"
    if not isinstance(given, str) or not answer.startswith(given) or not answer[len(given) :].strip():
        return f"given: expected the beginning of the assistant's message, but not all of it, found {given!r:.60}"
    return None


def end_of_turn(tokenizer: PreTrainedTokenizerBase, where: str, template: Mapping[str, Any] = NO_OPTIONS) -> str:
    """The token that the chat template closes an assistant's turn with; it must serve as EOS and differ from padding.

    Base models often name another EOS (<|endoftext|>) than their template writes (<|im_end|>): the template's is taken,
    since a student that never sees its own EOS never stops. Raises HealError where there is no template, no such token,
    or it is the padding token.
    """
    if not tokenizer.chat_template:
        fix = "add a chat_template.jinja to that folder, or use the instruct variant of the model"
        raise HealError("the tokenizer has no chat template", where=where, fix=fix)
    turn = [{"role": "user", "content": "1"}, {"role": "assistant", "content": "1"}]
    rendered = tokenizer.apply_chat_template(turn, tokenize=False, **template)
    ids = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    known = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special} | {tokenizer.eos_token_id}
    special = [i for i in ids if i in known]
    text_after = tokenizer.decode(ids[len(ids) - ids[::-1].index(special[-1]) :]) if special else "1"
    if text_after.strip():
        fix = "end the assistant's turn with the EOS token in chat_template.jinja"
        raise HealError("the chat template closes the assistant's turn with no special token", where=where, fix=fix)
    if tokenizer.pad_token_id is None or special[-1] == tokenizer.pad_token_id:
        found = f"the padding token ({tokenizer.pad_token}) must exist and differ from the one that ends a turn"
        raise HealError(found, where=where, fix="set pad_token in tokenizer_config.json to another special token")
    return tokenizer.convert_ids_to_tokens(special[-1])


def encode(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], where: str, template: Mapping[str, Any] = NO_OPTIONS
) -> list[Example | None]:
    """Conversations → token ids and labels, supervised from the assistant's first token that is not `given` to EOS.

    Prompt, given part and completion are tokenized apart, as they are met when the model generates. What the template
    writes after EOS (a newline) is not trained on. None: the tokenizer has no tokens for the text, as for a slip of a
    teacher with another vocabulary. Raises HealError, naming the example, where a mask would be silently wrong, and
    where so many texts have no tokens that the tokenizer is the wrong one.
    """
    render = partial(tokenizer.apply_chat_template, tokenize=False, **template)
    asked = [render(row["messages"][:-1], add_generation_prompt=True) for row in rows]
    texts = [render(row["messages"]) for row in rows]
    for row, prompt, text in zip(rows, asked, texts, strict=True):
        if found := rendering_problem(row, prompt, text):
            raise HealError(found, where=f"{where}, example {row['id']}", fix="use a chat template made for training")
    given = [row.get("given", "") for row in rows]
    completions = [text[len(prompt + part) :] for text, prompt, part in zip(texts, asked, given, strict=True)]
    asked_ids, given_ids, completion_ids = (
        tokenizer(part, add_special_tokens=False)["input_ids"] for part in (asked, given, completions)
    )
    examples: list[Example | None] = []
    for row, text, prompt, part, after in zip(rows, texts, asked_ids, given_ids, completion_ids, strict=True):
        before = prompt + part
        place = f"{where}, example {row['id']}"
        if tokenizer.decode(before + after, clean_up_tokenization_spaces=False) != text:
            examples.append(None)
            if examples.count(None) > 1 + MOST_UNREADABLE * len(rows) or len(rows) == 1:
                fix = "look for words that the tokenizer does not know, or use another student"
                raise HealError("tokenizing and decoding changes the text", where=place, fix=fix)
            continue
        if tokenizer.eos_token_id in after:
            after = after[: len(after) - after[::-1].index(tokenizer.eos_token_id)]
        example = Example(before + after, [NOT_SUPERVISED] * len(before) + after)
        check_mask(example, tokenizer.eos_token_id, place)
        examples.append(example)
    return examples


def rendering_problem(row: Row, prompt: str, text: str) -> str | None:
    """What the chat template does wrong with a conversation; None where nothing."""
    answer, completion = row["messages"][-1]["content"], text.removeprefix(prompt)
    if not text.startswith(prompt):
        return "the rendered prompt is no prefix of the rendered conversation"
    if not completion.startswith(row.get("given", "")):
        return "the assistant's message does not begin with its given part once the chat template has rendered it"
    if prompt.endswith(THINKING_STARTS):  # the block that an answer opens may be opened by the prompt
        completion = THINKING_STARTS + completion
    if " ".join(answer.split()) not in " ".join(completion.split()):
        return "the chat template changes the assistant's message (does it strip <think>?)"
    said = sum(message["content"].count("<think>") for message in row["messages"])
    return "the chat template adds a second <think>" if text.count("<think>") > max(1, said) else None


def check_vocabularies(teacher: PreTrainedTokenizerBase, student: PreTrainedTokenizerBase, where: str) -> None:
    """Raises HealError unless both have the same tokens at the same places: their probabilities are compared there."""
    theirs, own = teacher.get_vocab(), student.get_vocab()
    if differing := sorted(token for token in theirs.keys() | own.keys() if theirs.get(token) != own.get(token)):
        found = f"teacher and student have other vocabularies: {len(differing)} tokens differ, as {differing[0]!r}"
        raise HealError(found, where=where, fix="leave out the methods that distil probabilities, or choose a family")


def check_mask(example: Example, eos: int, where: str) -> None:
    """Raises HealError unless part of the tokens, not all, is supervised and the last label is EOS."""
    supervised = sum(label != NOT_SUPERVISED for label in example.labels)
    if not 0 < supervised < len(example.labels):
        found = f"{supervised} of {len(example.labels)} tokens are supervised: expected some, not all"
        raise HealError(found, where=where, fix="look at what the chat template renders")
    if example.labels[-1] != eos:
        raise HealError(
            "the last supervised token is not EOS", where=where, fix="end the turn with EOS in the template"
        )
