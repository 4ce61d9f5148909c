"""Read a file of existing traces: rows with `question`, `answer` and `trace` (text) or `traces` (a list of texts)."""

from __future__ import annotations

from pathlib import Path

from heal import records
from heal.errors import HealError
from heal.worlds.base import add_instruction


def read_traces(path: str | Path, instruction: str = "") -> dict[str, list[str]]:
    """Question, with the run's instruction → its traces, in the file's order. Raises HealError naming row and field."""
    rows = records.open_table(path).to_pylist() if Path(path).suffix == ".parquet" else records.read_jsonl(path)
    traces_by_question: dict[str, list[str]] = {}
    for number, row in enumerate(rows, 1):
        question = row.get("question") or row.get("problem")
        if not is_text(question):
            where = f"{path}, row {number}, field question"
            raise HealError("no usable question", where=where, fix="give a non-empty text")
        traces = row.get("traces", row.get("trace"))
        if isinstance(traces, str):
            traces = [traces]
        if not isinstance(traces, list) or not traces or not all(map(is_text, traces)):
            fix = "give non-empty texts, or leave the row out"
            raise HealError("no usable traces", where=f"{path}, row {number}, field traces", fix=fix)
        traces_by_question.setdefault(add_instruction(question.strip(), instruction), []).extend(traces)
    if not traces_by_question:
        raise HealError("no rows", where=str(path), fix="give a file with at least one problem and its traces")
    return traces_by_question


def is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
