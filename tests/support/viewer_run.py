"""A small run on disk for the tests of the trace viewer: text of any script, one token per byte, no model."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from heal import cli, records
from heal.config.experiment import Gear
from heal.config.options import changed_options
from heal.method.steps import split_text
from heal.records import Row, hash_content
from heal.worlds.mini import puzzles
from tests.support.run_factory import make_wrong_steps

END = "\n\n"
SCRIPT = "So <script>window.ran = 1</script> & <img src=x onerror='window.ran = 2'> </script><!-- is 7."
HEBREW, ARABIC = "התשובה היא שבע, כי 3 + 4 = 7.", "الجواب هو سبعة 🙂."


@dataclass(frozen=True)
class Story:
    """A wrong trace and its repair, each as steps; `new` follows the first `kept_steps` of the wrong one."""

    question: str
    wrong: Sequence[str]
    new: Sequence[str]
    kept_steps: int = 1
    answer: str = "7"
    hint: str = "Hint: the answer is 7."
    reason: str = ""  # why it is not accepted; no_breakpoint: no repair was tried
    detector: str = "entropy_surge"
    source: str = "local"
    surprise: float = 1.0  # NLL of the first new step, nats per token


def make_stories(count: int = 1) -> list[Story]:
    """Of every kind of verdict, under two detectors, with text that would be html, and text from right to left."""
    stories = []
    for i in range(count):
        question, wrong = f"What is 3 + 4, asked {i}?", ["First, 3 and 4.", "Then 3 + 4 = 8.", "So \\boxed{8}"]
        stories += [
            Story(question, wrong, ["Then 3 + 4 = 7.", "So \\boxed{7}"], surprise=0.5 + i),
            Story(question, wrong, ["Then 3 + 4 = 9.", "So \\boxed{9}"], reason="wrong", detector="random"),
            Story(f"<b>{i}</b> & {SCRIPT}", wrong, [SCRIPT, "So \\boxed{7}"], hint=SCRIPT, surprise=0.4),
            Story(f"{HEBREW} {i}", [HEBREW, ARABIC, "\\boxed{8}"], [ARABIC, "\\boxed{7}"], hint=HEBREW, surprise=0.3),
            Story(f"No breakpoint {i}", wrong, [], reason="no_breakpoint", detector="random"),
            Story(
                f"Started over {i}", wrong, ["It is 7.", "So \\boxed{7}"], kept_steps=0, detector="random", surprise=3.0
            ),
        ]
    return stories


def make_checked_stories() -> list[Story]:
    """Mini puzzles: repaired, repaired behind the error, and repaired with a new error."""
    puzzle = puzzles.generate("hard", 1, seed=0)[0]
    right, wrong = split_text(puzzles.build_solution(puzzle)), make_wrong_steps(puzzle, 2)
    common = {"question": puzzle.question, "answer": puzzle.answer, "source": "mini/train"}
    return [
        Story(wrong=wrong, kept_steps=1, new=right[1:], **common),
        Story(wrong=wrong, kept_steps=2, new=wrong[2:], detector="random", **common),
        Story(wrong=wrong, kept_steps=1, new=make_wrong_steps(puzzle, 3)[1:], detector="first_step", **common),
    ]


def save_tokenizer(folder: Path) -> Callable[[str], list[int]]:
    """Saves a tokenizer with one token per byte; returns its encoding."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template="{{ messages }}").save_pretrained(folder)
    return lambda text: tokenizer.encode(text).ids


def make_gear(detector: str) -> Gear:
    return Gear(detector=detector, min_step_tokens=1)


def make_entropies(ids: Sequence[int]) -> np.ndarray:
    """Some nats for every token, from 0 to 5, the same for the same tokens."""
    return np.random.default_rng(list(ids)).uniform(0, 5**0.25, len(ids)) ** 4


