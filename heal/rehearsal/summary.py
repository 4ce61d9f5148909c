"""The list that a rehearsal ends with, as Markdown: every stage, what came out, and the findings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from heal.stages import Stage, describe_stages, format_counts

if TYPE_CHECKING:
    from heal.rehearsal.build import Rehearsal
    from heal.rehearsal.findings import Finding


def format_summary(
    path: Path,
    rehearsal: Rehearsal,
    stages: Sequence[Stage],
    findings: Sequence[Finding],
    seconds: float,
    seconds_to_build: float,
) -> str:
    """The list as Markdown: stages, what the rehearsal leaves out, and the findings."""
    lines = [f"# Rehearsal of {path}", "", f"Every length times {rehearsal.factor:g}. {seconds:.0f} s in all, "]
    lines[-1] += f"{seconds_to_build:.0f} s of them to build data and stand-ins."
    lines += ["", "| stage | jobs | requests | tokens | skipped | seconds | peak memory, MB |"]
    lines += ["|---|---:|---:|---|---|---:|---:|"]
    for stage in stages:
        cells = [
            stage.name,
            stage.jobs,
            stage.requests or "-",
            format_counts(stage.tokens),
            format_counts(stage.skipped),
        ]
        cells += [f"{stage.seconds:.0f}", f"{stage.peak_mb:.0f}" if stage.peak_mb else "-"]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    lines += ["", "What came out:", "", *[f"* {sentence}" for sentence in describe_stages(stages)]]
    lines += ["", *[f"* {note}" for note in rehearsal.notes]]
    if not findings:
        return "\n".join([*lines, "", "Every stage ran, and has the content that it should have.", ""])
    lines += ["", f"## {len(findings)} findings", ""]
    for finding in findings:
        lines += [f"* {finding}", f"  Fix: {finding.fix}"]
    return "\n".join([*lines, ""])
