"""Every figure can be read in a column, with one benchmark or many: sizes, places, and marks at their values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from evals.figures import style
from evals.figures.accuracy import plot_accuracy
from evals.figures.ceiling import plot_ceiling
from evals.figures.cost import plot_cost
from evals.figures.cuts import QUANTITIES, plot_cuts
from evals.figures.differences import plot_differences
from evals.figures.exposures import plot_exposures
from evals.figures.hours import PARTS, plot_hours
from evals.figures.loss import DIVERGENCE, LIKELIHOOD, plot_loss
from evals.figures.panels import spread
from evals.figures.positions import BINS, plot_positions
from evals.figures.pure import ORIGINS, plot_pure
from evals.figures.roc import LOOKS, plot_roc
from evals.figures.trace import COLUMNS as TRACE_COLUMNS
from evals.figures.trace import plot_trace
from evals.tables.comparison_rows import PRIMARY
from heal.config import experiment as config
from tests.support.figures import find_faults, find_points
from tests.support.paths import ROOT

EXPERIMENT = config.load(ROOT / "config/config.yaml")
MAIN = ["untrained", *EXPERIMENT.methods]
EVERY = [*MAIN, *EXPERIMENT.ablations]
FEW, MANY = ["mini_hard"], ["mini_hard", "mini_hard_sampled:unsolved"]


@pytest.fixture(autouse=True)
def figure_style() -> Iterator[None]:
    with style.plt.rc_context(style.STYLE):
        yield
    style.plt.close("all")


def make_rows(methods: list[str], benchmarks: list[str], teachers: list[str]) -> pd.DataFrame:
    """Rows of accuracy, cost and exposures; all methods but the first two cost the same."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for teacher in teachers:
        for benchmark in benchmarks:
            for number, method in enumerate(methods):
                mean = rng.uniform(0.1, 0.5)
                row = {"teacher": teacher, "student": "tiny", "benchmark": benchmark, "method": method, "mean": mean}
                row |= {"ci_low": mean - 0.1, "ci_high": mean + 0.1, "seeds": f"{mean:.4f} {mean + 0.01:.4f}"}
                row |= {"teacher_cost": 1e5 * min(number, 2), "exposures_per_example": number, "supervised_tokens": 9e5}
                row |= {"rank_exposures": 0.4, "rank_supervised": np.nan, "reference": "rs_matched", "why_not": ""}
                row |= {"family": PRIMARY if not number else "main", "diff": mean - 0.3, "diff_low": mean - 0.4}
                row |= {"diff_high": mean - 0.2, "new_low": mean - 0.5, "new_high": mean - 0.1, "verdict": "higher"}
                rows.append(row)
    return pd.DataFrame(rows)


def make_losses(methods: list[str]) -> pd.DataFrame:
    """Losses of two stages; those of `on_policy` are of another kind, and a hundred times as large."""
    rows = []
    for method in methods:
        kind, scale = (DIVERGENCE, 100.0) if method == "on_policy" else (LIKELIHOOD, 1.0)
        for stage in (1, 2):
            for block in range(4):
                loss = scale / (1 + block)
                row = {"teacher": "default", "student": "tiny", "method": method, "kind": kind, "stage": stage}
                rows.append(row | {"step": 40 * stage + 9 * block, "loss": loss, "least": loss, "most": loss})
    return pd.DataFrame(rows)


def make_roc_points(invalid: int) -> pd.DataFrame:
    rows = []
    for error, count in (("fresh", 90), ("inherited", invalid)):
        for score in LOOKS:
            for rate in (0.0, 1.0) if count >= 30 else (np.nan,):
                row = {"teacher": "default", "error": error, "score": score, "invalid": count, "valid": 80}
                row |= {"auroc": 0.5, "auroc_low": 0.4, "auroc_high": 0.6}
                rows.append(row | {"false_positive_rate": rate, "true_positive_rate": rate})
    return pd.DataFrame(rows)


