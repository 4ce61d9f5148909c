"""One row of a data set → one problem: its question, gold answer, worked solution and difficulty."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from heal.config.data import Columns, Dataset
from heal.data.gold_answers import extract_gold_answer, find_gold, restore_commands, write_number
from heal.errors import HealError
from heal.records import Row

QUESTION_COLUMNS = ("question", "problem", "messages", "conversations")
"""Columns with the question where `columns` is not given; the first that is not empty. Of a chat, the user's turn."""
ROLES = {"user": ("user", "human"), "assistant": ("assistant", "gpt")}
"""Role → how chats name it."""
ANSWER_COLUMNS = ("answer",)
CALCULATOR = re.compile(r"<<[^<>]*>>")  # GSM8K's annotations for a calculator
LETTERS = "ABCDEFGHIJ"


def parse_row(row: Row, dataset: Dataset, where: str, source: str, seed: int) -> Row:
    """One problem. Raises HealError with row and field for a missing question or an answer of another form."""
    columns = dataset.columns
    question = read_text(row, [columns.question] if columns else QUESTION_COLUMNS, "question", where).strip()
    content = read_text(row, [columns.answer] if columns else ANSWER_COLUMNS, "answer", where)
    try:
        if not (columns and columns.wrong_choices):
            answer = extract_gold_answer(content, dataset.answer)
        else:  # the right choice stays as it is written, as the wrong ones do
            answer = find_gold(content.strip(), dataset.answer)
            wrong = [read_text(row, [name], name, where).strip() for name in columns.wrong_choices]
            question, answer = format_choices(question, answer, wrong, seed)
    except HealError as error:
        if error.where:
            raise
        raise HealError(error.problem, where=f"{where}, field answer", fix=error.fix) from None
    return {
        "question": question,
        "answer": answer,
        "solution": read_solution(row, columns, content),
        "source": str((None if columns else row.get("source")) or source),
        "difficulty": read_difficulty(row, columns),
    }


def find_turn(value: object, role: str) -> object:
    """The text of a chat's first user's or last assistant's turn; None where it has none; any other value as it is.

    A chat is a list of role and content, or of from and value.
    """
    if not isinstance(value, list) or not value or not all(isinstance(turn, dict) for turn in value):
        return value
    texts = []
    for turn in value:
        if (turn.get("role") or turn.get("from")) in ROLES[role]:
            texts.append(turn.get("content", turn.get("value")))
    return texts[0 if role == "user" else -1] if texts else None


def read_text(row: Row, columns: Sequence[str], field: str, where: str) -> str:
    """The first non-empty of these columns, as it is written. Raises HealError where all are empty or missing."""
    value: object = None
    for name in columns:
        if row.get(name) not in (None, ""):
            value = find_turn(row[name], "user" if field == "question" else "assistant")
            break
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool | list | dict):
        fix = "give a text or a number, or name another column in `columns`"
        problem = f"expected a text or a number, found a {type(value).__name__}: {value!r:.60}"
        raise HealError(problem, where=f"{where}, field {field}", fix=fix)
    if not isinstance(value, str | int | float) or not str(value).strip():
        fix = f"give a non-empty {' or '.join(map(repr, columns))} (found: {', '.join(map(str, row))})"
        raise HealError(f"no {field}", where=f"{where}, field {field}", fix=fix)
    return write_number(value) if isinstance(value, float) else restore_commands(str(value), prose=True)


def format_choices(question: str, right: str, wrong: Sequence[str], seed: int) -> tuple[str, str]:
    """Multiple choice: the question with its choices as lines, and the letter of the right one.

    The order depends on the seed and the question alone, not on the columns' order nor on other questions.
    Raises HealError for equal choices and for more than ten.
    """
    if right in wrong or len(set(wrong)) < len(wrong) or len(wrong) >= len(LETTERS):
        problem = f"{len(wrong) + 1} choices, of which some are equal or too many"
        raise HealError(problem, fix="give each question different choices, at most ten")
    choices = sorted([right, *wrong])
    random.Random(f"choices {seed} {question}").shuffle(choices)
    lines = "\n".join(f"({letter}) {choice}" for letter, choice in zip(LETTERS, choices, strict=False))
    return f"{question}\n\n{lines}\n\nAnswer with the letter of the right choice.", LETTERS[choices.index(right)]


def read_solution(row: Row, columns: Columns | None, content: str) -> str | None:
    """The worked solution; None where there is none.

    From its own column, or from the text before GSM8K's ####, whose lines become steps split by blank lines.
    """
    column = columns.solution if columns else "solution"
    if column and row.get(column):
        return restore_commands(str(row[column]), prose=True)
    if "####" in content:
        return CALCULATOR.sub("", content.rpartition("####")[0]).strip().replace("\n", "\n\n")
    return None


def read_difficulty(row: Row, columns: Columns | None) -> str:
    """The difficulty, or `unknown`."""
    if columns and columns.difficulty:
        difficulty = row.get(columns.difficulty)
    else:
        difficulty = row.get("difficulty") or row.get("level")
    return str(difficulty or "unknown")
