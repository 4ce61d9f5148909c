"""What every job pays before its own work: the imports of the command line and of the checked config."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

HEAVY = {"torch", "transformers", "trl", "vllm", "lm_eval", "datasets", "pandas", "scipy", "sklearn", "matplotlib"}
PROGRAM = """
import json, sys
{statements}
print(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})))
"""
READ_CONFIG = "from heal.config.run_config import read_run_config; read_run_config({path!r})"
OPEN_ENGINE = """
from heal.engines.transformers import TransformersEngine
TransformersEngine("heal/worlds/mini/models/student", device="cpu", threads=1)
"""
LOAD_TOKENIZER = """
from heal.engines.base import load_tokenizer
load_tokenizer("heal/worlds/mini/models/student")
"""
OPEN_EVALUATED_MODEL = """
from evals.run import ModelSource, Engine, open_model
open_model(ModelSource(path="heal/worlds/mini/models/student"), Engine(device="cpu"), 0)
import lm_eval.evaluator
"""


def list_imported(statements):
    """Packages that a new process has imported after these statements."""
    program = PROGRAM.format(statements=statements)
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    return set(json.loads(run.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "statements",
    [
        "import heal.cli",
        READ_CONFIG.format(path="config/config.yaml"),
        READ_CONFIG.format(path="config/mini_baselines.yaml"),
        "import heal.provenance, heal.pipeline.grade, heal.pipeline.merge, heal.pipeline.curriculum",
    ],
    ids=["command line", "config", "config with every baseline", "stages without a model"],
)
def test_no_command_imports_heavy_packages_before_it_needs_them(statements):
    assert not HEAVY & list_imported(statements)


@pytest.mark.parametrize(
    "statements", [LOAD_TOKENIZER, OPEN_ENGINE, OPEN_EVALUATED_MODEL], ids=["tokenizer", "engine", "evaluation"]
)
def test_no_model_imports_scikit_learn(statements):
    assert "sklearn" not in list_imported(statements)
