"""Evaluate one model on benchmarks with lm-eval, in one process, and keep every answer.

Reads a model and a run's problems; writes per benchmark `answers.parquet` (every answer with its verdict) and
`results.json` (lm-eval's scores with the settings they depend on; no times, so that two runs give the same bytes).

    python -m evals.run --model results/mini/students/default/draw0/tiny/heal/seed0/model \\
        --problems results/mini/problems --benchmarks mini_easy mini_hard --out evals-of-heal
    python -m evals.run --regrade evals-of-heal          # verdicts again, without a model
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from heal import records
from heal.command import command_parser
from heal.config.experiment import Engine, Model
from heal.engines import gpu_lease as devices
from heal.engines.open import model_of
from heal.errors import HealError, exit_with_errors
from heal.pipeline.runner import read_options
from heal.provenance import recorded
from heal.records import Row
from heal.registry import check_benchmarks
from heal.training import tracking

TASKS = Path(__file__).parent / "tasks"


def answer_row(problem: Mapping[str, Any], repeat: int, text: str, n_tokens: int, limit: int) -> Row:
    """One answer with its verdict; one that fills the token limit did not end by itself."""
    from evals.task_functions import grade

    verdict, truncated = grade(text, problem["answer"]), n_tokens >= limit
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


def answer_rows(
    samples: Sequence[Mapping[str, Any]], repeats: int, tokenizer: Any, limit: int, where: str
) -> list[Row]:
    """Every answer that lm-eval logged. Raises HealError where one is missing."""
    rows = []
    for sample in sorted(samples, key=lambda sample: sample["doc_id"]):
        texts = [text for responses in sample["resps"] for text in responses]
        if len(texts) != repeats:
            raise HealError(
                f"{len(texts)} of {repeats} answers to question {sample['doc_id'] + 1}",
                where=where,
                fix="a task with repeats needs a filter_list that keeps them all (take_first_k)",
            )
        lengths = [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
        rows += [
            answer_row(sample["doc"], repeat, text, length, limit)
            for repeat, (text, length) in enumerate(zip(texts, lengths, strict=True))
        ]
    return rows


def settings(config: Mapping[str, Any], lm: Any, model: Model, engine: Engine, seed: int) -> Row:
    """What a score depends on beside model and problems; it belongs under every table."""
    from heal.engines.base import template_hash

    if model.endpoint:
        how = {"engine": "endpoint", "dtype": "not told"}
    else:
        dtype = lm.model.llm_engine.model_config.dtype if engine.backend == "vllm" else lm.model.dtype
        its_version = importlib.import_module(
            engine.backend
        ).__version__  # vLLM's CPU build is a package of another name
        how = {"engine": f"{engine.backend} {its_version}", "dtype": str(dtype).removeprefix("torch.")}
    return how | {
        "task_version": config["metadata"]["version"],
        "generation": {key: value for key, value in config["generation_kwargs"].items()},
        "repeats": config["repeats"],
        "num_fewshot": config["num_fewshot"],
        "chat_template_sha256": template_hash(lm.tokenizer),
        **({"template_options": dict(model.template_options)} if model.template_options else {}),
        "batch_size": engine.max_num_seqs,
        "seed": seed,
        "lm_eval": version("lm_eval"),
        "math_verify": version("math_verify"),
    }


def scores(rows: Sequence[Row]) -> Row:
    """The scores as lm-eval means them: means over questions of means over repeats."""
    count = len(rows)
    return {
        "n_questions": len({row["problem_id"] for row in rows}),
        "n_answers": count,
        **{name: sum(row[name] for row in rows) / count for name in ("strict", "flexible", "truncated")},
    }


def open_model(model: Model, engine: Engine, seed: int) -> Any:
    """lm-eval's model: of the configured engine, or of the model's endpoint."""
    from heal.engines.base import load_tokenizer

    load_tokenizer(model.path, model.revision)  # says what is wrong with it before lm-eval would not
    if model.endpoint:
        from evals.endpoint_model import Served

        return Served(model.path, model.revision, model.endpoint, model.template_options)
    import torch
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # of loading; lm-eval's own stays
    torch.set_num_threads(engine.threads)
    # Told that a model thinks, lm-eval cuts the thinking off its answers; here they are kept whole.
    given = model.template_options.items()
    template = {key: value for key, value in given if (key, value) != ("enable_thinking", True)}
    common = {"pretrained": model.path, "dtype": engine.dtype, "chat_template_args": template}
    if engine.backend == "vllm":
        from lm_eval.models.vllm_causallms import VLLM

        from heal.engines.vllm import start_options

        start = start_options(
            torch.cuda.device_count(), engine.max_num_seqs, engine.max_length, engine.gpu_memory_utilization
        )
        return VLLM(**common, revision=model.revision, tokenizer_revision=model.revision, **start | {"seed": seed})
    from lm_eval.models.huggingface import HFLM

    device = ("cuda:0" if torch.cuda.is_available() else "cpu") if engine.device == "auto" else engine.device
    start = {"device": device, "batch_size": engine.max_num_seqs, "trust_remote_code": False}
    return HFLM(**common, revision=model.revision or "main", **start)


def evaluate(
    model: Model, problems: str, benchmarks: Sequence[str], engine: Engine, seed: int
) -> dict[str, tuple[list[Row], Row]]:
    """Benchmark → (answers, results), by one call of lm-eval for all benchmarks."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    lm = open_model(model, engine, seed)
    manager = TaskManager(include_path=str(TASKS), include_defaults=False, metadata={"problems": problems})
    found = simple_evaluate(
        model=lm,
        tasks=list(benchmarks),
        task_manager=manager,
        apply_chat_template=True,
        log_samples=True,
        bootstrap_iters=0,
        random_seed=seed,
        numpy_random_seed=seed,
        torch_random_seed=seed,
        fewshot_random_seed=seed,
    )
    finished = {}
    for benchmark in benchmarks:
        config = found["configs"][benchmark]
        limit = config["generation_kwargs"]["max_gen_toks"]
        rows = answer_rows(found["samples"][benchmark], config["repeats"], lm.tokenizer, limit, benchmark)
        reported = {
            name.split(",")[0]: value
            for name, value in found["results"][benchmark].items()
            if name.split(",")[0] in ("strict", "flexible")
        }
        made = settings(config, lm, model, engine, seed)
        finished[benchmark] = (rows, {"settings": made, "lm_eval": reported, **scores(rows)})
    return finished


