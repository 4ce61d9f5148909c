"""One page of a run: question and answer, tables, figures, what each is and what made it. Self-contained, no script.

Reads what is there of results/<run>: tables/, figures/, their provenance, and premise.json or settings.json; no
model, no raw data. What is missing is named with the command that makes it. Captions: workflow/report/. Writes --out
(html), and the answer alone as text beside it. Equal inputs give equal bytes.

    python -m evals.report.page results/mini --out report.html
    python -m evals.report.page results/reference/mini --out report.html      # in a clone that ran nothing
"""

from __future__ import annotations

import base64
import json
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
from docutils.core import publish_parts
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt

from evals.report import summary as answer
from evals.results import read_json
from evals.settings import read_premises
from evals.tables.render import format_markdown_table
from heal.command import command_parser
from heal.errors import HealError, exit_with_errors
from heal.provenance import SUFFIX
from heal.records import write_text

ROOT = Path(__file__).parents[2]
CAPTIONS = ROOT / "workflow" / "report"
TEMPLATE = "report.html.jinja"
MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
MAIN, ABLATIONS = "snakemake --cores all", "snakemake --cores all ablations"
STUDY = "snakemake --cores all study"


@dataclass(frozen=True)
class Item:
    """A table (md or csv) or a figure (svg) that a run may have, in `pattern`; `made`: whose provenance it has.

    caption: its file in workflow/report/; makes: the command that makes it, "" for what only some runs have.
    """

    title: str
    pattern: str
    caption: str
    makes: str = MAIN
    made: str | None = None


SECTIONS: dict[str, tuple[Item, ...]] = {
    "Main comparison": (
        Item("Methods compared", "tables/main.md", "comparison"),
        Item("Accuracy", "figures/main/accuracy.svg", "accuracy"),
        Item("Accuracy against teacher tokens", "figures/main/cost.svg", "cost"),
        Item("By the teacher's pass rate", "tables/main_strata.md", "strata", made="tables/main_outcomes.parquet"),
        Item("Ranks", "tables/main_ranks.md", "ranks", made="tables/main_outcomes.parquet"),
        Item("pass@k and maj@k", "tables/main_at_k.md", "at_k", made="tables/main_outcomes.parquet"),
    ),
    "Ablations and controls": (
        Item("Variants of HEAL and controls", "tables/ablations.md", "comparison", ABLATIONS),
        Item("Accuracy of the ablations", "figures/ablations/accuracy.svg", "accuracy", ABLATIONS),
        Item("Ablations against teacher tokens", "figures/ablations/cost.svg", "cost", ABLATIONS),
        Item("Ablations against doses", "figures/ablations/doses.svg", "doses", STUDY),
    ),
    "Mechanism": (
        Item("The teacher's ceiling", "figures/**/ceiling_*.svg", "ceiling"),
        Item("Premises", "tables/main_audits/premises_*.csv", "premises", made="tables/main_audits/audits_*.csv"),
        Item("One repaired trace", "figures/**/trace_*.svg", "trace"),
        Item("Cuts by position", "figures/**/positions_*.svg", "positions"),
        Item("What cuts are worth, by detector", "figures/ablations/cuts.svg", "cuts", STUDY),
        Item("PURE's scores", "figures/**/pure_*.svg", "pure"),
        Item("PURE's ROC beside its rivals'", "figures/roc.svg", "roc"),
        Item("Audits", "tables/main_audits/audits_*.md", "audits"),
        Item("Audits of the ablations", "tables/ablations_audits/audits_*.md", "audits", ABLATIONS),
        Item("Facts shown", "tables/main_coverage.csv", "coverage", made="tables/main_exposures.csv"),
    ),
    "Costs": (
        Item("What each method took", "tables/main_costs.md", "costs"),
        Item("Hours by part of the run", "figures/hours.svg", "hours"),
        Item("Training loss by PACE stage", "figures/main/loss.svg", "loss"),
        Item("Exposures by stage", "tables/main_exposures.csv", "exposures"),
    ),
    "Paper and this run": (Item("Paper and this run", "tables/paper.md", "paper"),),
    "Rule graph": (Item("Rules of the workflow", "figures/rulegraph.svg", "rulegraph"),),
}


@dataclass(frozen=True)
class Made:
    """What the provenance beside an output says of it."""

    command: str
    options_hash: str
    commit: str
    dirty: bool
    started: str
    seconds: float
    machine: str
    file: str