def make_trace_tokens(steps: int) -> pd.DataFrame:
    rows = []
    for part, first in (("trace", 0), ("kept", 0), ("continuation", 12)):
        for token in range(first, 6 * steps if part != "kept" else 12):
            entropy = 1.0 + token % 5
            rows.append([part, token, token // 6 + 1, f"word_{token} of step with $money$ ", entropy])
    return pd.DataFrame(rows, columns=TRACE_COLUMNS)


REPAIR = {"accepted": False, "reason": "wrong", "hint": "Hint: the answer is 7. " * 9, "breakpoint": 3, "kept_steps": 2}


def make_positions() -> pd.DataFrame:
    shares = np.arange(BINS) / BINS
    columns = {"from_share": shares, "to_share": shares + 1 / BINS, "traces": 100 + np.arange(BINS)}
    columns |= dict.fromkeys(["accepted", "valid"], np.full(BINS, 0.5))
    columns |= dict.fromkeys(["accepted_low", "valid_low"], np.full(BINS, 0.4))
    return pd.DataFrame(columns | dict.fromkeys(["accepted_high", "valid_high"], np.full(BINS, 0.6)))


def make_cuts(teachers: list[str]) -> pd.DataFrame:
    rows = []
    for teacher in teachers:
        for audit, quantity in QUANTITIES:
            for variant in ("default", *EXPERIMENT.gear_variants):
                row = {"teacher": teacher, "variant": variant, "method": f"heal_{variant}", "audit": audit}
                rows.append(row | {"quantity": quantity, "value": 0.5, "low": 0.4, "high": 0.6})
    rows[0] |= {"value": np.nan}
    return pd.DataFrame(rows)


def build_figures() -> Iterator[tuple[str, Figure]]:
    """Every kind of figure, with as little and as much as a run of the shipped configs has in it."""
    sizes = {"one": (MAIN, FEW, ["default"]), "many": (EVERY, MANY, ["default"])}
    for size, (methods, benchmarks, teachers) in sizes.items():
        rows = make_rows(methods, benchmarks, teachers)
        trained = rows[rows["method"] != "untrained"]
        yield f"accuracy, {size}", plot_accuracy(rows)
        yield f"differences, {size}", plot_differences(trained)
        yield f"cost, {size}", plot_cost(rows[rows["benchmark"] == benchmarks[0]], ["rejection_sampling", "rs_matched"])
        yield f"exposures, {size}", plot_exposures(trained[trained["benchmark"] == benchmarks[0]])
        yield f"loss, {size}", plot_loss(make_losses([*methods[1:], "on_policy"]))
        yield f"cuts, {size}", plot_cuts(make_cuts(teachers))
        parts = {"part": list(PARTS), "jobs": 1200, "seconds": 5e6, "gpu_seconds": 0.0 if size == "one" else 4e6}
        yield f"hours, {size}", plot_hours(pd.DataFrame(parts))
        yield f"roc, {size}", plot_roc(make_roc_points(12 if size == "one" else 40))
        yield f"trace, {size}", plot_trace(make_trace_tokens(3 if size == "one" else 40), REPAIR)
        counts = {"samples": 8, "correct": range(9), "problems": 700, "difficulty": "easy"}
        if size == "many":
            counts |= {"difficulty": [f"level {number}" for number in range(9)]}
        yield f"ceiling, {size}", plot_ceiling(pd.DataFrame(counts))
    yield "positions", plot_positions(make_positions())
    anomalies = {"trace_id": "1", "error": list(ORIGINS), "anomaly": np.arange(4.0), "kept": [True, True, True, False]}
    yield "pure", plot_pure(pd.DataFrame(anomalies), 0.2)
    yield "message", style.plot_message("A long sentence that says why there is nothing to be seen in it. " * 3)


def test_every_figure_can_be_read_in_a_column():
    """No text under 6 points in a column, none outside the page, none over another."""
    faults = {}
    for name, figure in build_figures():
        faults[name] = find_faults(figure)
        style.plt.close(figure)
    assert len(faults) > 20 and {name: found for name, found in faults.items() if found} == {}


@pytest.mark.parametrize("methods", [MAIN, EVERY], ids=["main", "every"])
def test_every_mark_is_at_its_true_place(methods):
    rows = make_rows(methods, FEW, ["default"])
    for figure, column in ((plot_cost(rows, []), "teacher_cost"), (plot_exposures(rows), "exposures_per_example")):
        figure.draw_without_rendering()
        axis = figure.axes[0]
        shown = rows[rows["teacher_cost"] > 0] if column == "teacher_cost" else rows
        marks = []
        for item in find_points(axis):
            [[x, y]] = axis.transData.inverted().transform(item.get_offset_transform().transform(item.get_offsets()))
            marks.append((x, y))
        np.testing.assert_allclose(sorted(marks), sorted(zip(shown[column], shown["mean"], strict=True)), atol=1e-9)


def test_numbers_keep_their_order_and_distance_and_stay_in_the_panel():
    y = np.array([0.5, 0.1, 0.12, 0.11, 0.9, 0.9])
    places = spread(y, 0.1, 0.0, 1.0)
    assert (np.diff(places[np.argsort(y, kind="stable")]) > 0.1 - 1e-9).all()
    assert places.min() >= 0 and places.max() <= 1 and places[0] == 0.5


def test_losses_of_two_kinds_share_no_axis():
    figure = plot_loss(make_losses(["heal", "rs_matched", "on_policy"]))
    axes = {axis.get_title(loc="left"): axis for axis in figure.axes if axis.get_visible()}
    assert axes["heal"].get_ylim() == axes["rs_matched"].get_ylim()
    assert axes["heal"].get_ylim()[1] < 2 < 100 < axes["on_policy"].get_ylim()[1]
    assert "likelihood" in axes["heal"].get_ylabel() and "divergence" in axes["on_policy"].get_ylabel()
    rows = [axis.get_subplotspec().rowspan.start for axis in axes.values()]
    assert rows == [0, 0, 1], "each kind has rows of its own"
