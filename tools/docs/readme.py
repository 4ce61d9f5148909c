"""The README's tables: the reference run's primary contrast, and the cost plans of the GPU presets."""

from __future__ import annotations

from pathlib import Path

from evals.report.summary import read_comparison
from evals.tables.comparison_rows import PRIMARY
from heal.config import experiment as config
from heal.config.run_config import read_run_config
from heal.errors import HealError
from heal.planning.costs import plan_costs
from heal.planning.format import format_number
from heal.planning.inputs import collect_inputs
from tools.docs.markdown import build_table

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "results/reference/mini/tables/main.csv"
GPU = "H100"
PRESETS: list[tuple[str, dict[str, float]]] = [
    ("single_gpu", {}),
    ("single_gpu", {"trace_tokens": 1500.0}),
    ("paper", {}),
    ("smol", {}),
]


def build_main_table() -> str:
    """Title, primary contrast, its benchmark and notes of the reference run. Raises HealError without a contrast."""
    benchmarks = [row.benchmark for row in read_comparison(TABLE) if row.family == PRIMARY]
    if not benchmarks:
        raise HealError("no primary contrast", where=str(TABLE), fix="make the reference run again")
    title, *blocks = TABLE.with_suffix(".txt").read_text(encoding="utf-8").strip().split("\n\n")
    shown = [block for block in blocks if len(block.splitlines()) == 1 or f"{benchmarks[0]}: " in block.splitlines()[0]]
    table = "\n\n".join([title, *shown])
    return f"```\n{table}\n```"


def list_model_names(models: dict[str, config.Model]) -> str:
    return ", ".join(Path(model.path).name.removesuffix(".gguf") for model in models.values())


def build_plans_table() -> str:
    """GPU-hours of each GPU preset, by `heal plan`."""
    rows = []
    for name, assumed in PRESETS:
        path = ROOT / f"config/{name}.yaml"
        run_config = read_run_config(path)
        experiment = run_config.experiment
        tasks = plan_costs(collect_inputs(run_config, gpu=GPU, assume=assumed))
        models = f"{list_model_names(experiment.teachers)} → {list_model_names(experiment.students)}"
        preset = f"`config/{name}.yaml`"
        for key, value in assumed.items():
            preset += f", `--assume {key}={value:g}`"
        hours = format_number(sum(task.gpu_hours for task in tasks))
        rows.append([preset, models, str(experiment.training_seeds), hours])
    table = build_table(["preset", "teacher → students", "training seeds", "GPU-hours"], rows)
    return f"{table}\nThe main comparison by `heal plan`, on {GPU}s."
