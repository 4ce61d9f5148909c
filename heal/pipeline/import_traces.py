"""Use base samples that already exist: read from a file, scored by the teacher, in place of sampling.

A file (jsonl, json, parquet, csv) of rows with a question, its gold answer and one or several traces is both the
problems and the samples; the teacher scores each trace as if it had just written it, and the pipeline continues there.
heal/data/existing_traces.py lists the columns that are known; others are named.

    heal import traces.jsonl                                            # check the file, print the config's lines
    heal import s1k.parquet --answer-column solution
    heal import chats.jsonl --columns.trace response --columns.thinking reasoning
    heal sample base --traces traces.jsonl --problems problems/train.parquet --model.path PATH --out FILE
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic_settings import CliPositionalArg

from heal.command import Command
from heal.config.data import Dataset
from heal.config.models import TraceColumns
from heal.config.options import changed_options
from heal.config.yaml_files import dump_yaml
from heal.data import load_problems
from heal.data.existing_traces import read_question, read_traces
from heal.data.read_rows import read_rows
from heal.data.rows import QUESTION_COLUMNS
from heal.end_token import list_special_ids
from heal.errors import HealError
from heal.grading.grader import Grader
from heal.pipeline.requests import RequestLog
from heal.pipeline.runner import BatchWorker
from heal.pipeline.verdict import build_trace_row
from heal.records import Row, Usage, check_unicode

if TYPE_CHECKING:
    from heal.engines.base import Engine


class ImportTraces(Command):
    file: CliPositionalArg[Path]
    """jsonl, json, parquet or csv: question, answer, and trace or traces, or the columns below."""
    columns: TraceColumns = TraceColumns()
    """Columns of question, trace and thinking, where they are not the usual ones."""
    answer_column: str = "answer"
    """Column with the gold answer, or with text that contains it."""
    answer: Literal["plain", "gsm8k", "boxed", "integer"] = "plain"
    """Form of the gold answer in its column, as in a problem set."""

    def run(self) -> None:
        traces = read_traces(self.file, columns=self.columns)
        options = self.describe_problems()
        check_problems(Dataset.model_validate(options))
        teacher: dict[str, Any] = {"path": "the model that scores and repairs them", "traces": str(self.file)}
        if changed_options(self.columns):
            teacher["trace_columns"] = changed_options(self.columns)
        print(f"{self.file}: {len(traces)} problems with {sum(map(len, traces.values()))} traces. In a config:")
        print(dump_yaml({"problems": {"train": options}, "teachers": {"name": teacher}}, width=120), end="")

    def describe_problems(self) -> dict[str, Any]:
        """The options of the file as a problem set; a question may stand once per trace."""
        rows = read_rows(self.file)
        options: dict[str, Any] = {"source": "file", "path": str(self.file)}
        if self.columns.question or self.answer_column != "answer":
            question = self.columns.question or next(name for name in QUESTION_COLUMNS if rows[0].get(name))
            options["columns"] = {"question": question, "answer": self.answer_column}
        if self.answer != "plain":
            options["answer"] = self.answer
        questions = [read_question(row, self.columns) for row in rows]
        if len(set(questions)) < len(questions):
            options["unusable"] = "leave_out"
        return options


def check_problems(dataset: Dataset) -> None:
    """Raises HealError for a row that is no problem, and for a question with two gold answers."""
    first_places: dict[str, str] = {}
    answers: dict[str, str] = {}
    with Grader() as grader:
        for candidate in load_problems.read_candidates(dataset, 0, grader, []):
            problem = candidate.problem
            if isinstance(problem, HealError):
                raise problem
            question = load_problems.normalize_question(problem["question"])
            if answers.get(question) != problem["answer"]:
                load_problems.check_candidate(candidate, first_places, grader)
                answers[question] = problem["answer"]


def encode_trace(engine: Engine, text: str, where: str) -> tuple[int, ...]:
    """The trace's tokens up to its first end token, which is added where it has none: a trace that was kept has ended.

    The header of an assistant's turn before the text is no part of the trace. Raises HealError for another control
    token in it, and where the tokens are not the text's: they may differ in Unicode's normal form only.
    """
    tokenizer = engine.tokenizer
    check_unicode(text, where)
    ids = tokenizer.encode(text, add_special_tokens=False)
    if unicodedata.normalize("NFC", decode(tokenizer, ids)) != unicodedata.normalize("NFC", text):
        fix = "give the tokenizer of the model that wrote the traces, or take out words that it does not know"
        raise HealError("tokenizing and decoding changes the trace", where=where, fix=fix)
    ends = {engine.end_token_id, tokenizer.eos_token_id}
    ids = drop_header(tokenizer, list(itertools.takewhile(lambda token: token not in ends, ids)))
    control = [token for token in ids if token in list_special_ids(tokenizer)]
    if control:
        problem = f"the control token {tokenizer.convert_ids_to_tokens(control[0])!r} inside the trace"
        raise HealError(problem, where=where, fix="remove it: a trace is one answer, without the chat template")
    return (*ids, engine.end_token_id)


def drop_header(tokenizer: Any, ids: list[int]) -> list[int]:
    """The tokens after the header of an assistant's turn, where they begin with one."""
    turn = [{"role": "user", "content": "1"}]
    prompt = tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=True, return_dict=False)
    special_ids = list_special_ids(tokenizer)
    for start in range(len(prompt)):
        header = prompt[start:]
        if header[0] in special_ids and ids[: len(header)] == header:
            return ids[len(header) :]
    return ids


def decode(tokenizer: Any, ids: Sequence[int]) -> str:
    return tokenizer.decode(ids, clean_up_tokenization_spaces=False)


def make_trace_measurer(engine: Engine, traces: Mapping[str, Sequence[str]], path: str) -> BatchWorker:
    """A function that turns the existing traces of a batch of problems into sample rows."""
    from heal.engines.base import Completion

    def measure_batch(batch: Sequence[Row]) -> tuple[list[Row], Usage]:
        log = RequestLog(engine)
        items = []
        for problem in batch:
            question = problem["question"]
            if question not in traces:
                fix = "give it traces, or take problems.train from the same file"
                raise HealError("no traces of a problem", where=f"{path}, question {question!r:.80}", fix=fix)
            prompt = engine.tokenize_chat(question)
            where = f"{path}, {question!r:.60}"
            distinct = dict.fromkeys(encode_trace(engine, text, where) for text in traces[question])
            for index, ids in enumerate(distinct):
                if log.fits(prompt, len(ids)):
                    items.append((problem, index, decode(engine.tokenizer, ids[:-1]), prompt, ids))
        requests = [(prompt, ids) for _, _, _, prompt, ids in items]
        rows = []
        for (problem, index, text, _, ids), score in zip(items, engine.score(requests), strict=True):
            token_ids = np.array(ids, np.int32)
            completion = Completion(token_ids, score.logprobs, score.entropies, "stop", score.entropies_upper)
            rows.append(build_trace_row(problem["problem_id"], "imported", index, text, completion))
        return rows, log.get_usage()

    return measure_batch
