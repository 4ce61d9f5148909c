"""Situations from public threads, each against the code that meets it: data files, configs, templates, endpoints, …

The cases are in ../shared/data/user_cases.jsonl, or below the folder that HEAL_SHARED_DATA names; without it they are
skipped. Cases of grading are in tests/grading. Every kind has a law of its own next to the code that it is about.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heal import cli
from heal.config.data import Dataset
from heal.config.models import ModelSource, Train
from heal.config.run_config import read_run_config
from heal.data import load_problems
from heal.end_token import list_special_ids
from heal.errors import HealError
from heal.grading.grader import Grader
from heal.method.entropy import bound_entropies
from tests.support.misbehaving_server import Misbehaving, list_models
from tests.support.paths import SHARED_DATA
from tests.support.user_models import STUDENT, make_tokenizing_engine, save_user_model

FILES = SHARED_DATA / "user_cases"
TEACHER = "heal/worlds/mini/models/teacher"

NOT_RUN = {
    "snakemake_config": "needs Snakemake; its parts: test_yaml_files.py (texts), test_layers.py (a second file)",
    "snakemake_paths": "needs Snakemake; a path with braces is refused: test_experiment.py",
    "snakemake_state": "needs Snakemake; a file from the future is refused: test_read_rows.py",
    "snakemake_targets": "needs a finished run",
    "lm_eval": "needs a benchmark run",
}
"""Kind → why its cases are not run here, and where their laws are."""

HELD_WRONG: dict[str, str] = {}
"""Case → why its expectation does not hold."""

WORDING = {
    "models and data sets: all there, and as they should be": "models and data sets: all present and usable",
}
"""Sentences of the code as a case quotes them → as they are today."""

FORMER_CONFIG = {
    r"^seeds:": "training_seeds:",
    r"\brows:": "max_num_seqs:",
    r"\bbatch:": "batch_size:",
    r"\bsteps:": "max_steps:",
    r"save_steps: 4": "save_minutes: 0.001",
    r"\bkind:": "method:",
    r"heal/mini/": "heal/worlds/mini/",
    r"gear: \{hint: \{source: none\}\}": "gear: no_hint",
    r"^methods:": "gear_variants:\n  no_hint: {hint: {source: none}}\n\nmethods:",
}
"""Keys of the configs in the cases, as patterns → as they are today."""
FORMER_FIELDS = {"seeds": "training_seeds"}


def read_cases() -> list[Any]:
    """The cases that are not about grading."""
    path = SHARED_DATA / "user_cases.jsonl"
    if not path.is_file():
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"there is no {path}"))]
    cases = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [pytest.param(case, id=case["id"]) for case in cases if case["run"] != "grade"]


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader() as shared:
        yield shared


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Name → folder of the model, saved once."""
    folder = tmp_path_factory.mktemp("models")

    def get(name: str) -> Path:
        return folder / name if (folder / name).exists() else save_user_model(name, folder / name)

    return get


