"""What a reference folder's README shows of its run, between markers: observed numbers and evaluation settings.

Reads tables/main.csv, tables/main_audits/premises_*.csv and settings.json of a reference folder; changes README.md
between `<!-- summary -->` and `<!-- end of summary -->`. `tools/reference.py` calls it.

    python -m tools.reference_summary results/reference/*/
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from evals.results import read_json
from evals.settings import FILE, read_premises
from evals.tables.comparison_rows import PRIMARY, REFERENCE
from evals.tables.render import format_difference
from heal.errors import HealError, exit_with_errors
from heal.records import write_text

BEGIN, END = "<!-- summary -->", "<!-- end of summary -->"
OUTCOME = ["teacher", "student", "method", "questions", "accuracy [95 %]", "difference [95 %]", "verdict"]
PREMISES = ["teacher", "premise", "quantity", "value [95 %]", "threshold", "holds"]
SETTINGS = ["benchmarks", "models", "repeats", "decoding", "new tokens", "engine", "dtype"]


def render_summary(folder: Path) -> str:
    """Markdown of every part that the folder has data for."""
    parts = [render_outcome(folder), render_premises(folder), render_settings(folder)]
    return "\n\n".join(part for part in parts if part)


def render_outcome(folder: Path) -> str:
    """The main comparison on the benchmark of the primary contrast; every benchmark where the run has none."""
    file = folder / "tables/main.csv"
    if not file.exists():
        return ""
    frame = pd.read_csv(file, keep_default_na=False, na_values=[""]).fillna({"student": "", "verdict": ""})
    primary = frame.loc[frame["family"] == PRIMARY, "benchmark"]
    frame = frame[frame["benchmark"].isin(primary)] if len(primary) else frame
    parts = []
    for benchmark, block in frame[frame["student"] != ""].groupby("benchmark", sort=False):
        rows = []
        for row in block.to_dict("records"):
            difference = format_difference(row["diff"], row["diff_low"], row["diff_high"])
            accuracy = format_interval(row["mean"], row["ci_low"], row["ci_high"])
            model = [row["teacher"], row["student"], row["method"]]
            adjusted = " (primary, not adjusted)" * (row["family"] == PRIMARY)
            rows.append([*model, row["n_questions"], accuracy, difference, f"{row['verdict']}{adjusted}"])
        reference = block.loc[block["verdict"] == REFERENCE, "method"].iloc[0]
        title = f"Accuracy on `{benchmark}`; differences are to `{reference}`:"
        parts.append(f"{title}\n\n{render_table(OUTCOME, rows)}")
    return "\n\n".join(parts)


def render_premises(folder: Path) -> str:
    """Premises by the traces alone, and whether the comparison is a test of HEAL."""
    rows = []
    for file in sorted((folder / "tables/main_audits").glob("premises_*.csv")):
        for row in pd.read_csv(file).to_dict("records"):
            value = format_interval(row["value"], row["low"], row["high"])
            premise = f"{row['premise']}: {row['says']}"
            teacher = file.stem.partition("_")[2]
            rows.append([teacher, premise, row["quantity"], value, f"{row['threshold']:.2f}", row["holds"]])
    parts = [f"Premises, by the audits of the traces:\n\n{render_table(PREMISES, rows)}"] if rows else []
    sentences = ""
    for (teacher, seed), premise in read_premises(folder).items():
        verdict = "is a test of HEAL" if premise["holds"] else f"is no test of HEAL ({'; '.join(premise['reasons'])})"
        sentences += f"* Teacher `{teacher}`, teacher seed {seed}: the comparison {verdict}.\n"
    return "\n\n".join([*parts, *([sentences.rstrip()] if sentences else [])])


def render_settings(folder: Path) -> str:
    """How answers were sampled: a row for each distinct group of settings."""
    file = folder / FILE
    if not file.exists():
        return ""
    rows = []
    for entry in read_json(file)["evaluation"]:
        settings = entry["settings"]
        generation = settings["generation"]
        numbers = [len(entry["models"]), settings["repeats"], format_decoding(generation), generation["max_gen_toks"]]
        engine = settings.get("engine", "not recorded")
        rows.append([", ".join(entry["benchmarks"]), *numbers, engine, settings["dtype"]])
    return f"Evaluation settings ([settings.json]({FILE}) lists the models):\n\n{render_table(SETTINGS, rows)}"


def format_decoding(generation: Mapping[str, Any]) -> str:
    """`greedy`, or the sampling parameters."""
    if not generation["do_sample"]:
        return "greedy"
    return ", ".join(f"{key} {generation[key]}" for key in ("temperature", "top_p", "top_k") if key in generation)


def format_interval(value: float, low: float, high: float) -> str:
    """Three digits, with the bounds where there are any; empty where there is no value."""
    if pd.isna(value):
        return ""
    return f"{value:.3f}" if pd.isna(low) else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def render_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)


def split_readme(folder: Path) -> tuple[str, str]:
    """The README's text before and after its part between the markers. Raises HealError where one is missing."""
    readme = folder / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.exists() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        fix = f"write what the run is and its command, and put {BEGIN} and {END} where its numbers go"
        raise HealError("no place for the run's numbers", where=str(readme), fix=fix)
    return before, after


def write_summary(folder: Path) -> None:
    """Replaces the README's part between the markers. Raises HealError where README or a marker is missing."""
    before, after = split_readme(folder)
    write_text(folder / "README.md", f"{before}{BEGIN}\n\n{render_summary(folder)}\n\n{END}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="reference folders")
    for folder in parser.parse_args().folders:
        write_summary(folder)


if __name__ == "__main__":
    exit_with_errors(main)
