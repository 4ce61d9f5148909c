"""Evaluate a model on benchmarks with lm-eval, in one process, and keep every answer.

Reads a model, or several students of one base, and a run's problems; writes per model and benchmark `answers.parquet`
(every answer with its verdict) and `results.json` (lm-eval's scores with the settings they depend on; no times, so that
two runs on one machine give the same bytes).

    heal evaluate --config config/config.yaml --teacher default --problems results/mini/problems --out teacher
    heal evaluate --model.path heal/worlds/mini/models/student --problems results/mini/problems \\
        --benchmarks mini_easy --benchmarks mini_hard --out student
    heal evaluate … --student tiny --trained seed0/model --out evals/seed0 --trained seed1/model --out evals/seed1
    heal regrade student          # new verdicts for stored answers, without a model
"""

from __future__ import annotations

import gc
import importlib
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic_settings import CliPositionalArg

from heal import records
from heal.command import Command, Section, check_pairs
from heal.config.experiment import Engine
from heal.config.models import ModelSource
from heal.engines import gpu_lease
from heal.errors import HealError
from heal.outcome import count_rows, record_outcome
from heal.provenance import record_run
from heal.records import Row
from heal.registry import check_benchmarks
from heal.training import tracking

VERSION = 4
"""Raise it when the bytes of the output change for the same input."""

TASKS = Path(__file__).parent / "tasks"
READINGS = ("strict", "flexible")
NO_ROOM_REASON = "no_room"
"""Reason of an answer to a prompt that fills the model's length."""


class Evaluate(Command):
    teacher: str | None = None
    """Name of the teacher in the config."""
    student: str | None = None
    """Name of the student in the config; used where no teacher is named."""
    method: str | None = None
    """Name of the method in the config that trained the student."""
    model: Annotated[ModelSource, Section("teachers.{teacher}", "students.{student}")]
    """The model that answers."""
    trained: list[Path] = []
    """Folder of a trained student, evaluated in place of the untrained one (once per student, each with its --out)."""
    problems: Path
    """The folder with the run's problems."""
    benchmarks: Annotated[list[str], Section("benchmarks")]
    """lm-eval tasks below evals/tasks/ (once per task)."""
    engine: Annotated[Engine, Section("engine")] = Engine()
    """How the model runs."""
    seed: Annotated[int, Section("seed")] = 0
    """Seed of sampled answers."""
    report_to: Annotated[list[str], Section("training.{method}.report_to")] = []
    """Trackers that the scores are sent to (once per tracker)."""
    gpus: int = 1
    """GPUs to lease, where there are any."""
    out: list[Path]
    """The folder to write, one folder per benchmark (once per student)."""

    def run(self) -> None:
        models = self.list_models()
        check_benchmarks(self.benchmarks, where="--benchmarks")
        tracking.check(self.report_to, "--report-to")
        needs_gpu = self.engine.device != "cpu" and not self.model.endpoint
        leased = gpu_lease.lease(self.gpus if needs_gpu else 0)
        gpu_lease.check_torch(leased)
        for out, (trained, model) in zip(self.out, models, strict=True):
            options = self.model_copy(update={"trained": trained, "out": [out]}).describe_options()
            facts: dict[str, Any] = {"options": options, "seeds": [self.seed], "gpus": len(leased)}
            with record_run(out / "evaluation", "evaluate", VERSION, facts):
                began = time.monotonic()
                evaluations = evaluate(model, str(self.problems), self.benchmarks, self.engine, self.seed)
                seconds = time.monotonic() - began
                facts |= self.write_answers(evaluations, out)
                tokens = sum(row["n_tokens"] for answers, _ in evaluations.values() for row in answers)
                facts["tokens_per_s"] = round(tokens / seconds, 1)

    def list_models(self) -> list[tuple[list[Path], ModelSource]]:
        """Per --out: the --trained that it belongs to, [] without one, and the model that answers.

        Raises HealError where the flags --trained and --out do not pair up.
        """
        if self.trained or len(self.out) > 1:
            check_pairs("--trained", self.trained, self.out)
        models: list[tuple[list[Path], ModelSource]] = []
        for path in self.trained:
            models.append(([path], self.model.model_copy(update={"path": str(path), "revision": None})))
        return models or [([], self.model)]

    def write_answers(self, evaluations: Mapping[str, Evaluation], out: Path) -> dict[str, Any]:
        """Writes the answers and results of one model; returns what its provenance says of them."""
        shares = {}
        for benchmark, (answers, results) in evaluations.items():
            records.write(out / benchmark / "answers.parquet", "answers", answers)
            records.write_json(out / benchmark / "results.json", results)
            shares[benchmark] = results["strict"]
        tracking.send(self.report_to, str(out), shares, out)
        results_of_any = next(iter(evaluations.values())).results
        return {
            "engine": results_of_any["settings"],
            "requests": sum(len(evaluation.answers) for evaluation in evaluations.values()),
            "skipped": count_skipped([evaluation.answers for evaluation in evaluations.values()]),
            **record_outcome(count_rows(chain.from_iterable(answers for answers, _ in evaluations.values()))),
        }


