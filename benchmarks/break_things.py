"""Break the code in ten ways, one at a time, and show that the tests named for each way fail.

Each break is put into a copy of the working tree, and only its tests run there. First the tests of all breaks run on an
unbroken copy, where they must pass. Reads the working tree; writes a table (break, tests that failed, CPU seconds).

    python -m benchmarks.break_things --out results/reference/benchmarks/break_things.md
    python -m benchmarks.break_things --only pure_sign wrong_cut
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml
from dataclasses import dataclass
from pathlib import Path

from benchmarks.growing_table import GrowingTable
from heal.errors import HealError
from tests.support.snakemake import copy_repository, make_environment

ALL_PASSED, SOME_FAILED = 0, 1
"""Exit statuses of pytest."""


@dataclass(frozen=True)
class Break:
    """what: what goes wrong. old, new: a text of the file, and its replacement. tests: what pytest runs."""

    name: str
    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def apply(self, root: Path) -> None:
        """Puts the break into a copy of the repository. Raises HealError unless the text occurs exactly once."""
        path = root / self.file
        text = path.read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            fix = "adapt the break to the code, in benchmarks/break_things.py"
            raise HealError(f"the break {self.name!r} does not apply", where=self.file, fix=fix)
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")


BREAKS = (
    Break(
        "loss_mask",
        "the loss covers the last token of the prompt",
        "heal/training/conversations.py",
        "[NOT_SUPERVISED] * len(context_ids) + completion_ids)",
        "[NOT_SUPERVISED] * (len(context_ids) - 1) + context_ids[-1:] + completion_ids)",
        ("tests/training/test_conversations.py",),
    ),
    Break(
        "wrong_cut",
        "a repair keeps the step that breaks",
        "heal/method/gear.py",
        "return max(0, breakpoint - rewind)",
        "return max(0, breakpoint - rewind + 1)",
        ("tests/method/test_gear.py",),
    ),
    Break(
        "pure_sign",
        "PURE multiplies surprise by uncertainty",
        "heal/method/pure.py",
        "- np.log(np.maximum(uncertainty_K, 0.0) + epsilon)",
        "+ np.log(np.maximum(uncertainty_K, 0.0) + epsilon)",
        ("tests/method/test_pure.py",),
    ),
    Break(
        "substring_is_right",
        "an answer that contains the gold answer is right",
        "heal/grading/worker.py",
        "    if gold == answer:\n",
        "    if gold in answer:\n",
        ("tests/grading/test_grader.py",),
    ),
    Break(
        "resume_loses_rows",
        "a resumed job drops the rows of the last batch it finished before it was killed",
        "heal/records.py",
        "            self.checked.add(number)\n            return True\n",
        "            self.checked.add(number)\n            write(file, self.schema, [])\n            return True\n",
        ("tests/pipeline/test_runner.py", "tests/test_stored_rows.py"),
    ),
    Break(
        "no_decontamination",
        "training problems that a benchmark asks stay",
        "heal/data/decontaminate.py",
        "        if not hits:\n",
        "        if True:\n",
        ("tests/data/test_decontaminate.py", "tests/workflow/test_problems.py"),
    ),
    Break(
        "no_clusters",
        "the bootstrap resamples training seeds without their teacher seeds",
        "evals/stats.py",
        "    if groups > 1:\n        group_weights_BG",
        "    if groups > len(scores_SQ):\n        group_weights_BG",
        ("tests/evals/test_stats.py",),
    ),
    Break(
        "wrong_stratum",
        "the unsolved stratum has the questions that the teacher always solves",
        "evals/results.py",
        '"unsolved": lambda rate_Q: rate_Q == 0,',
        '"unsolved": lambda rate_Q: rate_Q == 1,',
        ("tests/evals/tables/test_comparison.py", "tests/evals/tables/test_details.py"),
    ),
    Break(
        "seeds_ignored",
        "every sample of a prompt has the same random numbers",
        "heal/engines/batched_model.py",
        "np.random.Philox(key=seed)",
        "np.random.Philox(key=0)",
        ("tests/engines/test_base.py", "tests/engines/test_transformers.py"),
    ),
    Break(
        "version_reruns_nothing",
        "a raised VERSION reruns no rule",
        "workflow/rules/common.smk",
        "    return read_version(COMMANDS[command].module)\n",
        "    return 1\n",
        ("tests/workflow/test_reruns.py",),
    ),
)


@dataclass(frozen=True)
class Outcome:
    """caught: a test failed, rather than pytest itself. failed: names of the tests that did."""

    name: str
    what: str
    caught: bool
    passed: int
    failed: list[str]
    cpu_s: float


def run_tests(name: str, what: str, root: Path, tests: list[str]) -> Outcome:
    """Runs tests of a copy of the repository in it."""
    results = root / "results.xml"
    command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", "--junit-xml", str(results), *tests]
    before = measure_children_s()
    environment = make_environment() | {"PYTHONPATH": str(root)}
    run = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    if run.returncode not in (ALL_PASSED, SOME_FAILED):
        raise HealError(f"pytest could not run {tests}:\n{run.stdout[-2000:]}", where=name)
    passed, failed = 0, []
    for case in xml.parse(results).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}")
        elif case.find("skipped") is None:
            passed += 1
    return Outcome(name, what, bool(failed), passed, failed, measure_children_s() - before)


def measure_children_s() -> float:
    """CPU seconds, user and system, of all processes that this one has waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def list_cells(outcome: Outcome) -> list[str]:
    verdict, first = "fail" if outcome.caught else "pass", outcome.failed[0] if outcome.failed else "-"
    counts = [str(outcome.passed), str(len(outcome.failed))]
    return [outcome.name, outcome.what, verdict, *counts, first, f"{outcome.cpu_s:.0f}"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", help="names of breaks; all by default")
    parser.add_argument("--out", type=Path, help="the table to write")
    arguments = parser.parse_args()
    breaks = [each for each in BREAKS if not arguments.only or each.name in arguments.only]
    outcomes = []
    table = GrowingTable(
        ["break", "what goes wrong", "tests", "passed", "failed", "the first that failed", "CPU seconds"], arguments.out
    )

    def report(outcome: Outcome) -> None:
        outcomes.append(outcome)
        table.add(list_cells(outcome))

    every_test = list(dict.fromkeys(test for each in breaks for test in each.tests))
    with tempfile.TemporaryDirectory() as name:
        report(run_tests("none", "the code as it is", copy_repository(Path(name)), every_test))
    for each in breaks:
        with tempfile.TemporaryDirectory() as name:
            root = copy_repository(Path(name))
            each.apply(root)
            report(run_tests(each.name, each.what, root, list(each.tests)))
    missed = [outcome.name for outcome in outcomes[1:] if not outcome.caught]
    if outcomes[0].failed or missed:
        print(f"failed without a break: {outcomes[0].failed or 'none'}; breaks that no test saw: {missed or 'none'}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
