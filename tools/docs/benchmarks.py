"""The table of docs/benchmarks.md: every benchmark of the code, by its module's docstring."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tools.docs.markdown import build_table

ROOT = Path(__file__).parents[2]
COMMAND = re.compile(r"^    (python (?:-m )?benchmarks\S+)", re.MULTILINE)
RESULT = re.compile(r"results/reference/\S+\.(?:csv|json|md)")


def build_benchmarks_table() -> str:
    """Command, first sentence, and table of each module of benchmarks/ whose docstring has a command."""
    rows = []
    for path in sorted((ROOT / "benchmarks").glob("*.py")):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        command = COMMAND.search(docstring)
        if command:
            summary = docstring.split("\n\n")[0].replace("\n", " ")
            rows.append([f"`{command[1]}`", summary, link_results(docstring)])
    return build_table(["command", "what it does", "results"], rows)


def link_results(docstring: str) -> str:
    """Links to the committed results that a docstring names, as tables to read where there are such; "" without."""
    links = []
    for named in RESULT.findall(docstring):
        path = Path(named)
        candidates = [each for each in (path.with_suffix(".md"), path) if (ROOT / each).is_file()]
        links += [f"[{candidate.stem}](../{candidate})" for candidate in candidates[:1]]
    return ", ".join(links)