class Regrade(Command):
    """Grade stored answers again, without a model.

    Reads and replaces every answers.parquet below a folder that `heal evaluate` has written.

    heal regrade results/mini/evals
    """

    folder: CliPositionalArg[Path]
    """The folder."""

    def run(self) -> None:
        regrade(self.folder)


class Evaluation(NamedTuple):
    """One model on one benchmark. answers: rows of schema `answers`; results: content of results.json."""

    answers: list[Row]
    results: Row


def build_answer(problem: Mapping[str, Any], repeat: int, text: str, n_tokens: int, truncated: bool) -> Row:
    """One answer with its verdict. truncated: it reached its token limit, and is wrong."""
    from evals.task_functions import grade

    verdict = grade(text, problem["answer"], truncated)
    return {
        "problem_id": problem["problem_id"],
        "repeat": repeat,
        "gold": problem["answer"],
        "text": text,
        "extracted": verdict.extracted,
        "strict": verdict.correct,
        "flexible": verdict.flexible,
        "reason": verdict.reason,
        "truncated": truncated,
        "n_tokens": n_tokens,
    }


def collect_answers(samples: Sequence[Mapping[str, Any]], repeats: int, tokenizer: Any, where: str) -> list[Row]:
    """Every answer that lm-eval logged, by question. Raises HealError where one is missing.

    where: the benchmark, for the error.
    """
    from evals.task_functions import CUT_OFF, NO_ROOM

    rows = []
    for sample in sorted(samples, key=lambda sample: sample["doc_id"]):
        texts = list(chain.from_iterable(sample["resps"]))
        if len(texts) != repeats:
            raise HealError(
                f"{len(texts)} of {repeats} answers to question {sample['doc_id'] + 1}",
                where=where,
                fix="a task with repeats needs a filter_list that keeps them all (take_first_k)",
            )
        answers = ["" if text == NO_ROOM else text.removesuffix(CUT_OFF) for text in texts]
        token_ids = tokenizer(answers, add_special_tokens=False)["input_ids"]
        for repeat, (text, answer, ids) in enumerate(zip(texts, answers, token_ids, strict=True)):
            row = build_answer(sample["doc"], repeat, answer, len(ids), text != answer)
            if text == NO_ROOM:
                row["reason"] = NO_ROOM_REASON
            rows.append(row)
    return rows


def describe_settings(config: Mapping[str, Any], lm: Any, model: ModelSource, engine: Engine, seed: int) -> Row:
    """What a score depends on besides model and problems; shown under every table.

    config: the task as lm-eval resolved it. lm: lm-eval's model.
    """
    from heal.engines.base import hash_template

    settings = describe_engine(lm, model, engine) | {
        "task_version": config["metadata"]["version"],
        "generation": dict(config["generation_kwargs"]),
        "repeats": config["repeats"],
        "num_fewshot": config["num_fewshot"],
        "chat_template_sha256": hash_template(lm.tokenizer),
        "batch_size": engine.max_num_seqs,
        "seed": seed,
        "lm_eval": version("lm_eval"),
        "math_verify": version("math_verify"),
    }
    if model.template_options:
        settings["template_options"] = dict(model.template_options)
    return settings


def describe_engine(lm: Any, model: ModelSource, engine: Engine) -> Row:
    """Name and version of the engine, and the number format of the weights."""
    from heal.engines.vllm_start import name_model_runner

    if model.endpoint:
        return {"engine": "endpoint", "dtype": "not told"}
    dtype = lm.model.llm_engine.model_config.dtype if engine.backend == "vllm" else lm.model.dtype
    package = importlib.import_module(engine.backend)  # vLLM's CPU build is a distribution of another name
    described = {"engine": f"{engine.backend} {package.__version__}", "dtype": str(dtype).removeprefix("torch.")}
    if engine.backend == "vllm":
        described["model_runner"] = name_model_runner(lm.model.llm_engine.vllm_config)
    return described


def compute_scores(rows: Sequence[Row]) -> Row:
    """The scores as lm-eval defines them: means over questions of means over repeats."""
    scores: Row = {"n_questions": len({row["problem_id"] for row in rows}), "n_answers": len(rows)}
    for name in (*READINGS, "truncated"):
        scores[name] = sum(row[name] for row in rows) / len(rows)
    return scores


def count_skipped(answers: Sequence[Sequence[Row]]) -> dict[str, int]:
    """Reason → number of answers that the model was not asked for."""
    reasons = [row["reason"] for row in chain.from_iterable(answers)]
    skipped = reasons.count(NO_ROOM_REASON)
    return {NO_ROOM_REASON: skipped} if skipped else {}


