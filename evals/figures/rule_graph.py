"""The workflow's rules and what each needs, as a figure.

Asks `snakemake --dag`, which runs nothing; writes --out (svg), the same as png, and the arrows as csv.

    python -m evals.figures.rule_graph --configfiles config/config.yaml --out figures/rulegraph.svg
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.path import Path

from evals.figures import style
from evals.figures.style import plt
from heal.command import command_parser
from heal.errors import HealError, exit_with_errors
from heal.provenance import recorded

SWEEPS = 12  # of the ordering within columns
COLUMN, ROW = 1.3, 0.3  # inches
HALF_WIDTH, HALF_HEIGHT = 0.41, 0.32  # of a box, in columns and rows
GLUE = {"merge", "all", "page"}  # joins the parts of a file; is a list of targets; shows all the others


def job_graph(configfiles: Sequence[str]) -> str:
    """Snakemake's graph of jobs as dot. Raises HealError where it cannot say."""
    program = [sys.executable, "-m", "snakemake", "--dag", "--forceall", "--nolock", "--configfile", *configfiles]
    run = subprocess.run(program, capture_output=True, text=True)
    if run.returncode:
        raise HealError(f"no graph:\n{run.stderr[-1000:]}", where="snakemake --dag", fix="see the message")
    return run.stdout


def arrows(dot: str) -> pd.DataFrame:
    """One row per arrow: a rule, and a rule whose output it needs, directly or through GLUE.

    returns: the arrow closes a circle, where a rule has a job before and one after; no file is in a circle.
    """
    rule = dict(re.findall(r'^\s*(\d+)\[label = "(\w+)', dot, re.MULTILINE))
    jobs = nx.DiGraph(re.findall(r"^\s*(\d+) -> (\d+)", dot, re.MULTILINE))
    for job in [job for job in jobs if rule[job] in GLUE]:
        jobs.add_edges_from((a, b) for a in list(jobs.predecessors(job)) for b in list(jobs.successors(job)))
        jobs.remove_node(job)
    every = sorted({(rule[before], rule[after]) for before, after in jobs.edges})
    graph = nx.DiGraph(every)
    starts = sorted(node for node, before in graph.in_degree() if not before)
    while not nx.is_directed_acyclic_graph(graph):
        graph.remove_edge(*nx.find_cycle(graph, starts)[-1][:2])
    rows = [[after, before, not graph.has_edge(before, after)] for before, after in every]
    return pd.DataFrame(rows, columns=["rule", "needs", "returns"]).sort_values(["rule", "needs"])


def places(graph: nx.DiGraph) -> dict[str, tuple[int, float]]:
    """Column and height of each rule: right of all that it needs, results in the last column, near to what it needs."""
    column = {name: x for x, names in enumerate(nx.topological_generations(graph)) for name in names}
    last = max(column.values())
    column |= {name: last for name in graph if not graph.out_degree(name)}
    columns = [sorted(name for name in graph if column[name] == x) for x in range(last + 1)]
    height = {name: y - (len(names) - 1) / 2 for names in columns for y, name in enumerate(names)}
    for _ in range(SWEEPS):
        for names in columns:
            around = {n: [height[m] for m in (*graph.predecessors(n), *graph.successors(n))] for n in names}
            names.sort(key=lambda name: float(np.mean(around[name] or [0.0])))  # noqa: B023
            step = 1.0 if len(names) > 8 else 3.0
            height |= {name: step * (y - (len(names) - 1) / 2) for y, name in enumerate(names)}
    return {name: (column[name], height[name]) for name in graph}


def figure_of(numbers: pd.DataFrame) -> plt.Figure:
    """Columns from left to right; an arrow that follows from others is left out, one that closes a circle is dashed."""
    reduced = nx.transitive_reduction(
        nx.DiGraph((row.needs, row.rule) for row in numbers.itertuples() if not row.returns)
    )
    drawn = nx.DiGraph(sorted(reduced.edges))  # the reduction goes through sets: its order is that of a run's hashes
    at = places(drawn)
    wide, high = (1 + max(column for column, _ in at.values())), max(abs(y) for _, y in at.values())
    figure, axis = plt.subplots(figsize=(COLUMN * wide, ROW * (2 * high + 2)), layout="none")
    axis.set_position((0, 0, 1, 1))
    axis.set_xlim(-0.5, wide - 0.5)
    axis.set_ylim(high + 1, -high - 1)
    axis.axis("off")
    back = [(row.needs, row.rule) for row in numbers.itertuples() if row.returns]
    for before, after in [*drawn.edges, *back]:
        (x, y), (to_x, to_y), returns = at[before], at[after], (before, after) in back
        side = -1 if returns else 1
        start, end = x + side * HALF_WIDTH, to_x - side * HALF_WIDTH
        bend = side * 0.5 * max(abs(end - start), 0.4)
        path = Path([(start, y), (start + bend, y), (end - bend, to_y), (end, to_y)], [Path.MOVETO, *[Path.CURVE4] * 3])
        look = (style.ORANGE, "--") if returns else (style.GREY if drawn.out_degree(after) else "#A6A6A6", "-")
        shape: dict[str, Any] = {
            "arrowstyle": "-|>",
            "mutation_scale": 7,
            "linewidth": 0.9,
            "shrinkA": 0,
            "shrinkB": 0,
            "zorder": 1,
        }
        axis.add_patch(FancyArrowPatch(path=path, color=look[0], linestyle=look[1], **shape))
    for name, (x, y) in at.items():
        edge = style.BLUE if drawn.out_degree(name) else style.GREY
        corner, size = (x - HALF_WIDTH, y - HALF_HEIGHT), (2 * HALF_WIDTH, 2 * HALF_HEIGHT)
        axis.add_patch(Rectangle(corner, *size, facecolor="white", edgecolor=edge, linewidth=1.1, zorder=2))
        axis.text(x, y, name, ha="center", va="center", size=7, zorder=3)
    return figure


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--configfiles", nargs="+", default=["config/config.yaml"], help="as for snakemake")
    parser.add_argument("--out", required=True, help="the svg; png and csv are written beside it")
    given = parser.parse_args()
    with recorded(given.out, "evals.figures.rule_graph", options=vars(given)), plt.rc_context(style.STYLE):
        numbers = arrows(job_graph(given.configfiles))
        style.save(figure_of(numbers), given.out, numbers)


if __name__ == "__main__":
    exit_with_errors(main)
