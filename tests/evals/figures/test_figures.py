"""Laws of the figures: the csv has what is drawn, a method looks the same everywhere, colours can be told apart."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection

from evals.audits.checker_truth import Truth
from evals.figures import accuracy as figures
from evals.figures import outcomes as outcome_figures
from evals.figures import rule_graph, style
from evals.figures import traces as trace_figures
from evals.figures import training as training_figures
from evals.figures.style import plt
from evals.results import Run
from heal import records
from heal.errors import HealError
from heal.worlds.mini import puzzles
from tests.support.run_factory import METHODS, problem, repair, trace, write_run, wrong_steps

# Machado, Oliveira and Fernandes 2009 (IEEE TVCG 15(6)), severity 1, on linear RGB.
SEEN_BY = {
    "all cones": np.eye(3),
    "no L cones": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no M cones": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no S cones": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
WHITE = np.array([0.95047, 1.0, 1.08883])
APART = 10  # CIE 1976 ΔE; 2.3 is just noticeable side by side

PUZZLES = puzzles.generate("hard", 6, seed=3)
PROBLEMS = [problem(puzzle) for puzzle in PUZZLES]


def lab(color: str, seen: np.ndarray) -> np.ndarray:
    rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    x, y, z = np.clip(XYZ @ np.clip(np.asarray(seen) @ linear, 0, 1) / WHITE, 1e-9, None)
    x, y, z = (np.cbrt(v) if v > 216 / 24389 else (24389 / 27 * v + 16) / 116 for v in (x, y, z))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("seen", SEEN_BY)
def test_colours_can_be_told_apart_by_every_eye(seen):
    colors = {color for color, _ in style.METHODS.values()} | {color for color, _ in training_colors()}
    for one, other in itertools.combinations(sorted(colors), 2):
        assert np.linalg.norm(lab(one, SEEN_BY[seen]) - lab(other, SEEN_BY[seen])) > APART, (one, other)


def training_colors() -> list[tuple[str, str]]:
    return [look[:2] for look in (*trace_figures.ORIGINS.values(), *trace_figures.SUCCESS.values())]


def test_methods_of_the_main_table_differ_in_grey_too():
    """Colour is not all: no two of one colour share a marker, and the main methods share none at all."""
    main = ["teacher", "untrained", "rejection_sampling", "rs_matched", "guided", "heal", "oracle"]
    assert len({style.look(name)[1] for name in main}) == len(main)
    assert len({marker for _, marker, _ in trace_figures.SUCCESS.values()}) == len(trace_figures.SUCCESS)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Two draws of three students; losses of three stages, of other length in every draw."""
    folder = write_run(tmp_path / "run", accuracy={"rs": 0.3, "heal": 0.6, "oracle": 0.9}, draws=2)
    for number, file in enumerate(sorted(folder.glob("students/**/training.json"))):
        lengths = (60, 30 + number, 2)
        stages = np.repeat((1, 2, 3), lengths)
        losses = pd.DataFrame({"step": np.arange(1, len(stages) + 1), "stage": stages, "loss": stages + number / 100})
        records.write_text(file.with_name("loss.csv"), losses.to_csv(index=False))
    return Run(folder, ["t"], ["s"], list(METHODS), ["b", "greedy"], 2, 3)


def test_losses_are_averaged_in_blocks_of_one_stage(run):
    numbers = training_figures.loss_numbers(run)
    assert (numbers["trained"] == 6).all()
    assert numbers.groupby(["method", "stage"]).size().max() <= training_figures.BLOCKS
    assert (numbers["loss"].between(numbers["stage"], numbers["stage"] + 0.2)).all()
    assert (numbers["least"] <= numbers["loss"]).all() and (numbers["loss"] <= numbers["most"]).all()
    steps = numbers[numbers["method"] == "heal"]["step"]
    assert steps.is_monotonic_increasing and len(numbers[numbers["stage"] == 3]) == 2 * len(METHODS)
    one = pd.DataFrame({"step": range(1, 11), "stage": 1, "loss": np.arange(10.0)})
    assert training_figures.in_blocks(one)["loss"].tolist() == one["loss"].tolist()  # short stages lose nothing
    next(run.folder.glob("students/**/loss.csv")).unlink()
    with pytest.raises(HealError, match="no such file"):
        training_figures.loss_numbers(run)


