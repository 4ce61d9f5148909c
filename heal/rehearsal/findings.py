"""What is wrong with a rehearsed run: jobs that failed, stages without the content that they should have.

The stand-ins are trained to give right, wrong, truncated, leaking and repaired traces, and to end their turns. So a
stage that shows none of one kind has a fault: a length that is not scaled with the others, a prompt that is not the one
of the config, an end token that is not looked for.
"""

from __future__ import annotations

import bisect
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from heal import run_layout
from heal.engines.base import load_tokenizer
from heal.method.gear import has_leak
from heal.method.steps import TokenTexts
from heal.provenance import SUFFIX
from heal.rehearsal.traces import FIRST, LEAK, STEP_END
from heal.trace_files import DEFAULT_VARIANT, GRADES, GUIDED, REPAIRS, SAMPLES, SCORES

if TYPE_CHECKING:
    from heal.rehearsal.build import Rehearsal

FAILED_RULE = re.compile(r"^Error in rule (?P<rule>\w+):$(?P<rest>(?:\n {4}.*)*)", re.MULTILINE)
LOG_FILE = re.compile(r"^ {4}log: (?P<log>[^\s(]+)", re.MULTILINE)
ERROR_LINE = re.compile(r"(?:^error: |Error: |Error\b.*: )")


@dataclass(frozen=True)
class Finding:
    """stage: where in the run. problem: what is wrong. where: file. fix: what to do about it."""

    stage: str
    problem: str
    where: str
    fix: str

    def __str__(self) -> str:
        return f"{self.stage}: {self.problem} ({self.where})"


def find_failed_jobs(log: Path, folder: Path) -> list[Finding]:
    """The failed jobs of Snakemake's log, each with the last error line of its own log."""
    findings = []
    for match in FAILED_RULE.finditer(log.read_text(encoding="utf-8", errors="replace")):
        named = LOG_FILE.search(match["rest"])
        job_log = folder / named["log"] if named else log
        findings.append(Finding(match["rule"], read_last_error(job_log), str(job_log), "read this log"))
    return list(dict.fromkeys(findings))


def read_last_error(log: Path) -> str:
    """The last line of a log that names an error; the last line where none does."""
    if not log.is_file():
        return "failed without a log"
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if ERROR_LINE.search(line)]
    return f"failed: {(errors or lines or ['its log is empty'])[-1][:300]}"


def find_findings(rehearsal: Rehearsal) -> list[Finding]:
    """Every stage without the content that it should have."""
    run = rehearsal.folder / "results" / rehearsal.experiment.run
    findings = [*find_skipping(run), *find_missing_tables(run)]
    for teacher in rehearsal.experiment.teachers:
        traces = run / run_layout.TRACES.format(teacher=teacher, teacher_seed=0)
        if f"teachers.{teacher}" in rehearsal.stand_ins:
            findings += find_in_traces(
                traces, rehearsal, rehearsal.folder / rehearsal.experiment.teachers[teacher].path
            )
        findings += find_in_answers(run / run_layout.TEACHER_EVALS.format(teacher=teacher), rehearsal, needs_right=True)
    for student in rehearsal.experiment.students:
        findings += find_in_answers(run / run_layout.UNTRAINED_EVALS.format(student=student), rehearsal)
    for folder in find_student_folders(run):
        findings += find_in_answers(folder, rehearsal)
    return findings


def find_skipping(run: Path) -> Iterator[Finding]:
    """Outputs whose command skipped every request."""
    for path in sorted(run.rglob(f"*{SUFFIX}")):
        record = json.loads(path.read_text(encoding="utf-8"))
        skipped = record.get("skipped")
        count = sum(skipped.values()) if isinstance(skipped, dict) else 0
        if count and not record.get("requests"):
            problem = f"all {count} requests were skipped: {', '.join(skipped)}"
            fix = "compare engine.max_length and train.max_length with sampling.max_new_tokens and the prompts"
            yield Finding(record["command"], problem, record["output"], fix)


