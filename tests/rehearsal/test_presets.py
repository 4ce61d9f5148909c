"""Both GPU presets, from problems to report, with stand-ins on vLLM's CPU build."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

pytestmark = [
    pytest.mark.rehearsal,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
]
SPENDING = {"samples", "guided", "guided_scores", "repairs", "scores", "extra"}
"""Stages that ask a model and say for how many requests and tokens."""
STAGES = {"problems", "grades", "premise", "curricula", "students"} | SPENDING


@pytest.mark.parametrize("preset", ["single_gpu", "paper"])
def test_a_gpu_preset_runs_from_problems_to_report(preset: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "heal", "rehearse", "--config", f"config/{preset}.yaml", "--out", str(tmp_path)]
    command += ["--cores", "1"]  # two presets run at once
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3600)
    assert run.returncode == 0, run.stdout + run.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    stages = {stage["name"]: stage for stage in summary["stages"]}
    assert stages.keys() >= STAGES and not summary["findings"]
    for name in SPENDING:
        assert stages[name]["requests"] > 0 and sum(stages[name]["tokens"].values()) > 0, stages[name]
    for name in STAGES - {"premise"}:
        assert stages[name]["jobs"] > 0 and stages[name]["peak_mb"] > 0
