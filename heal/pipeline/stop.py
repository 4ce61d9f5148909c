"""Stop a run where a stage leaves nothing for the rest of it: nothing right, nothing accepted, or most traces cut off.

`heal merge` and `heal grade` call this for the files that all that follows is made from (heal.trace_files.REQUIRED): on
the CPU, between one GPU job and the next. What was sampled stays. `stop.enabled: false` goes on, and reruns nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

from heal.config.experiment import Stop
from heal.errors import HealError
from heal.outcome import TRUNCATED, Outcome

ENOUGH = 20
"""Fewer traces say too little to stop a run."""
GO_ON = "or go on nevertheless with stop: {enabled: false} in the config"
CURES = {
    TRUNCATED: "raise sampling.max_new_tokens, or look at the teacher's template_options and end token: does it think "
    "where it should not, does a trace go on after its answer?",
    "not_boxed": "ask for \\boxed{} in problems.instruction",
    "leak": "look at gear.leak_patterns and the hint's wording, gear.hint.template",
    "wrong": "look at some traces, at the gold answers and at gear.hint: are the problems too hard for this teacher?",
}
"""Most frequent reason → what to do about it."""


def check_outcome(outcome: Outcome, options: Stop, path: Path) -> None:
    """Raises HealError where the traces of a file leave the rest of the run without a point; a note if it goes on.

    path: the file that the traces are in.
    """
    cause, reason = find_cause(outcome, options)
    if not cause:
        return
    if not options.enabled:
        print(f"{path}: {cause}; the run goes on, as stop.enabled is false", file=sys.stderr, flush=True)
        return
    raise HealError(
        f"{cause}: {outcome.describe()}. The rest of the run would be pointless, so it stops before its next GPU job",
        where=str(path),
        fix=f"{CURES.get(reason, CURES['wrong'])}; {GO_ON}",
    )


def find_cause(outcome: Outcome, options: Stop) -> tuple[str, str]:
    """(why the rest is pointless, the key of its cure); ("", "") where it is not."""
    if outcome.count < ENOUGH:
        return "", ""
    if outcome.truncated_share > options.max_truncated:
        limit = f"more than {options.max_truncated:.0%} (stop.max_truncated)"
        return f"{outcome.truncated_share:.0%} of the traces are cut off, {limit}", TRUNCATED
    if outcome.good == 0:
        frequent = max(outcome.reasons, key=lambda reason: outcome.reasons[reason])
        return f"none of {outcome.count:,} traces is {outcome.verdict}", frequent
    return "", ""