def find_missing_tables(run: Path) -> Iterator[Finding]:
    """The main table and its page."""
    for name in ("tables/main.csv", "tables/main.md", "report/main.html"):
        path = run / name
        if not path.is_file() or not path.stat().st_size:
            yield Finding("tables", f"no {name}", str(path), "read workflow.log")


def find_in_traces(traces: Path, rehearsal: Rehearsal, teacher: Path) -> Iterator[Finding]:
    """What one teacher's traces lack. teacher: its folder."""
    yield from find_in_samples(traces)
    patterns = rehearsal.experiment.gear.leak_patterns
    hinted = [traces / GUIDED.path] if (traces / GUIDED.path).is_file() else []
    for path in hinted:
        yield from find_in_verdicts(path, "sample_guided")
    variants = sorted((traces / REPAIRS.path).parent.glob("*.parquet"))
    for path in variants:
        hint = rehearsal.experiment.gear_variants.get(path.stem, {}).get("hint", {})
        if hint.get("source", rehearsal.experiment.gear.hint.source) in ("answer", "teacher"):
            hinted.append(path)
            yield from find_in_verdicts(path, "repair_traces")
        yield from find_broken_lines(path, teacher)
        if path.stem == DEFAULT_VARIANT:
            yield from find_missing_cuts(path)
    if hinted and has_leak(LEAK, patterns):
        yield from find_missing_leaks(hinted)
    scores = traces / SCORES.of(variant=DEFAULT_VARIANT).path
    if scores.is_file():
        origins = read_columns(scores, ["origin", "nll_mean", "statement"])
        if any(row["statement"] == 1 for row in origins):
            fix = "an empty box in a restated instruction is no answer"
            yield Finding("score_traces", "a trace states its answer in its first step", str(scores), fix)
        for origin in ("repair", "sample"):
            if not any(row["origin"] == origin and row["nll_mean"] for row in origins):
                yield Finding("score_traces", f"no score of a {origin}", str(scores), explain_empty("score_traces"))
    for path in sorted(traces.glob("extra/*/*.parquet")):
        if pq.read_metadata(path).num_rows == 0:
            yield Finding("sample_extra", "no extra sample", str(path), explain_empty("sample_extra"))
    for path in sorted(traces.glob("students/*/*.parquet")):
        reasons = read_finish_reasons(path)
        if reasons and "stop" not in reasons:
            fix = "look at the end token of the engine: the chat template names it"
            yield Finding("student_passes", f"none of {len(reasons)} answers ends by itself", str(path), fix)
    premise = traces / "premise.json"
    verdict = json.loads(premise.read_text(encoding="utf-8")) if premise.is_file() else {}
    if "holds" not in verdict or not verdict.get("treated"):
        yield Finding(
            "check_premise", "no verdict, or no treated problem", str(premise), explain_empty("check_premise")
        )


def find_broken_lines(path: Path, teacher: Path) -> Iterator[Finding]:
    """Repairs: a cut whose last kept token holds no line end. One token may hold it and indentation after it."""
    rows = [row for row in read_columns(path, ["kept", "token_ids"]) if row["kept"] and not row["kept"].endswith("\n")]
    if not rows:
        return
    get_texts = TokenTexts(load_tokenizer(str(teacher)))
    for row in rows:
        pieces = get_texts(row["token_ids"])
        ends = list(itertools.accumulate(map(len, pieces)))
        if "\n" not in pieces[bisect.bisect_left(ends, len(row["kept"]))]:
            fix = "look at the borders of steps: a cut keeps whole lines"
            yield Finding("repair_traces", "a cut keeps a part of the next line", str(path), fix)
            return


def find_missing_cuts(path: Path) -> Iterator[Finding]:
    """Repairs of the default detector: one before the step in which the stand-in chooses, its largest surge."""
    kept = [row["kept"].rstrip(" ") for row in read_columns(path, ["kept"])]
    if not any(text.endswith(FIRST + STEP_END) for text in kept):
        fix = "look at the borders of steps, and at the entropies of the engine"
        yield Finding("repair_traces", "no cut is before the step that chooses", str(path), fix)