def ledger(gpus: float) -> pd.DataFrame:
    outputs = {
        "traces/t/draw0/shards/samples/0.parquet": "heal.pipeline.sample",
        "traces/t/draw0/samples.parquet": "heal.pipeline.merge",
        "traces/t/draw0/shards/repairs/v/0.parquet": "heal.pipeline.repair",
        "traces/t/draw0/extra/uniform.grades.parquet": "heal.pipeline.grade",
        "traces/t/draw0/shards/students/s/ranks/0.parquet": "heal.pipeline.student_pass",
        "students/t/draw0/s/heal/seed0": "heal.training.train",
        "evals/t/teacher/evaluation": "evals.run",
        "students/t/draw0/s/heal/seed0/README.md": "evals.report.model_card",
        "tables/main.csv": "evals.tables.comparison",
        "figures/roc.svg": "evals.figures.study",
    }
    rows = [[stage, output, 10.0 * (i + 1), gpus * 10 * (i + 1)] for i, (output, stage) in enumerate(outputs.items())]
    return pd.DataFrame(rows, columns=["stage", "output", "seconds", "gpu_seconds"])


def test_hours_add_up_and_what_is_made_of_results_is_left_out():
    numbers = training_figures.hours_numbers(ledger(2))
    assert numbers["part"].tolist() == ["samples", "extra", "repairs", "passes", "students", "evals"]
    assert numbers["seconds"].sum() == ledger(2)["seconds"][:7].sum() and numbers["jobs"].tolist() == [2, 1, 1, 1, 1, 1]
    shuffled = training_figures.hours_numbers(ledger(2).sample(frac=1, random_state=0))
    pd.testing.assert_frame_equal(shuffled, numbers)
    assert len(training_figures.hours_figure(numbers).axes) == 2
    assert len(training_figures.hours_figure(training_figures.hours_numbers(ledger(0))).axes) == 1
    with pytest.raises(HealError, match="no provenance"):
        training_figures.hours_numbers(ledger(0)[7:])


def repairs_at(cuts: list[int | None]) -> list[dict]:
    """One wrong trace per puzzle; two repairs of each, the first accepted and valid, the second accepted and wrong."""
    rows = []
    for row, puzzle, kept in zip(PROBLEMS, PUZZLES, cuts, strict=True):
        source = trace(row, 0, wrong_steps(puzzle, 3), [0.2] * len(wrong_steps(puzzle, 3)))
        rows += [repair(source, kept, row["solution"].split(puzzles.BLANK), index=0)]
        rows += [repair(source, kept, wrong_steps(puzzle, 2), index=1)]
    return rows