def regrade(folder: Path) -> None:
    """Gives every kept answer below the folder its verdict again; no model is needed."""
    from evals.task_functions import grade

    found = sorted(folder.rglob("answers.parquet"))
    if not found:
        raise HealError(
            "no answers.parquet below it", where=str(folder), fix="give a folder that evals.run has written"
        )
    for path in found:
        rows = records.read(path, "answers")
        for row in rows:
            verdict = grade(row["text"], row["gold"])
            row |= {
                "extracted": verdict.extracted,
                "strict": verdict.correct,
                "flexible": verdict.flexible,
                "reason": verdict.reason,
            }
        records.write(path, "answers", rows)
        print(f"{path}: {scores(rows)['strict']:.4f} of {len(rows)} answers right")


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--model", help="model folder or hub id")
    parser.add_argument("--revision", help="for a hub id: the commit")
    parser.add_argument("--template-options", default="{}", help="the chat template's arguments as JSON")
    parser.add_argument("--endpoint", help="where the model is served, as JSON")
    parser.add_argument("--problems", help="the folder with the run's problems")
    parser.add_argument("--benchmarks", nargs="+", default=[], help="tasks under evals/tasks/")
    parser.add_argument("--out", help="the folder that gets one folder per benchmark")
    parser.add_argument("--engine", default="{}", help="engine options as JSON")
    parser.add_argument("--gpus", type=int, default=1, help="GPUs to take, where there are any")
    parser.add_argument("--seed", type=int, default=0, help="of sampled answers")
    parser.add_argument("--report-to", nargs="*", default=[], help="trackers that the scores are sent to")
    parser.add_argument("--regrade", help="a folder with answers: verdicts again, nothing else")
    arguments = parser.parse_args()
    if arguments.regrade:
        return regrade(Path(arguments.regrade))
    for needed in ("model", "problems", "benchmarks", "out"):
        if not getattr(arguments, needed):
            raise HealError("missing", where=f"--{needed}", fix="give it, or --regrade FOLDER")
    check_benchmarks(arguments.benchmarks, where="--benchmarks")
    engine = read_options(Engine, arguments.engine, "--engine")
    tracking.check(arguments.report_to, "--report-to")
    model = model_of(arguments)
    devices.lease(0 if engine.device == "cpu" or model.endpoint else arguments.gpus)
    with recorded(Path(arguments.out) / "evaluation", "evals.run", options=vars(arguments), seeds=[arguments.seed]):
        finished = evaluate(model, arguments.problems, arguments.benchmarks, engine, arguments.seed)
        for benchmark, (rows, results) in finished.items():
            records.write(Path(arguments.out) / benchmark / "answers.parquet", "answers", rows)
            records.write_json(Path(arguments.out) / benchmark / "results.json", results)
        shares = {benchmark: results["strict"] for benchmark, (_, results) in finished.items()}
        tracking.send(arguments.report_to, arguments.out, shares, Path(arguments.out))


if __name__ == "__main__":
    exit_with_errors(main)
