"""The answer of a comparison in words: sentences made from the main table and premise.json, none of them typed.

Pure functions: rows of tables/main.csv (of evals.tables.comparison) and the content of premise.json in, sentences out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from evals.results import UNSOLVED
from evals.tables.comparison import REFERENCE, TEACHER, UNTRAINED
from evals.tables.render import format_interval, format_number
from evals.tables.run_notes import SEEDS_TO_RANK

SAID = {
    "higher": "Yes",
    "lower": "No, less",
    "not distinguishable": "Not shown",
    "cannot say": "Cannot say",
}
WINS = ["teacher", "student", "benchmark", "questions", "highest mean", "difference [95 %]", "verdict", "detectable"]


def method_of_interest(methods: Mapping[str, Mapping[str, Any]], table: pd.DataFrame) -> str | None:
    """The first method of kind `heal` in the table; None where it has none. methods: name → kind and options."""
    names = [name for name, method in methods.items() if method.get("kind") == "heal"] or ["heal"]
    return next((name for name in names if (table["method"] == name).any()), None)


def reference_of(table: pd.DataFrame) -> str:
    return table.loc[table["verdict"] == REFERENCE, "method"].iloc[0]


def place(row: Any) -> str:
    """A benchmark with its number of questions."""
    which = " that the teacher never answers correctly" if row.benchmark.endswith(UNSOLVED) else ""
    return f"{row.benchmark} ({row.n_questions} questions{which}; teacher {row.teacher}, student {row.student})"


def compared(row: Any, reference_mean: float, reference: str) -> str:
    """One method beside the reference on one benchmark: by how much, and how sure."""
    found = f"{row.method} {format_number(row.mean, 3)}, {reference} {format_number(reference_mean, 3)}"
    told = f"{found}: difference {format_interval(row.diff, row.diff_low, row.diff_high)}"
    if not pd.isna(row.p_bh):
        told += f", adjusted p {'< 0.001' if row.p_bh < 0.001 else format_number(row.p_bh, 3)}"
    if not pd.isna(row.detectable):
        told += f"; a true difference of {format_number(row.detectable, 3)} would have been found in four of five repetitions"
    return told


def answer(table: pd.DataFrame, method: str | None) -> list[str]:
    """A sentence per teacher, student and primary benchmark; then where else the method and any other one differs."""
    reference = reference_of(table)
    means = table[table["method"] == reference].set_index(["teacher", "student", "benchmark"])["mean"]
    trained = table[~table["method"].isin([TEACHER, UNTRAINED, reference])]
    primary = trained["benchmark"].str.endswith(UNSOLVED)
    primary = primary if primary.any() else ~primary  # without repeats of a benchmark there is no such stratum

    def rows(chosen: pd.DataFrame) -> list[tuple[Any, float]]:
        return [(row, means[row.teacher, row.student, row.benchmark]) for row in chosen.itertuples(index=False)]

    told = []
    for row, mean in rows(trained[primary & (trained["method"] == method)]):
        told.append(f"{SAID[row.verdict]}, on {place(row)}: {compared(row, mean, reference)}.")
    if method is None:
        told.append(f"No method of kind heal is in the table; the reference is {reference}.")
    elsewhere = trained[~primary & (trained["method"] == method)]
    for verdict in ("higher", "lower"):
        for row, mean in rows(elsewhere[elsewhere["verdict"] == verdict]):
            told.append(f"It is {verdict} on {place(row)}: {compared(row, mean, reference)}.")
    said = {"not distinguishable": f"{method} is not distinguishable from {reference}"}
    said |= {"cannot say": f"nothing can be said of {method} beside {reference}"}
    for verdict, words in said.items():
        if where := list(dict.fromkeys(elsewhere.loc[elsewhere["verdict"] == verdict, "benchmark"])):
            told.append(f"On {', '.join(where)} {words}.")
    others = trained[trained["method"] != method]
    differ = others["verdict"].isin(["higher", "lower"])
    for row, mean in rows(others[differ]):
        told.append(
            f"{row.method} is {row.verdict} than {reference} on {place(row)}: {compared(row, mean, reference)}."
        )
    if len(others) and not differ.any():
        words = "No other method differs from"
        if (others["verdict"] == "cannot say").all():
            words = "Nothing can be said of any other method beside"
        told.append(f"{words} {reference} on any benchmark, as far as this design can see.")
    return told + how_sure(table)


def how_sure(table: pd.DataFrame) -> list[str]:
    """What the differences are of, and what they are not."""
    claims = table[table["diff"].notna()]
    if claims.empty:
        return []
    seeds, draws = int(claims["n_seeds"].min()), int(claims["n_teacher_seeds"].min())
    enough = (seeds if draws == 1 else draws) >= SEEDS_TO_RANK
    few = "" if enough else f": enough to display, not to rank (at least {SEEDS_TO_RANK})"
    covers = "; ".join(sorted({covers for covers in claims["diff_covers"] if covers}))
    return [f"{seeds} training seeds per method and {draws} teacher draw(s){few}. The intervals cover: {covers}."]


def premise(found: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Where the comparison is no test of HEAL, and where it is one. found: teacher and draw → premise.json.

    What is absent belongs before the answer.
    """
    absent, present = [], []
    for whose, content in found.items():
        if not content["holds"]:
            reasons = "; ".join(content.get("reasons") or ["no reason given"])
            absent.append(f"Premise absent for {whose} ({reasons}): not a test of HEAL.")
            continue
        facts = []
        if "unsolved" in content:
            facts.append(f"{content['unsolved']} of {content['problems']} training problems unsolved")
        if content.get("margin") is not None:
            facts.append(f"a hint raises the success rate by {100 * content['margin']:.0f} points over resampling")
        present.append(f"Premise present for {whose}" + (f": {'; '.join(facts)}." if facts else "."))
    return absent, present


def wins(table: pd.DataFrame, method: str | None) -> pd.DataFrame:
    """Columns WINS, a row per teacher, student and benchmark: the highest mean, and the method beside the reference."""
    rows = []
    trained = table[~table["method"].isin([TEACHER, UNTRAINED])]
    for (teacher, student, benchmark), here in trained.groupby(["teacher", "student", "benchmark"], sort=False):
        best = here[here["mean"] == here["mean"].max()]
        highest = f"{', '.join(best['method'])} ({format_number(float(best['mean'].iloc[0]), 3)})"
        cells = ["", "", ""]
        for row in here[here["method"] == method].itertuples(index=False):
            cells = [
                format_interval(row.diff, row.diff_low, row.diff_high),
                row.verdict,
                format_number(row.detectable, 3),
            ]
        rows.append([teacher, student, benchmark, str(here["n_questions"].iloc[0]), highest, *cells])
    return pd.DataFrame(rows, columns=WINS)


def question(reference: str, method: str | None) -> str:
    name = "" if method == "heal" else f" ({method or 'not in this run'})"
    what = f"the same teacher tokens spent on more samples ({reference})" if reference == "rs_matched" else reference
    return f"Does HEAL{name} teach a student more than {what}, on problems that the teacher cannot solve alone?"


def notes_of_the_world(markdown: str) -> Sequence[str]:
    """What the table's notes say of mini worlds and absent premises: it belongs beside the answer."""
    notes = [line.removeprefix("* ") for line in markdown.splitlines() if line.startswith("* ")]
    return [f"{note[0].upper()}{note[1:]}" for note in notes if note.startswith("mini:")]
