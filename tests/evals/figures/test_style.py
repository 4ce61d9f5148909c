"""How figures look: one look per method, colors that can be told apart, and a csv with what is plotted."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from evals.audits.checker_truth import Truth
from evals.figures import pure, style
from evals.figures.accuracy import collect_accuracy, plot_accuracy
from evals.figures.base import save_figure
from evals.figures.cost import plot_cost
from evals.figures.hours import plot_hours, sum_hours
from evals.figures.loss import LIKELIHOOD, collect_losses, plot_loss
from evals.figures.positions import SUCCESS, count_cuts, plot_positions
from evals.figures.style import plt
from heal.config import experiment as config
from tests.support.cut_repairs import PROBLEMS, make_cut_repairs
from tests.support.figures import find_points, make_cost_table
from tests.support.ledger import make_ledger
from tests.support.paths import ROOT
from tests.support.run_factory import METHODS

LOSSES = dict.fromkeys(METHODS, LIKELIHOOD)


def test_no_two_known_methods_look_alike_and_none_looks_like_an_unknown_one():
    looks = list(style.METHODS.values())
    assert len(set(looks)) == len(looks)
    for names in ([f"unknown {i}" for i in range(len(style.UNUSED_LOOKS))], ["a", "b", "heal"]):
        assigned = style.assign_looks(names)
        assert {"heal", *names} <= set(assigned) and len(set(assigned.values())) == len(assigned)
        assert assigned["heal"] == style.METHODS["heal"]
        assert assigned == style.assign_looks(reversed(names)), "the order of the methods does not matter"
    shipped: set[str] = set()
    for path in ROOT.glob("config/*.yaml"):
        experiment = config.load(path)
        shipped |= {*experiment.methods, *experiment.ablations}
    assert shipped - set(style.METHODS) == set()


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


def convert_to_lab(color: str, cone_matrix: np.ndarray) -> np.ndarray:
    rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    x, y, z = np.clip(XYZ @ np.clip(np.asarray(cone_matrix) @ linear, 0, 1) / WHITE, 1e-9, None)
    x, y, z = (np.cbrt(v) if v > 216 / 24389 else (24389 / 27 * v + 16) / 116 for v in (x, y, z))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", SEEN_BY)
def test_colors_can_be_told_apart_by_every_eye(vision):
    colors = {color for color, _ in style.METHODS.values()} | set(list_trace_colors())
    for one, other in itertools.combinations(sorted(colors), 2):
        assert np.linalg.norm(convert_to_lab(one, SEEN_BY[vision]) - convert_to_lab(other, SEEN_BY[vision])) > APART, (
            one,
            other,
        )


def list_trace_colors() -> list[str]:
    return [look[0] for look in (*pure.ORIGINS.values(), *SUCCESS.values())]


def test_methods_of_the_main_table_differ_in_gray_too():
    """Color is not all: no two of one color share a marker, and the main methods share none at all."""
    main = ["teacher", "untrained", "rejection_sampling", "rs_matched", "guided", "heal", "oracle"]
    assert len({style.METHODS[name][1] for name in main}) == len(main)
    assert len({look[1] for look in SUCCESS.values()}) == len(SUCCESS)


def test_a_method_has_its_color_in_every_figure(compared_run, monkeypatch):
    own = "#123456"
    monkeypatch.setitem(style.METHODS, "heal", (own, "o"))
    accuracy, loss = collect_accuracy(compared_run), collect_losses(compared_run, LOSSES)
    cost = make_cost_table(accuracy[accuracy["benchmark"] == "b"])
    plots = [plot_accuracy(accuracy), plot_loss(loss), plot_cost(cost, [])]
    for figure in plots:
        colors = [item.get_color() for axis in figure.axes for item in axis.get_lines()]
        colors += [color for axis in figure.axes for item in axis.collections for color in item.get_facecolor()]
        assert own in {plt.matplotlib.colors.to_hex(color) for color in colors}
        plt.close(figure)


def test_the_csv_has_what_is_plotted(compared_run, tmp_path):
    accuracy, loss = collect_accuracy(compared_run), collect_losses(compared_run, LOSSES)
    positions = count_cuts(make_cut_repairs([0, 0, 1, 2, 2, 1]), Truth(PROBLEMS))
    hours = sum_hours(make_ledger(1))
    figure_and_numbers = {
        "accuracy": (plot_accuracy(accuracy), accuracy),
        "loss": (plot_loss(loss), loss),
        "positions": (plot_positions(positions), positions),
        "hours": (plot_hours(hours), hours),
    }
    read = {}
    for name, (figure, numbers) in figure_and_numbers.items():
        save_figure(figure, tmp_path / f"{name}.svg", numbers)
        read[name] = pd.read_csv(tmp_path / f"{name}.csv")
        assert all((tmp_path / f"{name}.{suffix}").stat().st_size for suffix in ("svg", "png"))
    close = {"abs": 6e-5}  # the csv's last digit

    panels = [panel for _, panel in read["accuracy"].groupby(["teacher", "student", "benchmark"], sort=False)]
    for axis, panel in zip(figure_and_numbers["accuracy"][0].axes, panels, strict=False):
        marks = [item.get_offsets()[0][0] for item in find_points(axis) if len(item.get_offsets()) == 1]
        assert marks == pytest.approx(panel["mean"].tolist(), **close)
    methods = [panel for _, panel in read["loss"].groupby("method", sort=False)]
    for axis, panel in zip(figure_and_numbers["loss"][0].axes, methods, strict=False):
        assert [y for line in axis.get_lines() for y in line.get_ydata()] == pytest.approx(
            panel["loss"].tolist(), **close
        )
    above, below = figure_and_numbers["positions"][0].axes
    assert [bar.get_height() for bar in above.patches] == read["positions"]["traces"].tolist()
    marks = {item.get_label(): item.get_offsets()[:, 1] for item in below.collections if item.get_label()[0] != "_"}
    assert marks["accepted"].tolist() == pytest.approx(read["positions"]["accepted"].tolist(), **close)
    gpu, jobs = figure_and_numbers["hours"][0].axes
    assert [60 * bar.get_width() for bar in jobs.patches] == pytest.approx(read["hours"]["seconds"].tolist(), **close)
    assert math.isclose(sum(60 * bar.get_width() for bar in gpu.patches), read["hours"]["gpu_seconds"].sum())