@dataclass(frozen=True)
class Block:
    """What the page shows of one file: `body` is HTML, "" where the file is missing."""

    id: str
    title: str
    caption: str
    body: str
    makes: str
    made: Made | None = None
    files: list[tuple[str, str]] = field(default_factory=list)  # (suffix, link)
    settings: bool = False  # whether the settings stand under it, rather than under the main table


def caption(name: str) -> str:
    """A caption as HTML. Raises HealError where workflow/report/ lacks it."""
    path = CAPTIONS / f"{name}.rst"
    if not path.exists():
        raise HealError("no such caption", where=str(path), fix="write it: what to look for, in a few sentences")
    return publish_parts(path.read_text(encoding="utf-8"), writer="html5")["fragment"]


def picture(path: Path, title: str) -> str:
    """An svg inside the page, as an image: so that ids of several do not meet."""
    content = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{escape(title)}" src="data:image/svg+xml;base64,{content}">'


def table(path: Path) -> str:
    """A markdown file without its title, or a csv, as HTML."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".csv":
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        numeric = [pd.to_numeric(frame[column], errors="coerce").notna().all() for column in frame]
        text = format_markdown_table(list(frame.columns), frame.to_numpy().tolist(), lambda i: not numeric[i])
    elif text.startswith("# "):
        text = text.partition("\n")[2]
    return MARKDOWN.render(text).replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")


def made_of(path: Path, link: str) -> Made | None:
    """None where there is no provenance beside the file. Raises HealError where it cannot be read."""
    file = Path(f"{path}{SUFFIX}")
    if not file.exists():
        return None
    found = read_json(file)
    git, machine = found.get("git", {}), found.get("machine", {})
    return Made(
        command=shlex.join(found.get("command", [])),
        options_hash=found.get("options_hash", ""),
        commit=git.get("commit") or "",
        dirty=bool(git.get("dirty")),
        started=found.get("started", ""),
        seconds=float(found.get("seconds", 0.0)),
        machine=machine_text(machine),
        file=f"{link}{SUFFIX}",
    )


def machine_text(machine: dict[str, Any]) -> str:
    return f"{machine.get('processor', 'unknown')}, {machine.get('cores', '?')} cores, GPUs: {machine.get('gpus', 0)}"


def whose(path: Path) -> str:
    """Teacher and draw of a file that is of one, as its name says."""
    draw = [part for part in path.parts if part.startswith("draw")]
    teacher = path.stem.partition("_")[2]
    return ", ".join([f"teacher {teacher}", *(f"draw {part.removeprefix('draw')}" for part in draw)])


def blocks_of(item: Item, run: Path, folder: Path) -> Iterator[Block]:
    """A block per file of the item, else one that says how to make it. folder: where the page will be."""
    found = sorted(run.glob(item.pattern))
    if not found and item.makes:
        missing = "-".join(Path(item.pattern).with_suffix("").parts).replace("*", "all")
        yield Block(missing, item.title, "", "", item.makes)
    for path in found:
        several = "*" in item.pattern
        made = path.with_suffix(".csv") if path.suffix == ".md" else path
        if item.made:
            made = run / item.made.replace("*", path.stem.partition("_")[2])
        suffixes = [s for s in (".csv", ".md", ".tex", ".svg", ".png") if path.with_suffix(s).exists()]
        title = f"{item.title} ({whose(path)})" if several else item.title
        body = picture(path, title) if path.suffix == ".svg" else table(path)
        yield Block(
            id="-".join(path.relative_to(run).with_suffix("").parts),
            title=title,
            caption=caption(item.caption),
            body=body,
            makes=item.makes,
            made=made_of(made, relative(made, folder)),
            files=[(s[1:], relative(path.with_suffix(s), folder)) for s in suffixes],
            settings="Settings of " in body,
        )


def relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def other_comparisons(run: Path) -> tuple[Item, ...]:
    """The tables of the config's further comparisons, told by their plain-text twins."""
    kinds = sorted(path.stem for path in run.glob("tables/*.txt") if path.stem not in ("main", "ablations"))
    tables = [Item(f"Comparison: {kind}", f"tables/{kind}.md", "comparison") for kind in kinds]
    pictures = [Item(f"Accuracy: {kind}", f"figures/{kind}/accuracy.svg", "accuracy", "") for kind in kinds]
    return tuple(item for pair in zip(tables, pictures, strict=True) for item in pair)


