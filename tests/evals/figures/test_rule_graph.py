"""The rule graph leaves glue out and marks the arrows that close a circle."""

from __future__ import annotations

import networkx as nx
import pandas as pd

from evals.figures import rule_graph

DOT = """digraph snakemake_dag {
    0[label = "all", style="rounded"];
    1[label = "base\\ndraw: 0", style="rounded"];
    2[label = "merge\\ntable: samples", style="rounded"];
    3[label = "grade", style="rounded"];
    4[label = "extra", style="rounded"];
    5[label = "merge\\ntable: extra", style="rounded"];
    6[label = "grade\\nof: extra", style="rounded"];
    7[label = "table", style="rounded"];
    1 -> 2
    2 -> 3
    3 -> 4
    4 -> 5
    5 -> 6
    6 -> 7
    3 -> 7
    7 -> 0
}"""


def test_the_rule_graph_joins_over_glue_and_marks_what_closes_a_circle():
    numbers = rule_graph.arrows(DOT)
    closes_circle = {(row.needs, row.rule): row.returns for row in numbers.itertuples()}
    assert closes_circle == {
        ("base", "grade"): False,
        ("grade", "extra"): False,
        ("extra", "grade"): True,
        ("grade", "table"): False,
    }
    lines = DOT.splitlines()
    pd.testing.assert_frame_equal(
        rule_graph.arrows("\n".join(lines[:9] + lines[9:-1][::-1])).reset_index(drop=True),
        numbers.reset_index(drop=True),
    )
    graph = nx.DiGraph(pair for pair, returns in closes_circle.items() if not returns)
    at = rule_graph.places(graph)
    assert all(at[before][0] < at[after][0] for before, after in graph.edges)