def find_in_samples(traces: Path) -> Iterator[Finding]:
    """Base samples: right, wrong and truncated ones."""
    path = traces / SAMPLES.path
    grades = {row["trace_id"]: row["correct"] for row in read_columns(traces / GRADES.path, ["trace_id", "correct"])}
    kinds: Counter[str] = Counter()
    for row in read_columns(path, ["trace_id", "finish_reason"]):
        stopped, right = row["finish_reason"] == "stop", grades[row["trace_id"]]
        kinds["truncated" if not stopped else "right" if right else "wrong"] += 1
        if right and not stopped:
            fix = "count what reaches the token limit as wrong"
            yield Finding("grade_traces", "a truncated sample counts as right", str(path), fix)
            break
    for kind in ("right", "wrong", "truncated"):
        if not kinds[kind]:
            problem = f"no {kind} sample ({format_counter(kinds)})"
            yield Finding("sample_base", problem, str(path), explain_empty("sample_base"))


def find_in_verdicts(path: Path, rule: str) -> Iterator[Finding]:
    """Guided samples or repairs: accepted ones."""
    kinds = count_verdicts(path)
    if not kinds["accepted"]:
        yield Finding(rule, f"none is accepted ({format_counter(kinds)})", str(path), explain_empty(rule))


def find_missing_leaks(paths: Sequence[Path]) -> Iterator[Finding]:
    """Hinted traces of all files: one that speaks of the hint."""
    if not any(count_verdicts(path)["leak"] for path in paths):
        problem = "no hinted trace is rejected as a leak"
        yield Finding("repair_traces", problem, str(paths[-1]), explain_empty("repair_traces"))


def count_verdicts(path: Path) -> Counter[str]:
    """Accepted traces, and the others by reason."""
    kinds: Counter[str] = Counter()
    for row in read_columns(path, ["accepted", "reason"]):
        kinds["accepted" if row["accepted"] else row["reason"]] += 1
    return kinds


def find_in_answers(folder: Path, rehearsal: Rehearsal, needs_right: bool = False) -> Iterator[Finding]:
    """A model's answers: some on each benchmark; some that end by themselves; of a teacher, some right ones."""
    rows: list[dict[str, Any]] = []
    for benchmark in rehearsal.experiment.benchmarks:
        path = folder / benchmark / "answers.parquet"
        answers = read_columns(path, ["truncated", "strict"]) if path.is_file() else []
        if not answers:
            yield Finding("evaluate", f"no answer to {benchmark}", str(path), explain_empty("evaluate"))
        rows += answers
    if any(row["truncated"] and row["strict"] for row in rows):
        yield Finding("evaluate", "a truncated answer counts as right", str(folder), "count truncated answers as wrong")
    if rows and all(row["truncated"] for row in rows):
        problem = f"none of {len(rows)} answers ends by itself"
        fix = "look at the prompt (template options, thinking) and at the end token of the engine that evaluates"
        yield Finding("evaluate", problem, str(folder), fix)
    if needs_right and not any(row["strict"] for row in rows):
        yield Finding("evaluate", "the teacher has no right answer", str(folder), explain_empty("evaluate"))


def find_student_folders(run: Path) -> list[Path]:
    """The folders of trained students' answers."""
    pattern = run_layout.STUDENT_EVALS
    for name in ("teacher", "student", "method", "seed", "teacher_seed"):
        pattern = pattern.replace(f"{{{name}}}", "*")
    return sorted(path for path in run.glob(pattern) if path.is_dir())


def read_finish_reasons(path: Path) -> list[str]:
    """How each generated trace of a file ended; [] for a file without such a column."""
    names = pq.read_schema(path).names
    return [row["finish_reason"] for row in read_columns(path, ["finish_reason"])] if "finish_reason" in names else []


def read_columns(path: Path, columns: list[str]) -> list[dict[str, Any]]:
    """Rows with these columns only."""
    return pq.read_table(path, columns=columns).to_pylist() if path.is_file() else []


def format_counter(kinds: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "no rows"


def explain_empty(rule: str) -> str:
    """What to look at where a stage lacks something."""
    return f"the stand-in gives such traces: look at the prompts, lengths and end tokens of {rule}"
