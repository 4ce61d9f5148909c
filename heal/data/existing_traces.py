"""Read a file of existing traces, in the shapes that people have: own columns, chats, published data sets.

    trace (text) or traces (list of texts)                            own files
    messages, or conversations                                        chats; OpenThoughts
    deepseek_thinking_trajectory and deepseek_attempt, …              s1K-1.1, s1K
    solution                                                          LIMO

The column with the question is question or problem, or it is the user's turn of the chat. A thinking in a column of its
own, or between OpenThoughts' markers, becomes a <think> block. For any other shape, name the columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from heal.config.models import TraceColumns
from heal.data.gold_answers import restore_commands
from heal.data.read_rows import read_rows
from heal.data.rows import QUESTION_COLUMNS, find_turn
from heal.errors import HealError
from heal.method.steps import THINKING_ENDS, THINKING_STARTS
from heal.records import Row
from heal.worlds.base import add_instruction

KNOWN_COLUMNS = (
    TraceColumns(trace="traces"),
    TraceColumns(trace="trace"),
    TraceColumns(trace="messages"),
    TraceColumns(trace="conversations"),
    TraceColumns(thinking="deepseek_thinking_trajectory", trace="deepseek_attempt"),
    TraceColumns(thinking="thinking_trajectories", trace="attempt"),
    TraceColumns(trace="solution"),
)
"""Columns with traces where none are named; the first that a row has."""
MARKERS = {
    "<|begin_of_thought|>": "<think>",
    "<|end_of_thought|>": "</think>",
    "<|begin_of_solution|>": "",
    "<|end_of_solution|>": "",
}
"""OpenThoughts' markers → what stands in a trace."""


def read_traces(path: str | Path, instruction: str = "", columns: TraceColumns | None = None) -> dict[str, list[str]]:
    """Question, with the run's instruction → its traces, in the file's order. Raises HealError naming row and field."""
    columns = columns or TraceColumns()
    traces_by_question: dict[str, list[str]] = {}
    for number, row in enumerate(read_rows(path), 1):
        where = f"{path}, row {number}"
        question = read_question(row, columns)
        if question is None:
            raise make_column_error(
                "question", [columns.question] if columns.question else QUESTION_COLUMNS, row, where
            )
        traces = read_row_traces(row, columns)
        if not traces:
            raise make_column_error("traces", list_trace_columns(columns), row, where)
        traces_by_question.setdefault(add_instruction(question, instruction), []).extend(traces)
    if not traces_by_question:
        raise HealError("no rows", where=str(path), fix="give a file with at least one problem and its traces")
    return traces_by_question


def read_question(row: Row, columns: TraceColumns) -> str | None:
    """The row's question; None where there is none."""
    for name in [columns.question] if columns.question else QUESTION_COLUMNS:
        question = find_turn(row.get(name), "user")
        if is_text(question):
            return restore_commands(str(question), prose=True).strip()
    return None


def read_row_traces(row: Row, columns: TraceColumns) -> list[str]:
    """The row's traces; none where one of them is no text."""
    for known in [columns] if columns.trace else KNOWN_COLUMNS:
        value = row.get(known.trace or "")
        if value is None or (known.thinking and row.get(known.thinking) is None):
            continue
        traces = list_texts(find_turn(value, "assistant"))
        if known.thinking is None:
            return [replace_markers(trace) for trace in traces]
        thinkings = list_texts(row[known.thinking])
        if len(thinkings) != len(traces):
            return []
        return [join_thinking(thinking, trace) for thinking, trace in zip(thinkings, traces, strict=True)]
    return []


def list_trace_columns(columns: TraceColumns) -> list[str]:
    names = []
    for known in [columns] if columns.trace else KNOWN_COLUMNS:
        names.append(" with ".join(name for name in (known.trace, known.thinking) if name))
    return names


def replace_markers(trace: str) -> str:
    """The trace with a <think> block in place of OpenThoughts' markers."""
    if "<|begin_of_thought|>" not in trace:
        return trace
    for marker, text in MARKERS.items():
        trace = trace.replace(marker, text)
    thinking, _, answer = trace.partition("</think>")
    return join_thinking(thinking.replace("<think>", "", 1), answer)


def join_thinking(thinking: str, answer: str) -> str:
    """One trace of a thinking and the answer after it."""
    if thinking.lstrip().startswith(THINKING_STARTS.strip()):
        return f"{thinking}{answer}"
    return f"{THINKING_STARTS}{thinking.strip()}\n{THINKING_ENDS}\n\n{answer.strip()}"


def list_texts(value: object) -> list[str]:
    """A text, or a list of texts, as a list; empty where one of them is no text or blank."""
    values = value if isinstance(value, list) else [value]
    return [str(one) for one in values] if all(map(is_text, values)) else []


def make_column_error(field: str, accepted: Sequence[str], row: Row, where: str) -> HealError:
    """The error of a row without a usable question or traces; names the accepted columns and those of the row."""
    fix = f"give non-empty texts in {', '.join(accepted)} (found: {', '.join(map(str, row)) or 'none'}); or name the "
    fix += "columns: `heal import FILE --columns.question … --columns.trace …`, in a config `trace_columns`"
    return HealError(f"no usable {field}", where=f"{where}, field {field}", fix=fix)


def is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
