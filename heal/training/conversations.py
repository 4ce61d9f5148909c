"""Training conversations → token ids and loss labels, checked so that no mask is silently wrong.

Reads curriculum.jsonl (one conversation per row). The loss covers the assistant's last message and its EOS only. A
row's `prefix`, where it has one, is the beginning of that message: the model continues it, but does not learn it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from heal import records
from heal.end_token import NO_OPTIONS
from heal.errors import HealError
from heal.method.steps import THINKING_STARTS
from heal.records import Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NOT_SUPERVISED = -100
"""The label that the loss ignores."""
MAX_UNREADABLE_SHARE = 0.05
"""Maximum share of skipped conversations, per reason; above it counts as the wrong tokenizer or template."""


class Example(NamedTuple):
    """One conversation in tokens."""

    ids: list[int]
    labels: list[int]
    """NOT_SUPERVISED on the prompt, the token itself elsewhere."""


class Skipped(NamedTuple):
    """A conversation that is not trained on."""

    reason: Literal["unreadable", "template_altered"]
    """`unreadable`: the tokenizer cannot represent its text. `template_altered`: the chat template changes it."""
    problem: str


SKIP_FIXES: Mapping[str, str] = MappingProxyType(
    {
        "unreadable": "look for words that the tokenizer does not know, or use another student",
        "template_altered": "use a chat template made for training",
    }
)


def read_curriculum(path: str | Path) -> list[Row]:
    """The training conversations. Raises HealError naming row and field where one cannot be trained on."""
    rows = records.read_jsonl(path)
    if not rows:
        fix = "look at the log of build-curriculum: the method selected no trace"
        raise HealError("no training conversation", where=str(path), fix=fix)
    for number, row in enumerate(rows, 1):
        problem = find_row_problem(row)
        if problem:
            raise HealError(problem, where=f"{path}, row {number}", fix="fix the row, or build the curriculum again")
    if not any(row.get("weight", 1.0) for row in rows):
        raise HealError("every weight is 0", where=str(path), fix="give at least one row a weight above 0")
    return rows


def find_row_problem(row: Row) -> str | None:
    """What is wrong with a curriculum row, field first; None for a correct row."""
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
    return find_messages_problem(row["messages"]) or find_prefix_problem(row)


def find_messages_problem(messages: Any) -> str | None:
    """What is wrong with the messages of a row; None for correct ones."""
    if not isinstance(messages, list) or len(messages) < 2:
        return "messages: expected a user's and an assistant's message"
    for message in messages:
        if not isinstance(message, dict) or not all(isinstance(message.get(key), str) for key in ("role", "content")):
            return f"messages: expected role and content as text, found {message!r:.60}"
    if messages[-1]["role"] != "assistant" or all(message["role"] != "user" for message in messages):
        roles = ", ".join(message["role"] for message in messages)
        return f"messages: expected the role user, and assistant as the last, found the roles {roles}"
    if not messages[-1]["content"].strip():
        return "messages: the assistant's message is empty"
    return None


def find_prefix_problem(row: Row) -> str | None:
    """What is wrong with the prefix of a row; None for a correct one."""
    answer, prefix = row["messages"][-1]["content"], row.get("prefix", "")
    if not isinstance(prefix, str) or not answer.startswith(prefix) or not answer[len(prefix) :].strip():
        return f"prefix: expected the beginning of the assistant's message, but not all of it, found {prefix!r:.60}"
    return None


def encode(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], where: str, template: Mapping[str, Any] = NO_OPTIONS
) -> list[Example | Skipped]:
    """Conversations → token ids and labels; supervised are the assistant's tokens after the prefix, up to EOS.

    Prompt, prefix and completion are tokenized separately, as they are when the model generates. What the template
    writes after EOS (a newline) is not trained on. A conversation that the tokenizer cannot represent (a slip of a
    teacher with another vocabulary) or that the template alters (a stray `</think>`) is skipped. Raises HealError that
    names the example where a mask would be silently wrong, and where more than MAX_UNREADABLE_SHARE are skipped.
    """
    render = partial(tokenizer.apply_chat_template, tokenize=False, **template)
    prompts, prefixes, completions, texts = [], [], [], []
    altered: dict[int, str] = {}
    for number, row in enumerate(rows):
        prompt, text = render(row["messages"][:-1], add_generation_prompt=True), render(row["messages"])
        problem = find_rendering_problem(row, prompt, text)
        if problem:
            altered[number] = problem
        prefix = row.get("prefix", "")
        prompts.append(prompt)
        prefixes.append(prefix)
        completions.append(text[len(prompt + prefix) :])
        texts.append(text)
    tokenize = partial(tokenizer, add_special_tokens=False)
    tokens = [tokenize(parts)["input_ids"] for parts in (prompts, prefixes, completions)]
    examples: list[Example | Skipped] = []
    for number, (text, prompt_ids, prefix_ids, completion_ids) in enumerate(zip(texts, *tokens, strict=True)):
        if number in altered:
            examples.append(Skipped("template_altered", altered[number]))
            continue
        example = build_example(tokenizer, text, prompt_ids + prefix_ids, completion_ids)
        if example is None:
            examples.append(Skipped("unreadable", "tokenizing and decoding changes the text"))
            continue
        check_mask(example, tokenizer.eos_token_id, f"{where}, example {rows[number]['id']}")
        examples.append(example)
    check_skipped(rows, examples, where)
    return examples


def check_skipped(rows: Sequence[Row], examples: Sequence[Example | Skipped], where: str) -> None:
    """Raises HealError where too many conversations are skipped for one reason, or the only one is."""
    for reason, fix in SKIP_FIXES.items():
        skipped = []
        for row, example in zip(rows, examples, strict=True):
            if isinstance(example, Skipped) and example.reason == reason:
                skipped.append((row["id"], example.problem))
        if skipped and (len(rows) == 1 or len(skipped) > 1 + MAX_UNREADABLE_SHARE * len(rows)):
            example_id, problem = skipped[0]
            if len(rows) > 1:
                problem = f"{problem} ({len(skipped)} of {len(rows)} examples)"
            raise HealError(problem, where=f"{where}, example {example_id}", fix=fix)


def build_example(
    tokenizer: PreTrainedTokenizerBase, text: str, context_ids: list[int], completion_ids: list[int]
) -> Example | None:
    """The example, cut after its last EOS; None where the tokens do not decode to the text."""
    if tokenizer.decode(context_ids + completion_ids, clean_up_tokenization_spaces=False) != text:
        return None
    if tokenizer.eos_token_id in completion_ids:
        after_eos = completion_ids[::-1].index(tokenizer.eos_token_id)
        completion_ids = completion_ids[: len(completion_ids) - after_eos]
    return Example(context_ids + completion_ids, [NOT_SUPERVISED] * len(context_ids) + completion_ids)


def find_rendering_problem(row: Row, prompt: str, text: str) -> str | None:
    """What the chat template does wrong with a conversation; None for a correct rendering."""
    answer, completion = row["messages"][-1]["content"], text.removeprefix(prompt)
    if not text.startswith(prompt):
        return "the rendered prompt is no prefix of the rendered conversation"
    if not completion.startswith(row.get("prefix", "")):
        return "the rendered assistant's message does not begin with the row's prefix"
    if prompt.endswith(THINKING_STARTS):  # the block that an answer opens may be opened by the prompt
        completion = THINKING_STARTS + completion
    if " ".join(answer.split()) not in " ".join(completion.split()):
        return "the chat template changes the assistant's message (does it strip <think>?)"
    openings = sum(message["content"].count("<think>") for message in row["messages"])
    return "the chat template adds a second <think>" if text.count("<think>") > max(1, openings) else None


def check_vocabularies(teacher: PreTrainedTokenizerBase, student: PreTrainedTokenizerBase, where: str) -> None:
    """Raises HealError unless both map the same tokens to the same ids: distillation compares probabilities by id."""
    teacher_ids, student_ids = teacher.get_vocab(), student.get_vocab()
    tokens = sorted(teacher_ids.keys() | student_ids.keys())
    differing = [token for token in tokens if teacher_ids.get(token) != student_ids.get(token)]
    if differing:
        problem = f"different vocabularies: {len(differing)} tokens of teacher and student differ, as {differing[0]!r}"
        fix = "leave out the methods that distill probabilities, or choose models of one family"
        raise HealError(problem, where=where, fix=fix)


def check_mask(example: Example, eos: int, where: str) -> None:
    """Raises HealError unless some but not all tokens are supervised and the last label is EOS."""
    count = len(example.labels)
    supervised = count - example.labels.count(NOT_SUPERVISED)
    if not 0 < supervised < count:
        problem = f"{supervised} of {count} tokens are supervised: expected some, not all"
        raise HealError(problem, where=where, fix="look at what the chat template renders")
    if example.labels[-1] != eos:
        fix = "end the turn with EOS in the template"
        raise HealError("the last supervised token is not EOS", where=where, fix=fix)