def write_run(
    folder: Path, stories: Sequence[Story], *, order: Callable[[list[Row]], list[Row]] = list, scores: bool = True
) -> Path:
    """One teacher `t`, teacher seed 0. `order` reorders the rows of every file."""
    encode = save_tokenizer(folder / "tokenizer")
    traces = folder / "traces/t/teacher_seed0"
    problems: dict[str, Row] = {}
    samples: dict[str, Row] = {}
    grades: dict[str, Row] = {}
    repairs: dict[str, list[Row]] = {}
    scored: dict[str, list[Row]] = {}
    for story in stories:
        rows = make_rows(story, encode)
        problems[rows["problem"]["problem_id"]] = rows["problem"]
        samples[rows["sample"]["trace_id"]] = rows["sample"]
        grades[rows["sample"]["trace_id"]] = rows["grade"]
        repairs.setdefault(story.detector, []).append(rows["repair"])
        scored.setdefault(story.detector, []).extend([rows["score"]] if rows["repair"]["accepted"] else [])
    records.write(folder / "problems/train.parquet", "problems", order(list(problems.values())))
    records.write(traces / "samples.parquet", "samples", order(list(samples.values())))
    records.write(traces / "grades.parquet", "grades", order(list(grades.values())))
    for detector in repairs:
        records.write(traces / f"repairs/{detector}-0.parquet", "repairs", order(repairs[detector]))
        options = {"gear": changed_options(make_gear(detector))}
        provenance: dict[str, Any] = {"command": "repair", "options": options}
        provenance["engine"] = {"model": str(folder / "tokenizer"), "revision": None, "engine": "transformers"}
        records.write_json(traces / f"repairs/{detector}-0.parquet.provenance.json", provenance)
        if scores:
            records.write(traces / f"scores/{detector}-0.parquet", "scores", order(scored[detector]))
    return folder


def make_rows(story: Story, encode: Callable[[str], list[int]]) -> dict[str, Row]:
    """problem, sample, grade, repair, score."""
    tried = story.reason != "no_breakpoint"
    problem_id = hash_content(story.question)
    problem = {"problem_id": problem_id, "question": story.question, "answer": story.answer, "solution": None}
    wrong = [step + END for step in story.wrong[:-1]] + [story.wrong[-1]]
    ids = encode("".join(wrong))
    ends = np.cumsum([len(encode(step)) for step in wrong])
    nats = make_entropies(ids)
    step_nats = np.array([part.mean() for part in np.split(nats, ends[:-1])])
    sample = {
        "trace_id": hash_content("sample", problem_id),
        "problem_id": problem_id,
        "index": 0,
        "text": "".join(wrong),
        "token_ids": ids,
        "logprobs": -nats,
        "entropies": nats,
        "entropies_upper": None,
        "finish_reason": "stop",
    }
    grade = {"trace_id": sample["trace_id"], "problem_id": problem_id, "extracted": "8", "correct": False}
    kept_text, new = "".join(wrong[: story.kept_steps]) if tried else "", END.join(story.new)
    new_ids = encode(new)
    repair = {
        "trace_id": hash_content("repair", sample["trace_id"], kept_text, new) if tried else None,
        "problem_id": problem_id,
        "source_id": sample["trace_id"],
        "index": 0,
        "detector": story.detector,
        "step_entropies": step_nats,
        "surges": np.diff(step_nats, prepend=0.5),
        "breakpoint": story.kept_steps + 1 if tried else None,
        "kept_steps": story.kept_steps if tried else 0,
        "cut_certain": None,
        "kept": kept_text,
        "hint": story.hint if tried else None,
        "continuation": new,
        "text": kept_text + new,
        "token_ids": encode(kept_text) + new_ids if tried else [],
        "logprobs": -make_entropies(new_ids),
        "entropies": make_entropies(new_ids),
        "finish_reason": "stop" if tried else "none",
        "extracted": story.answer if tried else None,
        "accepted": not story.reason,
        "reason": story.reason,
    }
    steps = [*wrong[: story.kept_steps], *(step + END for step in story.new[:-1]), *story.new[-1:]]
    surprise = [0.1] * story.kept_steps + [story.surprise] + [0.1] * (len(story.new) - 1)
    sure = [1.0] * story.kept_steps + [0.01] * len(story.new)
    score = {
        "trace_id": repair["trace_id"],
        "problem_id": problem_id,
        "origin": "repair",
        "steps": steps,
        "statement": len(steps),
        **dict.fromkeys(("nll_mean", "nll_top20", "nll_max"), surprise),
        **dict.fromkeys(("uncertainty_product", "uncertainty_mean"), sure),
        "statement_nll": 0.25,
    }
    return {
        "problem": problem | {"source": story.source, "difficulty": ""},
        "sample": sample,
        "grade": grade | {"reason": "wrong"},
        "repair": repair,
        "score": score,
    }


def write_page(run, *options):
    """The page of a run, written as the command does."""
    out = run / "page.html"
    arguments = sys.argv
    sys.argv = ["heal", "view", "--run-folder", str(run), "--out", str(out), *options]
    try:
        cli.main(sys.argv[1:])
    finally:
        sys.argv = arguments
    return out.read_text(encoding="utf-8")


def read_page_data(html):
    """The data on a page, as a browser would read it: the block ends at the first end tag."""
    return json.loads(html.partition('<script type="application/json" id="data">')[2].partition("</script>")[0])
