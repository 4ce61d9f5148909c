"""Cuts planned on the CPU: those that a plain reading of every trace gives, in a file from which repairs are made."""

import json

import numpy as np
import pytest

from heal import records
from heal.command import parse_command
from heal.method.detectors import make_detector
from heal.method.detectors.base import WrongTrace
from heal.method.entropy import aggregate_steps, compute_surges
from heal.method.gear import select_sources
from heal.method.steps import split
from heal.pipeline.grade import grade_samples
from heal.pipeline.plan_cuts import PlanCuts
from heal.pipeline.repair import Repairer
from tests.support.mini_teacher import GEAR, SAMPLING, SEED
from tests.support.paths import ROOT

TEACHER = ROOT / "heal/worlds/mini/models/teacher"


@pytest.fixture(scope="module")
def folder(problems, samples, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cuts")
    records.write(folder / "problems.parquet", "problems", problems)
    records.write(folder / "samples.parquet", "samples", samples)
    records.write(folder / "grades.parquet", "grades", grade_samples(problems, samples))
    return folder


def plan_cuts(folder, name, **switches):
    arguments = ["--model.path", str(TEACHER), "--out", str(folder / name), "--gear.min-step-tokens", "1"]
    arguments += ["--gear.traces-per-problem", "2", "--gear.max-wrong-agreement", "1.0"]
    for field in ("problems", "samples", "grades"):
        arguments += [f"--{field}", str(folder / f"{field}.parquet")]
    for switch, value in switches.items():
        arguments += [f"--gear.{switch}", str(value)]
    parse_command(PlanCuts, "plan-cuts", arguments).run()
    return records.read(folder / name, "cuts")


def find_breakpoints_plainly(engine, problems, samples, grades, gear):
    """Breakpoints with every token of every trace decoded by itself, and all steps of the correct traces."""
    correct, chosen = select_sources(problems, samples, grades, gear)

    def split_plainly(row):
        decode = engine.tokenizer.decode
        return split([decode([token], skip_special_tokens=True) for token in map(int, row["token_ids"])], 1)

    firsts = [aggregate_steps(row["entropies"], split_plainly(row), gear.statistic)[0] for row in correct]
    baseline = float(np.mean(firsts)) if firsts else 0.0
    traces = []
    for problem, row in chosen:
        entropies_K = aggregate_steps(row["entropies"], split_plainly(row), gear.statistic)
        surges_K = compute_surges(entropies_K, baseline)
        traces.append(WrongTrace(row, problem["question"], split_plainly(row), entropies_K, surges_K))
    return make_detector(gear.detector).find(traces, gear, 0), traces


@pytest.mark.parametrize("detector", ["entropy_surge", "surprisal", "confidence_window", "position_matched"])
@pytest.mark.parametrize("statistic", ["mean", "top20"])
def test_planned_breakpoints_are_those_of_a_plain_reading(engine, problems, samples, folder, detector, statistic):
    rows = plan_cuts(folder, f"{detector}.{statistic}.parquet", detector=detector, statistic=statistic)
    gear = GEAR.model_copy(update={"detector": detector, "statistic": statistic})
    breakpoints, traces = find_breakpoints_plainly(engine, problems, samples, grade_samples(problems, samples), gear)
    assert [row["breakpoint"] for row in rows] == breakpoints and any(breakpoints)
    for row, trace in zip(rows, traces, strict=True):
        assert row["source_id"] == trace.row["trace_id"] and row["detector"] == detector
        assert row["step_entropies"] == pytest.approx(trace.step_entropies_K)
        kept = sum(step.end - step.start for step in trace.steps[: row["kept_steps"]])
        assert list(row["kept_ids"]) == list(trace.row["token_ids"][:kept])


def test_repairs_from_the_file_are_those_from_memory(engine, problems, folder, cuts):
    planned = plan_cuts(folder, "cuts.parquet")
    repairer = Repairer(engine, {problem["problem_id"]: problem for problem in problems}, GEAR, SAMPLING, SEED)
    from_file, from_memory = repairer.repair_batch([planned])[0], repairer.repair_batch([cuts])[0]
    assert [row["trace_id"] for row in from_file] == [row["trace_id"] for row in from_memory]
    assert [row["text"] for row in from_file] == [row["text"] for row in from_memory]
    provenance = json.loads((folder / "cuts.parquet.provenance.json").read_text())
    untried = sum(row["breakpoint"] is None for row in planned)
    assert provenance["cuts"] == {"planned": len(planned), "no_breakpoint": untried}
    assert provenance["command"] == "plan-cuts" and provenance["gpu_seconds"] == 0
