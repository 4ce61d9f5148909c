"""The rule graph of the default config, drawn by Snakemake as a mermaid diagram."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from heal.errors import HealError

ROOT = Path(__file__).parents[2]


def build_rule_graph_page() -> str:
    """A page with the graph. Raises HealError where Snakemake cannot draw it."""
    command = [sys.executable, "-m", "snakemake", "--rulegraph", "mermaid-js", "--forceall", "--cores", "1"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    graph = re.search(r"^(---\n.*?\n---\n)?flowchart .*", run.stdout, re.DOTALL | re.MULTILINE)
    if run.returncode or not graph:
        raise HealError(f"no rule graph: {run.stderr.strip()[-500:]}", where="Snakefile", fix="fix the workflow")
    sentence = "The rules of the main comparison and what each needs, as Snakemake writes them in mermaid's notation."
    return f"# Rules\n\n{sentence}\n\n```mermaid\n{graph[0].strip()}\n```\n"