@pytest.fixture
def run_case(
    tmp_path: Path, models: Callable[[str], Path], server: Any, capsys: pytest.CaptureFixture[str], grader: Grader
) -> Callable[[str, Any], dict[str, Any]]:
    """(kind of run, input) → what the code gave, by name."""

    def run_dataset(given: Any) -> dict[str, Any]:
        rows, left_out = load_problems.collect(
            Dataset.model_validate({"source": "file", "path": str(FILES / given["file"])} | given["options"]), seed=0
        )
        golds = [row["answer"] for row in rows]
        return {"rows": len(rows), "golds": golds, "left_out": len(left_out)}

    def run_import(given: Any) -> dict[str, Any]:
        cli.main(["import", str(FILES / given["file"])])
        return {"output": capsys.readouterr().out}

    def run_trace(given: Any) -> dict[str, Any]:
        from heal.engines.base import load_tokenizer
        from heal.pipeline.import_traces import encode_trace

        engine = make_tokenizing_engine(load_tokenizer(str(models(given["model"]))), given["model"])
        ids = encode_trace(engine, given["text"], "file, row 1")
        inside = [token for token in ids[:-1] if token in list_special_ids(engine.tokenizer)]
        return {"eos": ids.count(engine.end_token_id), "control_tokens_inside": len(inside)}

    def run_template(given: Any) -> dict[str, Any]:
        from heal.end_token import find_end_token
        from heal.engines.base import load_tokenizer
        from heal.training.conversations import encode

        tokenizer = load_tokenizer(str(models(given["model"])))
        tokenizer.eos_token = find_end_token(tokenizer, "the model")
        prompts = [make_tokenizing_engine(tokenizer, "the model").tokenize_chat("What is 1+1?") for _ in range(2)]
        turns = [{"role": "user", "content": "What is 1+1?"}, {"role": "assistant", "content": "So \\boxed{2}."}]
        (example,) = encode(tokenizer, [{"id": "a", "messages": turns}], "the model")
        trained = tokenizer.decode([token for token in example.labels if token >= 0])
        return {"trained": trained, "same_prompt_later": prompts[0] == prompts[1]}

    def write_config(given: Any) -> str:
        text = (FILES / given["file"]).read_text("utf-8")
        for pattern, today in FORMER_CONFIG.items():
            text = re.sub(pattern, today, text, flags=re.MULTILINE)
        if "FILES/models/lfs" in text:
            text = text.replace("FILES/models/lfs", str(models("lfs")))
        path = tmp_path / Path(given["file"]).name
        path.write_text(text, "utf-8")
        return str(path)

    def run_config(given: Any) -> dict[str, Any]:
        config = read_run_config(write_config(given))
        return {"loaded": {name: config.look_up(FORMER_FIELDS.get(name, name)) for name in given["show"]}}

    def run_check(given: Any) -> dict[str, Any]:
        try:
            cli.main(["check", "--config", write_config(given)])
        except HealError as error:
            raise HealError(f"{capsys.readouterr().err}{error}") from None
        return {"output": capsys.readouterr().out}

    def open_endpoint(given: Any, owner: str) -> Any:
        from heal.engines.endpoint import EndpointEngine

        endpoint = server(*map(tuple, given["answers"]), retries=1)
        Misbehaving.models = tuple(given["models"]) if "models" in given else list_models(owner)
        return EndpointEngine(TEACHER, endpoint=endpoint)

    def run_endpoint(given: Any) -> dict[str, Any]:
        from heal.engines.base import Request, Sampling

        engine = open_endpoint(given, "vllm" if given.get("vllm") else "somebody")
        ((completion,),) = engine.generate([Request((5, 6), (3,))], Sampling(max_new_tokens=9))
        arrays = [completion.logprobs, completion.entropies, completion.entropies_upper]
        return {"finite": is_usable(*arrays) and len(completion.token_ids) == len(completion.logprobs)}

    def run_score(given: Any) -> dict[str, Any]:
        (score,) = open_endpoint(given, "vllm").score([((5, 6), (7, 8))])
        return {"finite": is_usable(score.logprobs, score.entropies, score.entropies_upper)}

    def run_entropy(given: Any) -> dict[str, Any]:
        logprobs = np.array([[float(value) for value in given["top"]]])
        return {"finite": is_usable(logprobs.max(-1), *bound_entropies(logprobs, given["vocabulary"]))}

    def run_train(given: Any) -> dict[str, Any]:
        from heal.training.training import Training

        names = {"batch": "batch_size"}
        changes = {names.get(name, name): value for name, value in given["options"].items()}
        options = Train.model_validate({"max_steps": 2, "batch_size": 4} | changes)
        folder = models(given["model"]) if given["model"] else STUDENT
        training = Training(FILES / given["file"], ModelSource(path=str(folder)), options, "cumulative")
        training.train_student(0, tmp_path / "student")
        return {"examples": len(training.training_set.examples)}

    def run_truncated(given: Any) -> dict[str, Any]:
        from evals.run import build_answer

        problem = {"problem_id": "p", "question": "?", "answer": given["gold"]}
        count, limit = given["n_tokens"], given["limit"]
        answer = build_answer(problem, 0, given["text"], count, truncated=count >= limit)
        return {"verdict": "correct" if answer["strict"] else "wrong"}

    def run_compare(given: Any) -> dict[str, Any]:
        verdict = grader.compare(given["gold"], given["answer"])
        return {"verdict": "correct" if verdict == "correct" else "wrong"}

    runs = {
        "dataset": run_dataset,
        "import_file": run_import,
        "trace": run_trace,
        "template": run_template,
        "config": run_config,
        "check": run_check,
        "endpoint": run_endpoint,
        "score": run_score,
        "entropy": run_entropy,
        "train": run_train,
        "truncated": run_truncated,
        "compare": run_compare,
    }

    def run(kind: str, given: Any) -> dict[str, Any]:
        try:
            return runs[kind](given)
        except HealError as error:
            message = str(error)
            if "file" in given:  # a case expects words of the message, which may be in the file's name too
                name = Path(given["file"])
                message = message.replace(str(FILES), "").replace(name.name, f"FILE{name.suffix}")
            return {"refused": message}

    return run


def is_usable(logprobs: Any, low: Any, high: Any) -> bool:
    """Whether log-probs and entropy bounds are numbers, of one length, and the bounds in order."""
    same = len(logprobs) == len(low) == len(high)
    return same and all(np.isfinite(values).all() for values in (logprobs, low, high)) and bool((low <= high).all())


def find_difference(outcome: dict[str, Any], expected: Any, grader: Grader) -> str | None:
    """How the outcome differs from what a case expects; None where it is as expected."""
    if isinstance(expected, str):
        return None if outcome.get("verdict") == expected else f"not {expected}"
    refused = outcome.get("refused")
    for name, value in expected.items():
        if name == "any":
            differences = [find_difference(outcome, one, grader) for one in value]
            agrees = not all(differences)
        elif name == "refuse":
            agrees = refused is not None and re.search(value, refused) is not None
        elif name == "not":
            agrees = re.search(value, str(outcome)) is None
        elif name == "gold_matches":
            golds = outcome.get("golds", [])
            agrees = bool(golds) and all(grader.grade(f"\\boxed{{{value}}}", gold).correct for gold in golds)
        elif name == "check":
            agrees = WORDING.get(value, value) in outcome.get("output", "")
        elif name == "load":
            loaded = outcome.get("loaded")
            agrees = loaded is not None and {key: loaded[key] for key in value} == value
        else:
            agrees = refused is None and outcome[name] == value
        if not agrees:
            return f"{name}: expected {value!r}"
    return None


@pytest.mark.parametrize("case", read_cases())
def test_a_users_case(case: Any, run_case: Callable[[str, Any], dict[str, Any]], grader: Grader) -> None:
    if case["kind"] in NOT_RUN:
        pytest.skip(NOT_RUN[case["kind"]])
    if case["id"] in HELD_WRONG:
        pytest.skip(f"held to be wrong: {HELD_WRONG[case['id']]}")
    outcome = run_case(case["run"], case["input"])
    difference = find_difference(outcome, case["expected"], grader)
    assert difference is None, f"{case['source']}: {difference}\nfound {outcome}"
