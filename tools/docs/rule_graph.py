"""The rule graph of the default config, as Snakemake writes it, drawn by graphviz."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from heal.errors import HealError

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs/images/rules.svg"
PAGE = """# Rules

The rules from the problems to the trained students, and what each needs, as Snakemake sees them:

![The rule graph](../images/rules.svg)

`merge_shards` joins the shards of every table of traces, so it stands behind each rule that samples or scores. Behind
`train_student` are `evaluate_student`, and the rules of tables, figures and report: `snakemake --rulegraph dot` draws
all of them, `snakemake --rulegraph dot -- ablations` those of another target.
"""


def read_rule_graph() -> str:
    """The graph of the target `students` in graphviz's language. Raises HealError where Snakemake cannot plan it."""
    command = [sys.executable, "-m", "snakemake", "--rulegraph", "dot", "--forceall", "--cores", "1", "--", "students"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    graph = re.search(r"^digraph .*", run.stdout, re.DOTALL | re.MULTILINE)
    if run.returncode or not graph:
        raise HealError(f"no rule graph: {run.stderr.strip()[-500:]}", where="Snakefile", fix="fix the workflow")
    return graph[0]


def list_rules(graph: str) -> set[str]:
    """The rules of a graph in graphviz's language."""
    return set(re.findall(r'label = "(\w+)', graph))


def list_drawn_rules() -> set[str]:
    """The rules in the committed picture."""
    return set(re.findall(r"<text [^>]*>(\w+)</text>", PICTURE.read_text(encoding="utf-8")))


def draw_rule_graph() -> None:
    """Writes the picture. Raises HealError without graphviz."""
    if shutil.which("dot") is None:
        raise HealError("no program `dot`", where="PATH", fix="install graphviz (Debian: apt-get install graphviz)")
    run = subprocess.run(["dot", "-Tsvg"], input=read_rule_graph(), capture_output=True, text=True, check=True)
    PICTURE.write_text(run.stdout, encoding="utf-8")
