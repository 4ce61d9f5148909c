"""The tables and figures that a page of a run shows, section by section, and where each is below the run's folder.

Reads nothing but file names; writes nothing. An item with `command` is announced where its file is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MAIN = "snakemake --cores all"
ABLATIONS = "snakemake --cores all ablations"
STUDY = "snakemake --cores all study"


@dataclass(frozen=True)
class Item:
    """A table (md or csv) or a figure (svg) that a run may have."""

    title: str
    pattern: str
    """Its path below the run; `*` for one file per teacher and teacher seed."""
    caption: str
    """Its file in workflow/report/, without .rst."""
    command: str = MAIN
    """The command that makes it; empty for what only some runs have."""
    made_with: str | None = None
    """The output that the same job wrote and whose provenance counts; the item itself (csv or svg) where absent."""
    shows_settings: bool = False
    """Whether its notes list the evaluation settings."""

    @property
    def per_teacher(self) -> bool:
        """Whether there is one file per teacher."""
        return "*" in self.pattern


SECTIONS: dict[str, tuple[Item, ...]] = {
    "Main comparison": (
        Item("Methods compared", "tables/main.md", "comparison", shows_settings=True),
        Item("Differences to the reference", "figures/main/differences.svg", "differences"),
        Item("Accuracy", "figures/main/accuracy.svg", "accuracy"),
        Item("Accuracy against teacher tokens", "figures/main/cost.svg", "cost"),
        Item("By the teacher's pass rate", "tables/main_strata.md", "strata", made_with="tables/main_outcomes.parquet"),
        Item("Ranks", "tables/main_ranks.md", "ranks", made_with="tables/main_outcomes.parquet"),
        Item("pass@k and maj@k", "tables/main_at_k.md", "at_k", made_with="tables/main_outcomes.parquet"),
    ),
    "Ablations and controls": (
        Item("Variants of HEAL and controls", "tables/ablations.md", "comparison", ABLATIONS, shows_settings=True),
        Item("Differences of the ablations", "figures/ablations/differences.svg", "differences", ABLATIONS),
        Item("Accuracy of the ablations", "figures/ablations/accuracy.svg", "accuracy", ABLATIONS),
        Item("Ablations against teacher tokens", "figures/ablations/cost.svg", "cost", ABLATIONS),
        Item("Ablations against exposures", "figures/ablations/exposures.svg", "exposures", STUDY),
    ),
    "Mechanism": (
        Item("The teacher's ceiling", "figures/**/ceiling_*.svg", "ceiling"),
        Item("Premises", "tables/main_audits/premises_*.csv", "premises", made_with="tables/main_audits/audits_*.csv"),
        Item("One repaired trace", "figures/**/trace_*.svg", "trace"),
        Item("Cuts by position", "figures/**/positions_*.svg", "positions"),
        Item("What cuts are worth, by detector", "figures/ablations/cuts.svg", "cuts", STUDY),
        Item("PURE's scores", "figures/**/pure_*.svg", "pure"),
        Item("PURE's ROC and its rivals'", "figures/roc.svg", "roc"),
        Item("Audits", "tables/main_audits/audits_*.md", "audits"),
        Item("Audits of the ablations", "tables/ablations_audits/audits_*.md", "audits", ABLATIONS),
        Item("Facts shown", "tables/main_coverage.csv", "coverage", made_with="tables/main_exposures.csv"),
    ),
    "Costs": (
        Item("Tokens and seconds of each method", "tables/main_costs.md", "costs"),
        Item("Hours by part of the run", "figures/hours.svg", "hours"),
        Item("Training loss by PACE stage", "figures/main/loss.svg", "loss"),
        Item("Exposures by stage", "tables/main_exposures.csv", "exposures"),
    ),
    "Paper and this run": (Item("Paper and this run", "tables/paper.md", "paper"),),
}


def list_sections(run: Path) -> dict[str, tuple[Item, ...]]:
    """SECTIONS, with the run's further comparisons after the main one."""
    sections = {}
    for title, items in SECTIONS.items():
        sections[title] = items
        others = list_other_comparisons(run)
        if title == "Main comparison" and others:
            sections["Other comparisons"] = others
    return sections


def list_other_comparisons(run: Path) -> tuple[Item, ...]:
    """Table and figures of each comparison that the config adds; each has a txt for terminals."""
    items = []
    for path in sorted(run.glob("tables/*.txt")):
        name = path.stem
        if name not in ("main", "ablations"):
            items.append(Item(f"Comparison: {name}", f"tables/{name}.md", "comparison", shows_settings=True))
            for figure in ("differences", "accuracy"):
                title = f"{figure.capitalize()}: {name}"
                items.append(Item(title, f"figures/{name}/{figure}.svg", figure, command=""))
    return tuple(items)