def test_positions_count_every_cut_trace_once_and_valid_is_a_part_of_accepted():
    rows = repairs_at([0, 0, 1, 2, 2, None])
    numbers = trace_figures.positions_numbers(rows, Truth(PROBLEMS))
    assert numbers["traces"].sum() == 5 and numbers["repairs"].sum() == 10
    assert numbers.iloc[0][["from_share", "to_share", "traces"]].tolist() == [0, 0, 2]
    assert (numbers["accepted"] == 1).all() and (numbers["valid"] == 0.5).all()
    assert (numbers["from_share"] <= numbers["to_share"]).all() and numbers["from_share"].is_monotonic_increasing
    pd.testing.assert_frame_equal(trace_figures.positions_numbers(rows[::-1], Truth(PROBLEMS)), numbers)
    unchecked = trace_figures.positions_numbers(rows, None)
    assert unchecked["valid"].isna().all() and (unchecked["accepted"] == numbers["accepted"]).all()
    shown = trace_figures.positions_figure(trace_figures.positions_numbers(repairs_at([None] * 6), None))
    assert not shown.axes


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
    found = {(row.needs, row.rule): row.returns for row in numbers.itertuples()}
    assert found == {
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
    graph = nx.DiGraph(pair for pair, returns in found.items() if not returns)
    at = rule_graph.places(graph)
    assert all(at[before][0] < at[after][0] for before, after in graph.edges)


def points(axis: plt.Axes) -> list[PathCollection]:
    return [item for item in axis.collections if isinstance(item, PathCollection)]


def cost_table(numbers: pd.DataFrame) -> pd.DataFrame:
    return numbers.assign(teacher_tokens=np.arange(len(numbers)) * 1000.0)


def test_a_method_without_teacher_tokens_stretches_no_axis(run):
    cost = cost_table(figures.accuracy_numbers(run).query("benchmark == 'b' and method != 'teacher'"))
    cost.loc[cost["method"] == "oracle", ["mean", "teacher_tokens"]] = [0.99, 0.0]
    figure = outcome_figures.cost_figure(cost, [])
    (axis,) = figure.axes
    assert "without teacher tokens:\noracle 0.990" in axis.get_title(loc="left")
    assert len(points(axis)) == 2 and axis.get_ylim()[1] < 0.99
    alone = cost.assign(teacher_tokens=0.0)
    assert len(points(outcome_figures.cost_figure(alone, []).axes[0])) == 3


def test_a_method_has_its_colour_in_every_figure(run, monkeypatch):
    own = "#123456"
    monkeypatch.setitem(style.METHODS, "heal", (own, "o"))
    accuracy, loss = figures.accuracy_numbers(run), training_figures.loss_numbers(run)
    cost = cost_table(accuracy[accuracy["benchmark"] == "b"])
    drawn = [figures.accuracy(accuracy), training_figures.loss_figure(loss), outcome_figures.cost_figure(cost, [])]
    for figure in drawn:
        colors = [item.get_color() for axis in figure.axes for item in axis.get_lines()]
        colors += [color for axis in figure.axes for item in axis.collections for color in item.get_facecolor()]
        assert own in {plt.matplotlib.colors.to_hex(color) for color in colors}
        plt.close(figure)


def test_what_is_drawn_is_what_the_csv_says(run, tmp_path):
    accuracy, loss = figures.accuracy_numbers(run), training_figures.loss_numbers(run)
    positions = trace_figures.positions_numbers(repairs_at([0, 0, 1, 2, 2, 1]), Truth(PROBLEMS))
    hours = training_figures.hours_numbers(ledger(1))
    made = {
        "accuracy": (figures.accuracy(accuracy), accuracy),
        "loss": (training_figures.loss_figure(loss), loss),
        "positions": (trace_figures.positions_figure(positions), positions),
        "hours": (training_figures.hours_figure(hours), hours),
    }
    read = {}
    for name, (figure, numbers) in made.items():
        style.save(figure, tmp_path / f"{name}.svg", numbers)
        read[name] = pd.read_csv(tmp_path / f"{name}.csv")
        assert all((tmp_path / f"{name}.{suffix}").stat().st_size for suffix in ("svg", "png"))
    close = {"abs": 6e-5}  # the csv's last digit

    panels = [panel for _, panel in read["accuracy"].groupby(["teacher", "student", "benchmark"], sort=False)]
    for axis, panel in zip(made["accuracy"][0].axes, panels, strict=False):
        marks = [item.get_offsets()[0][0] for item in points(axis) if len(item.get_offsets()) == 1]
        assert marks == pytest.approx(panel["mean"].tolist(), **close)
    methods = [panel for _, panel in read["loss"].groupby("method", sort=False)]
    for axis, panel in zip(made["loss"][0].axes, methods, strict=False):
        assert [y for line in axis.get_lines() for y in line.get_ydata()] == pytest.approx(
            panel["loss"].tolist(), **close
        )
    above, below = made["positions"][0].axes
    assert [bar.get_height() for bar in above.patches] == read["positions"]["traces"].tolist()
    marks = {item.get_label(): item.get_offsets()[:, 1] for item in below.collections if item.get_label()[0] != "_"}
    assert marks["accepted"].tolist() == pytest.approx(read["positions"]["accepted"].tolist(), **close)
    gpu, jobs = made["hours"][0].axes
    assert [60 * bar.get_width() for bar in jobs.patches] == pytest.approx(read["hours"]["seconds"].tolist(), **close)
    assert math.isclose(sum(60 * bar.get_width() for bar in gpu.patches), read["hours"]["gpu_seconds"].sum())


def test_ceiling_counts_every_problem():
    problems = [{"problem_id": str(i), "difficulty": "hard" if i < 3 else "easy"} for i in range(5)]
    grades = [{"problem_id": str(i), "correct": j < i} for i in range(5) for j in range(4)]
    numbers = figures.ceiling_numbers(problems, grades)
    assert numbers["problems"].sum() == 5
    assert set(zip(numbers["difficulty"], numbers["correct"], strict=True)) == {
        ("hard", 0),
        ("hard", 1),
        ("hard", 2),
        ("easy", 3),
        ("easy", 4),
    }


def test_a_method_keeps_its_look():
    assert style.look("heal") != style.look("rs_matched")
    assert style.look("heal_no_pure") == style.look("heal_no_pure")
