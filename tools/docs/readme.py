"""The README's tables, made and never typed: the reference run's primary outcome, and what presets for GPUs will take.

Reads results/reference/mini/tables/main.txt and config/*.yaml; changes README.md between its markers.

    python -m tools.docs.readme
"""

from __future__ import annotations

from pathlib import Path

from evals.results import UNSOLVED
from heal.command import command_parser
from heal.config import experiment as config
from heal.errors import HealError, exit_with_errors
from heal.planning import costs as plan
from heal.planning.report import sensible
from heal.records import write_text

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
TABLE = ROOT / "results/reference/mini/tables/main.txt"
CARD = "H100"
PRESETS = [("single_gpu", {}), ("single_gpu", {"trace_tokens": 1500.0}), ("paper", {}), ("smol", {})]


def primary(table: str) -> str:
    """Title, primary outcome and notes of a table as text. Raises HealError where it has no such block."""
    title, *blocks = table.strip().split("\n\n")
    outcome = [block for block in blocks if f"{UNSOLVED}: " in block.splitlines()[0]]
    notes = [block for block in blocks if len(block.splitlines()) == 1]
    if not outcome:
        raise HealError(f"no block of {UNSOLVED}", where=str(TABLE), fix="make the reference run again")
    return "\n\n".join([title, *outcome, *notes])


def plans() -> str:
    """What each preset for GPUs takes, as `heal plan` says it."""
    rows = ["| preset | teacher → students | training seeds | GPU-hours |", "|---|---|---:|---:|"]
    for name, given in PRESETS:
        path = ROOT / f"config/{name}.yaml"
        experiment = config.load(path)
        stages = plan.plan(plan.settings(experiment, where=str(path), card=CARD, given=given))
        models = " → ".join(
            ", ".join(Path(model.path).name.removesuffix(".gguf") for model in group.values())
            for group in (experiment.teachers, experiment.students)
        )
        told = "".join(f", `--assume {key}={value:g}`" for key, value in given.items())
        hours = sensible(sum(stage.gpu_hours for stage in stages))
        rows.append(f"| `config/{name}.yaml`{told} | {models} | {experiment.seeds} | {hours} |")
    return "\n".join([*rows, "", f"The main comparison by `heal plan`, on {CARD}s."])


def between(text: str, name: str, content: str) -> str:
    """A text with the content between its two markers. Raises HealError where one is missing."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise HealError(f"a marker of {name} is missing", where="README.md", fix=f"put back {begin} and {end}")
    return f"{before}{begin}\n{content}\n{end}{after}"


def written(readme: str) -> str:
    """The README's text with its tables."""
    table = primary(TABLE.read_text(encoding="utf-8"))
    return between(between(readme, "main table", f"```\n{table}\n```"), "plans", plans())


def main() -> None:
    command_parser(__doc__).parse_args()
    write_text(README, written(README.read_text(encoding="utf-8")))


if __name__ == "__main__":
    exit_with_errors(main)