def environment_of(run: Path) -> dict[str, Any]:
    """Machines, package versions and commits over all provenance of the run, each with the number of its outputs."""
    machines: dict[str, int] = {}
    commits: dict[tuple[str, bool], int] = {}
    versions: dict[str, set[str]] = {}
    for file in sorted(run.rglob(f"*{SUFFIX}")):
        found = read_json(file)
        git = found.get("git", {})
        commit = (git.get("commit") or "no git checkout", bool(git.get("dirty")))
        commits[commit] = commits.get(commit, 0) + 1
        machine = machine_text(found.get("machine", {}))
        machines[machine] = machines.get(machine, 0) + 1
        for package, version in found.get("packages", {}).items():
            versions.setdefault(package, set()).add(version)
    return {
        "machines": sorted(machines.items()),
        "commits": [(commit, dirty, count) for (commit, dirty), count in sorted(commits.items())],
        "packages": [(package, ", ".join(sorted(found))) for package, found in sorted(versions.items())],
    }


def experiment_of(run: Path) -> str:
    """The whole resolved experiment as JSON, as the paper table's provenance has it; "" where that is not there."""
    file = run / "tables" / f"paper.csv{SUFFIX}"
    if not file.exists():
        return ""
    experiment = read_json(file).get("options", {}).get("experiment", "")
    return json.dumps(json.loads(experiment) if isinstance(experiment, str) else experiment, indent=1, sort_keys=True)


def answer_of(run: Path) -> dict[str, Any]:
    """Question, sentences and table of the answer. Raises HealError where there is no main table."""
    path = run / "tables" / "main.csv"
    if not path.exists():
        raise HealError("no main table", where=str(path), fix=f"run: {MAIN}; or give results/reference/mini")
    frame = pd.read_csv(path, dtype={"student": str}, keep_default_na=False, na_values=[""])
    frame = frame.fillna({"student": "", "verdict": "", "diff_covers": ""})
    provenance = Path(f"{path}{SUFFIX}")
    options = read_json(provenance).get("options", {}) if provenance.exists() else {}
    method = answer.method_of_interest(json.loads(options.get("methods_json", "{}")), frame)
    notes = path.with_suffix(".md").read_text(encoding="utf-8") if path.with_suffix(".md").exists() else ""
    premises = read_premises(run).items()
    found = {f"teacher {teacher}, teacher seed {seed}": content for (teacher, seed), content in premises}
    absent, present = answer.premise(found)
    if not found:
        present = ["Whether HEAL's premises hold is not recorded here (no premise.json)."]
    wins = answer.wins(frame, method)
    rows = format_markdown_table(list(wins.columns), wins.to_numpy().tolist(), lambda i: i not in (3, 5, 7))
    return {
        "question": answer.question(answer.reference_of(frame), method),
        "sentences": answer.answer(frame, method),
        "absent": absent,
        "present": present,
        "world": answer.notes_of_the_world(notes),
        "wins": f'<div class="wide">{MARKDOWN.render(rows)}</div>',
        "method": method,
    }


def page(run: Path, folder: Path) -> tuple[str, str]:
    """(html, the answer alone as text) of a run; links are relative to `folder`. Raises HealError."""
    told = answer_of(run)
    sections = dict(SECTIONS)
    if others := other_comparisons(run):
        sections = {"Main comparison": sections.pop("Main comparison"), "Other comparisons": others} | sections
    shown = {title: [b for item in items for b in blocks_of(item, run, folder)] for title, items in sections.items()}
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = templates.get_template(TEMPLATE).render(
        run=run.name,
        told=told,
        sections=shown,
        environment=environment_of(run),
        experiment=experiment_of(run),
        slug=lambda title: title.lower().replace(" ", "-"),
    )
    return html, text_of(told)


def text_of(told: dict[str, Any]) -> str:
    """Question and answer for a terminal and for Snakemake's report (reStructuredText): paragraphs, no mark-up."""
    lines = [told["question"], *told["absent"], *told["sentences"], *told["present"], *told["world"]]
    return "\n\n".join(lines) + "\n"


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("run", help="results/<run>, or results/reference/<run>")
    parser.add_argument("--out", required=True, help="the html; the answer is written beside it as txt")
    given = parser.parse_args()
    run, out = Path(given.run), Path(given.out)
    if not run.is_dir():
        raise HealError("no such folder", where=given.run, fix="give results/<run>, or results/reference/mini")
    html, text = page(run, out.parent)
    write_text(out, html)
    write_text(out.with_suffix(".txt"), text)


if __name__ == "__main__":
    exit_with_errors(main)
