"""The tables of docs/baseline-api.md: what a baseline sees, from its classes, the trace files and their schemas."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa

from heal import trace_files
from heal.method import base
from heal.method.base import Example, Traces
from heal.schemas import SCHEMAS
from heal.trace_files import TRACE_FILES, TraceFile
from tools.docs.markdown import build_table

HELPERS = (base.build_examples, base.take_distinct, base.group_by_problem, base.compute_pass_rates)
TYPES = {
    pa.string(): "text",
    pa.int64(): "integer",
    pa.float64(): "number",
    pa.bool_(): "true or false",
    pa.list_(pa.string()): "list of texts",
    pa.list_(pa.int32()): "array of integers",
    pa.list_(pa.float32()): "array of numbers",
}
"""Type of a column → a reader's word for it."""


def build_example_table() -> str:
    """The fields of Example."""
    meanings = read_attribute_docs(Example)
    rows = []
    for name, parameter in inspect.signature(Example).parameters.items():
        default = "required" if parameter.default is parameter.empty else f"`{parameter.default!r}`"
        rows.append([f"`{name}`", f"`{parameter.annotation}`", default, meanings[name]])
    return build_table(["field", "type", "default", "meaning"], rows)


def build_traces_table() -> str:
    """The attributes and methods of Traces."""
    rows = [[f"`traces.{name}`", meaning] for name, meaning in read_attribute_docs(Traces.__init__).items()]
    for name, method in vars(Traces).items():
        if inspect.isfunction(method) and not name.startswith("_"):
            rows.append([f"`traces.{name}{format_signature(method)}`", get_text(method)])
    return build_table(["", "meaning"], rows)


def build_helpers_table() -> str:
    """The functions of heal.method.base that most baselines share."""
    rows = [[f"`{function.__name__}{format_signature(function)}`", get_text(function)] for function in HELPERS]
    return build_table(["function", "what it does"], rows)


def build_files_table() -> str:
    """Every trace file: its name in code, its path, its rows, and the files that it is made from."""
    names = {file: name for name, file in vars(trace_files).items() if isinstance(file, TraceFile)}
    rows = []
    for file in TRACE_FILES:
        parents = ", ".join(f"`{names[parent]}`" for parent in file.parents)
        schema = f"[{file.schema}](#{file.schema})"
        rows.append([f"`{names[file]}`", f"`{file.path}`", schema, file.content, file.made_by, parents])
    return build_table(["file", "path", "rows", "content", "tokens of", "made from"], rows)


def build_rows_tables() -> str:
    """The columns of the problems and of every schema that a trace file has."""
    parts = []
    for name in dict.fromkeys(["problems", *(file.schema for file in TRACE_FILES)]):
        rows = []
        for column, about in SCHEMAS[name].items():
            rows.append([f"`{column}`", TYPES[about.type], about.meaning])
        parts.append(f"### {name}\n\n{build_table(['field', 'type', 'meaning'], rows)}")
    return "\n".join(parts)


def read_attribute_docs(owner: type | Callable[..., Any]) -> dict[str, str]:
    """Attribute → the docstring below its assignment, in a class body or in a method that sets `self.…`."""
    [definition] = ast.parse(inspect.cleandoc("\n" + inspect.getsource(owner))).body
    body: list[ast.stmt] = getattr(definition, "body", [])
    documented = {}
    for statement, following in zip(body, body[1:], strict=False):
        for name in list_assigned(statement):
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                documented[name] = flatten(str(following.value.value))
    return documented


def list_assigned(statement: ast.stmt) -> Iterator[str]:
    """The names of the attributes that a statement assigns."""
    targets: Iterable[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    for target in targets:
        if isinstance(target, ast.Name):
            yield target.id
        elif isinstance(target, ast.Attribute):
            yield target.attr


def format_signature(function: Callable[..., Any]) -> str:
    """The signature as the source has it, without `self` and default objects."""
    signature = inspect.signature(function)
    parts = []
    for parameter in signature.parameters.values():
        if parameter.name != "self":
            default = "" if parameter.default is parameter.empty else " = …"
            parts.append(f"{parameter.name}: {parameter.annotation}{default}")
    return f"({', '.join(parts)}) -> {signature.return_annotation}"


def get_text(function: Callable[..., Any]) -> str:
    return flatten(inspect.getdoc(function) or "")


def flatten(text: str) -> str:
    """A docstring on one line."""
    return " ".join(text.split())
