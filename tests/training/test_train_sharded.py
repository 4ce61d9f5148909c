"""A student that is sharded over processes (FSDP, on CPUs) trains as one that is not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.support.paths import ROOT
from tests.support.tiny_training import EVERY_STEP, read_csv_rows

pytestmark = pytest.mark.workflow


def run_sharded(out: Path, *arguments: str) -> str:
    """heal.training.train in two processes, started by torchrun as for two GPUs; what they print."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*torchrun, "tests/support/fsdp_on_cpu.py", *arguments, "--out", str(out)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    return run.stdout + run.stderr


def build_arguments(curriculum: Path, model: Path, options: dict[str, Any]) -> list[str]:
    """Flags of `heal train`."""
    arguments = ["--curriculum", str(curriculum), "--model.path", str(model)]
    for name, value in options.items():
        arguments += [f"--options.{name}", str(value)]
    return arguments


def test_a_student_that_is_sharded_over_processes_and_killed_trains_as_one(
    model: Path,
    curriculum: Path,
    trained: Any,
    tmp_path: Path,
) -> None:
    """FSDP with recomputed activations: the same exposures, losses and weights as one process, up to rounding."""
    options = {
        "micro-batch-tokens": 25,  # other numbers of micro-batches in the two processes
        "max-steps": 20,
        "batch-size": 4,
        "learning-rate": 0.01,
        "save-minutes": EVERY_STEP,
    }
    arguments = build_arguments(curriculum, model, options)
    assert "exitcode: -9" in run_sharded(tmp_path / "s", "killed", *arguments)
    output = run_sharded(tmp_path / "s", *arguments)
    assert output.count("weights: DTensor torch.float32") == 2 and "resumes from checkpoint-14" in output, output
    assert (trained[0] / "exposures.csv").read_bytes() == (tmp_path / "s/exposures.csv").read_bytes()
    losses = [[float(row["loss"]) for row in read_csv_rows(out / "loss.csv")] for out in (trained[0], tmp_path / "s")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    one, other = (load_file(out / "model/model.safetensors") for out in (trained[0], tmp_path / "s"))
    assert all(torch.allclose(one[name], other[name], atol=1e-5) for name in one.keys() | other.keys())
    assert (trained[0] / "model/config.json").read_bytes() == (tmp_path / "s/model/config.json").read_bytes()
    assert not list(tmp_path.glob(".partial-*"))


def test_a_sharded_student_keeps_float32_weights_where_it_trains_in_bfloat16(
    model: Path,
    curriculum: Path,
    tmp_path: Path,
) -> None:
    options = {"max-steps": 2, "batch-size": 4, "dtype": "bfloat16"}
    output = run_sharded(tmp_path / "s", *build_arguments(curriculum, model, options))
    assert output.count("weights: DTensor torch.float32") == 2, output
    assert {weight.dtype for weight in load_file(tmp_path / "s/model/model.safetensors").values()} == {torch.bfloat16}