def open_model(model: ModelSource, engine: Engine, seed: int) -> Any:
    """lm-eval's model: of the configured engine, or of the model's endpoint. Raises HealError without a tokenizer."""
    from heal.engines.base import load_tokenizer

    if model.endpoint:
        from evals.endpoint_model import ServedModel

        load_tokenizer(model.path, model.revision)  # its errors name the fix; lm-eval's do not
        return ServedModel(model.path, model.revision, model.endpoint, model.template_options, engine.max_length)
    import torch
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # of loading
    torch.set_num_threads(engine.threads)
    if engine.backend == "vllm":
        load_tokenizer(model.path, model.revision)
        return open_vllm_model(model, engine, seed, torch.cuda.device_count())
    from evals.transformers_model import TransformersModel

    return TransformersModel(model, engine, seed)


def open_vllm_model(model: ModelSource, engine: Engine, seed: int, gpus: int) -> Any:
    """lm-eval's model on vLLM. Raises HealError where vLLM cannot start."""
    from heal.engines.base import get_first_line
    from heal.engines.vllm_start import find_start_fix, link_model, prepare_vllm

    start = prepare_vllm(gpus, engine.max_num_seqs, engine.max_length, engine.gpu_memory_utilization)
    from evals.vllm_model import VllmModel
    from heal.engines import vllm_top_p

    if not gpus:
        vllm_top_p.install()
    gc.freeze()  # vLLM collects garbage several times: that need not visit all that was imported
    try:
        return VllmModel(
            link_model(model.path) if gpus else model.path,
            model.template_options,
            revision=model.revision,
            tokenizer_revision=model.revision,
            dtype=engine.dtype,
            **start | {"seed": seed},
        )
    except (RuntimeError, ValueError, OSError) as error:
        problem = f"vLLM could not start ({get_first_line(error)})"
        raise HealError(problem, where=model.path, fix=find_start_fix(error)) from error


def load_tasks(problems: str, benchmarks: Sequence[str], seed: int) -> Any:
    """The benchmarks as lm-eval loads them, without examples in the prompt unless their files say so.

    problems: the folder.
    """
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(TASKS), include_defaults=False, metadata={"problems": problems})
    loaded = manager.load(list(benchmarks))
    for task in loaded["tasks"].values():
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=seed)
    return loaded


def evaluate(
    model: ModelSource, problems: str, benchmarks: Sequence[str], engine: Engine, seed: int
) -> dict[str, Evaluation]:
    """Benchmark → answers and results, by one call of lm-eval for all benchmarks. problems: the folder.

    The random state, the tasks and the model are made anew, so that an evaluation does not depend on earlier ones. Not
    by `simple_evaluate`, which also starts pip and other programs to describe the machine.
    """
    lm = open_model(model, engine, seed)
    from lm_eval.evaluator import evaluate as evaluate_loaded
    from transformers import set_seed

    try:
        loaded = load_tasks(problems, benchmarks, seed)
        set_seed(seed)
        output = evaluate_loaded(lm, loaded, apply_chat_template=True, log_samples=True, bootstrap_iters=0)
        evaluations = {}
        for benchmark in benchmarks:
            config = output["configs"][benchmark]
            answers = collect_answers(output["samples"][benchmark], config["repeats"], lm.tokenizer, benchmark)
            results: Row = {
                "settings": describe_settings(config, lm, model, engine, seed),
                "lm_eval": select_reported(output["results"][benchmark]),
            }
            evaluations[benchmark] = Evaluation(answers, results | compute_scores(answers))
        return evaluations
    finally:
        lm.close()


def select_reported(metrics: Mapping[str, Any]) -> Row:
    """lm-eval's own strict and flexible scores. metrics: "strict,none" → value, and others."""
    reported = {}
    for name, value in metrics.items():
        reading = name.split(",")[0]
        if reading in READINGS:
            reported[reading] = value
    return reported


def regrade(folder: Path) -> None:
    """Replaces the verdict of every answer stored below the folder. Raises HealError where there is none."""
    from evals.task_functions import grade

    paths = sorted(folder.rglob("answers.parquet"))
    if not paths:
        raise HealError(
            "no answers.parquet below it", where=str(folder), fix="give a folder that heal evaluate has written"
        )
    for path in paths:
        rows = records.read(path, "answers")
        for row in rows:
            if row["reason"] == NO_ROOM_REASON:
                continue
            verdict = grade(row["text"], row["gold"], row["truncated"])
            row |= {
                "extracted": verdict.extracted,
                "strict": verdict.correct,
                "flexible": verdict.flexible,
                "reason": verdict.reason,
            }
        records.write(path, "answers", rows)
        print(f"{path}: {compute_scores(rows)['strict']:.4f} of {len(rows)} answers right")
