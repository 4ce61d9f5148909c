"""Synthetic traces in the numbers and lengths that `heal plan` assumes of the paper preset, for benchmarks.scale.

Writes problems, samples, guided samples, repairs, scores, student files and answers: 919 problems, 30 samples of about
15,000 tokens, the rest in proportion. Nothing is learned from the numbers in these files but their size.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from heal import records
from heal.records import Row
from heal.registry import discover_methods

ROOT = Path(__file__).parent.parent
PRESET = ROOT / "config/paper.yaml"
RUN = "results/scale"
TEACHER, STUDENT = "teacher", "student"
TRACES = f"{RUN}/traces/{TEACHER}/teacher_seed0"
PROBLEMS, SAMPLES_PER_PROBLEM, TRACE_TOKENS = 919, 30, 15_000
"""Of the preset: problems, samples of each, tokens of a trace on average."""
STEP_TOKENS = 50
TREATED_SHARE, GUIDED_SHARE = 0.13, 0.3
"""Problems for GEAR, and problems with a pass rate below one half: assumptions of `heal plan`."""
CUTS_PER_PROBLEM, REPAIRS_PER_CUT, KEPT_SHARE = 9, 20, 0.167
CALIBRATION_TRACES = 200
CONTINUATIONS = (4, 4)
"""Cuts of a solved problem's first sample, and continuations from each."""
ANSWERED_QUESTIONS, REPEATS = 938, 4
"""As many answers of each model as to the preset's benchmarks."""
TRAINING_SEEDS = 5
COMPARED = ("rejection_sampling", "rs_matched", "guided", "heal")
SHARDS = 16
SPECIAL = ("<|end|>", "\n\n", "\\boxed{", "}", *map(str, range(10)))
END, BLANK, BOX, CLOSE, FIRST_DIGIT = 0, 1, 2, 3, 4
WORDS = 4000
POOL = 1 << 22
"""Random numbers that traces are cut from."""


class Writer:
    """Writes the synthetic run of one size into a folder."""

    def __init__(self, folder: Path, share: float) -> None:
        self.folder = folder
        self.count = max(10, round(PROBLEMS * share))
        self.share = share
        rng = np.random.default_rng(0)
        self.pieces = [*SPECIAL, *make_words(rng)]
        self.texts = np.array(["", *self.pieces[1:]], dtype=object)
        ranks = rng.zipf(1.2, POOL) % (len(self.pieces) - len(SPECIAL))
        self.token_pool = (ranks + len(SPECIAL)).astype(np.int32)
        is_blank = rng.random(POOL) < 1 / STEP_TOKENS
        self.token_pool[1:][is_blank[1:] & ~is_blank[:-1]] = BLANK
        self.entropy_pool = rng.gamma(0.3, 0.8, POOL).astype(np.float32)
        self.tokens: dict[str, int] = {}
        """Table → tokens of its traces."""

    def write_tables(self, tables: set[str]) -> None:
        """Writes these tables and the base samples."""
        self.write_tokenizer()
        self.write_problems()
        self.write_samples()
        self.tokens["guided"] = 0
        if "guided" in tables:
            self.write_guided()
        if {"repairs", "scores"} & tables:
            self.write_repairs_and_scores()
        if {"ranks", "continuations"} & tables:
            self.write_student_files()
        if "answers" in tables:
            self.write_answers()

    @cache  # noqa: B019 one object per size
    def get_gold(self, problem: int) -> int:
        return int(np.random.default_rng([1, problem]).integers(100, 1000))

    def get_pass_rate(self, problem: int) -> float:
        """Rates are the same at every size: the hard problems are spread evenly."""
        place = (problem * 0.618034) % 1
        if place < TREATED_SHARE:
            return 0.0
        return 0.3 if place < GUIDED_SHARE else 0.8

    def is_correct(self, problem: int, index: int) -> bool:
        return (index * 0.618034 + 0.3) % 1 < self.get_pass_rate(problem)

    def make_ids(self, seed: list[int], answer: int, kept: np.ndarray | None = None) -> np.ndarray:
        """Tokens of a trace that ends with a boxed answer, behind kept ones."""
        rng = np.random.default_rng(seed)
        length = int(TRACE_TOKENS * rng.uniform(0.5, 1.5)) - (0 if kept is None else len(kept))
        start = int(rng.integers(0, POOL - 2 * TRACE_TOKENS))
        digits = [FIRST_DIGIT + int(digit) for digit in str(answer)]
        ending = np.array([BLANK, BOX, *digits, CLOSE, END], np.int32)
        reasoning = self.token_pool[start : start + max(length, 100)].copy()
        reasoning[[0, -1]] = len(SPECIAL)  # no blank line follows another
        parts = [reasoning, ending]
        return np.concatenate(parts if kept is None else [kept, *parts])

    def make_values(self, seed: list[int], count: int) -> np.ndarray:
        start = int(np.random.default_rng(seed).integers(0, POOL - 2 * TRACE_TOKENS))
        return self.entropy_pool[start : start + count]

    def decode(self, ids: np.ndarray) -> str:
        return "".join(self.texts[ids])

    def make_sample(self, problem: int, index: int, kind: int = 0) -> Row:
        correct = self.is_correct(problem, index) if kind == 0 else index % 2 == 0
        answer = self.get_gold(problem) if correct else 1000 + (index * 7919 + problem) % 9000
        ids = self.make_ids([2, kind, problem, index], answer)
        entropies = self.make_values([3, kind, problem, index], len(ids))
        self.tokens["samples" if kind == 0 else "guided"] += len(ids)
        return {
            "trace_id": f"{kind:02x}{problem:08x}{index:06x}",
            "problem_id": f"p{problem:08x}",
            "index": index,
            "text": self.decode(ids),
            "token_ids": ids,
            "logprobs": -entropies,
            "entropies": entropies,
            "entropies_upper": entropies,
            "finish_reason": "stop",
        }

    def write_tokenizer(self) -> None:
        """A tokenizer in which every piece is a token, in the folder `tokenizer`."""
        from tokenizers import Tokenizer, decoders, models
        from transformers import PreTrainedTokenizerFast

        tokenizer = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(self.pieces)}, unk_token=SPECIAL[0]))
        tokenizer.decoder = decoders.Fuse()
        whole = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=SPECIAL[0], unk_token=SPECIAL[0])
        whole.chat_template = "{{ messages[0]['content'] }}"
        whole.save_pretrained(self.folder / "tokenizer")

    def write_problems(self) -> None:
        rows = []
        for problem in range(self.count):
            row: Row = {"problem_id": f"p{problem:08x}", "question": f"Question {problem}: " + "what is it? " * 20}
            solution = f"Since {problem}, it is.\n\n\\boxed{{{self.get_gold(problem)}}}"
            row |= {"answer": str(self.get_gold(problem)), "solution": solution, "source": "file", "difficulty": "1"}
            rows.append(row)
        for split in ("train", "math500"):
            records.write(self.folder / RUN / f"problems/{split}.parquet", "problems", rows)

    def write_samples(self) -> None:
        """The shards of the base samples, and their grades."""
        self.tokens["samples"] = 0
        grades = []
        for shard in range(SHARDS):
            path = self.folder / TRACES / f"shards/samples/{shard}.parquet"
            with records.open_writer(path, "samples", {"prefill": 150 * self.count // SHARDS}) as writer:
                for problem in range(self.count * shard // SHARDS, self.count * (shard + 1) // SHARDS):
                    for index in range(SAMPLES_PER_PROBLEM):
                        row = self.make_sample(problem, index)
                        writer.add_row(row)
                        correct = self.is_correct(problem, index)
                        answer = self.get_gold(problem) if correct else 1000 + (index * 7919 + problem) % 9000
                        verdict = {"extracted": str(answer), "correct": correct, "reason": "" if correct else "wrong"}
                        grades.append({name: row[name] for name in ("trace_id", "problem_id")} | verdict)
        records.write(self.folder / TRACES / "grades.parquet", "grades", grades)
        own = self.folder / TRACES / f"students/{STUDENT}/grades.parquet"
        records.write(own, "grades", grades)

    def list_problems(self, below: float) -> list[int]:
        return [problem for problem in range(self.count) if self.get_pass_rate(problem) < below]

    def write_guided(self) -> None:
        path = self.folder / TRACES / "guided.parquet"
        usage = {"generated": round(GUIDED_SHARE * self.count) * SAMPLES_PER_PROBLEM * TRACE_TOKENS}
        with records.open_writer(path, "guided", usage) as writer:
            for problem in self.list_problems(0.5):
                for index in range(SAMPLES_PER_PROBLEM):
                    accepted = index % 2 == 0
                    verdict = {"extracted": "1", "accepted": accepted, "reason": "" if accepted else "wrong"}
                    writer.add_row(self.make_sample(problem, index, kind=1) | verdict)

    def make_repairs(self, problem: int, source_index: int) -> Iterator[Row]:
        """The repairs of one cut."""
        tokens = self.tokens["samples"]
        source = self.make_sample(problem, source_index)
        self.tokens["samples"] = tokens  # made again, not written again
        ids, entropies = source["token_ids"], source["entropies"]
        borders = np.flatnonzero(ids == BLANK) + 1
        sums = np.add.reduceat(entropies, np.concatenate([[0], borders]))
        kept_steps = max(1, int(KEPT_SHARE * len(borders)))
        kept = ids[: borders[kept_steps - 1]]
        for index in range(REPAIRS_PER_CUT):
            accepted = index % 2 == 0
            answer = self.get_gold(problem) if accepted else 5
            whole = self.make_ids([4, problem, source_index, index], answer, kept)
            new = self.make_values([5, problem, source_index, index], len(whole) - len(kept))
            self.tokens["repairs"] += len(whole)
            kept_text, continuation = self.decode(kept), self.decode(whole[len(kept) :])
            yield {
                "trace_id": f"r{problem:06x}{source_index:04x}{index:04x}",
                "problem_id": source["problem_id"],
                "source_id": source["trace_id"],
                "index": index,
                "detector": "entropy_surge",
                "step_entropies": sums / STEP_TOKENS,
                "surges": np.diff(sums / STEP_TOKENS, prepend=0.3),
                "breakpoint": kept_steps + 1,
                "kept_steps": kept_steps,
                "cut_certain": True,
                "kept": kept_text,
                "hint": "Wait.",
                "continuation": continuation,
                "text": kept_text + continuation,
                "token_ids": whole,
                "logprobs": -new,
                "entropies": new,
                "finish_reason": "stop",
                "extracted": str(answer),
                "accepted": accepted,
                "reason": "" if accepted else "wrong",
            }

    def make_score(self, row: Row, origin: str) -> Row:
        ids = row["token_ids"]
        borders = np.flatnonzero(ids == BLANK) + 1
        pieces = self.texts[ids]
        steps = ["".join(part) for part in np.split(pieces, borders)]
        nll = self.make_values([6, len(ids)], len(steps))
        sure = np.linspace(1, 0, len(steps), dtype=np.float32)
        self.tokens["scores"] += len(ids)
        return {
            "trace_id": row["trace_id"],
            "problem_id": row["problem_id"],
            "origin": origin,
            "steps": steps,
            "statement": len(steps),
            "nll_mean": nll,
            "nll_top20": nll,
            "nll_max": nll,
            "uncertainty_product": sure,
            "uncertainty_mean": sure,
            "statement_nll": 0.1,
        }

    def write_repairs_and_scores(self) -> None:
        """Repairs of every treated problem; scores of the accepted ones, of guided samples and of base samples."""
        self.tokens |= {"repairs": 0, "scores": 0}
        folder = self.folder / TRACES
        usage = {"generated": round(TREATED_SHARE * self.count) * CUTS_PER_PROBLEM * REPAIRS_PER_CUT * TRACE_TOKENS}
        with (
            records.open_writer(folder / "repairs/default.parquet", "repairs", usage) as repairs,
            records.open_writer(folder / "scores/default.parquet", "scores", {"scored": usage["generated"]}) as scores,
        ):
            for problem in self.list_problems(0.1):
                for source_index in range(CUTS_PER_PROBLEM):
                    for row in self.make_repairs(problem, source_index):
                        repairs.add_row(row)
                        if row["accepted"]:
                            scores.add_row(self.make_score(row, "repair"))
            counts = dict(self.tokens)
            for problem in range(min(self.count, CALIBRATION_TRACES)):
                scores.add_row(self.make_score(self.make_sample(problem, 0), "sample"))
        guided_usage = {"scored": round(GUIDED_SHARE * self.count) * SAMPLES_PER_PROBLEM * TRACE_TOKENS // 2}
        with records.open_writer(folder / "guided_scores.parquet", "scores", guided_usage) as scores:
            for problem in self.list_problems(0.5):
                for index in range(0, SAMPLES_PER_PROBLEM, 2):
                    scores.add_row(self.make_score(self.make_sample(problem, index, kind=1), "guided"))
        self.tokens |= {"samples": counts["samples"], "guided": counts["guided"]}
        engine = {"engine": "synthetic", "model": str(self.folder / "tokenizer"), "revision": None}
        making = {"command": "repair", "options": {"gear": {"min_step_tokens": 1}}, "engine": engine}
        records.write_json(folder / "repairs/default.parquet.provenance.json", making)

    def make_ranks(self, trace_id: str, problem: int, seed: list[int]) -> Row:
        """What the student's pass stores of one trace."""
        values = self.make_values(seed, TRACE_TOKENS)
        self.tokens["ranks"] += len(values)
        row: Row = {"trace_id": trace_id, "problem_id": f"p{problem:08x}"}
        return row | {"logprobs": -values, "ranks": (1 + 9 * values).astype(np.int32)}

    def write_student_files(self) -> None:
        """Ranks of correct samples and accepted repairs; continuations from beginnings of a solved problem's first."""
        self.tokens |= {"ranks": 0, "continuations": 0}
        folder = self.folder / TRACES / f"students/{STUDENT}"
        solved = [problem for problem in range(self.count) if self.get_pass_rate(problem) > 0.1]
        with records.open_writer(folder / "ranks.parquet", "ranks") as writer:
            for problem in solved:
                for index in range(SAMPLES_PER_PROBLEM):
                    if self.is_correct(problem, index):
                        trace_id = f"00{problem:08x}{index:06x}"
                        writer.add_row(self.make_ranks(trace_id, problem, [7, problem, index]))
        with records.open_writer(folder / "repair_ranks/default.parquet", "ranks") as writer:
            for problem in self.list_problems(0.1):
                for source_index in range(CUTS_PER_PROBLEM):
                    for index in range(0, REPAIRS_PER_CUT, 2):
                        trace_id = f"r{problem:06x}{source_index:04x}{index:04x}"
                        writer.add_row(self.make_ranks(trace_id, problem, [10, problem, source_index, index]))
        cuts, continuations = CONTINUATIONS
        with records.open_writer(folder / "continuations.parquet", "continuations") as writer:
            for problem in solved:
                ids = self.make_ids([8, problem], self.get_gold(problem))
                for cut in range(cuts):
                    kept = ids[: len(ids) * cut // cuts]
                    for index in range(continuations):
                        whole = self.make_ids([9, problem, cut, index], self.get_gold(problem), kept)
                        kept_text, new_text = self.decode(kept), self.decode(whole[len(kept) :])
                        row: Row = {"trace_id": f"c{problem:08x}{cut}{index}", "problem_id": f"p{problem:08x}"}
                        row |= {"source_id": f"00{problem:08x}{0:06x}", "index": index, "kept_steps": cut, "steps": 9}
                        row |= {"kept": kept_text, "continuation": new_text, "text": kept_text + new_text}
                        verdict: Row = {
                            "extracted": "1",
                            "accepted": index < cut,
                            "reason": "" if index < cut else "wrong",
                        }
                        writer.add_row(row | {"finish_reason": "stop"} | verdict)
                        self.tokens["continuations"] += len(whole)

    def write_answers(self) -> None:
        """Answers of teacher, untrained student and every trained student; what training leaves for the tables."""
        run = self.folder / RUN
        self.tokens["answers"] = 0
        self.write_model_answers(run / f"evals/{TEACHER}/teacher", 0.7, 0)
        self.write_model_answers(run / f"evals/students/{STUDENT}", 0.2, 1)
        for number, method in enumerate(COMPARED):
            for seed in range(TRAINING_SEEDS):
                place = f"{TEACHER}/teacher_seed0/{STUDENT}/{method}/seed{seed}"
                self.write_model_answers(run / "evals" / place, 0.3 + 0.05 * number, 10 * number + seed + 2)
                training = {"tokens": {"total": 1000, "supervised": 900}}
                records.write_json(run / "students" / place / "training.json", training)

    def write_model_answers(self, folder: Path, accuracy: float, seed: int) -> None:
        rng = np.random.default_rng([10, seed])
        texts = [self.decode(self.make_ids([11, i], 5)) for i in range(16)]
        with records.open_writer(folder / "math500/answers.parquet", "answers") as writer:
            for problem in range(max(10, round(ANSWERED_QUESTIONS * self.share))):
                for repeat in range(REPEATS):
                    right = bool(rng.random() < accuracy)
                    row: Row = {"problem_id": f"p{problem:08x}", "repeat": repeat, "gold": "1", "strict": right}
                    row |= {"extracted": "1" if right else "2", "flexible": right, "reason": "" if right else "wrong"}
                    text = texts[(problem + repeat) % len(texts)]
                    writer.add_row(row | {"text": text, "truncated": False, "n_tokens": TRACE_TOKENS})
                    self.tokens["answers"] += TRACE_TOKENS
        settings = {"settings": {"engine": "vllm", "dtype": "bfloat16", "temperature": 0.6, "repeats": REPEATS}}
        records.write_json(folder / "math500/results.json", settings)


def make_words(rng: np.random.Generator) -> list[str]:
    """Distinct words of a few letters with the space before them, some with characters outside Latin-1."""
    words: dict[str, None] = {" ≤": None, " π": None, " ∑": None}
    letters = np.array(list("etaoinshrdlucmfwypvbgkqjxz"))
    while len(words) < WORDS:
        length = int(rng.integers(1, 7))
        words[" " + "".join(letters[np.minimum(rng.geometric(0.12, length) - 1, 25)])] = None
    return list(words)


def write_config(folder: Path) -> Path:
    """The preset with the synthetic teacher and every method that is found."""
    methods: dict[str, Any] = {name: {"method": name} for name in COMPARED}
    ablations = {name: {"method": name} for name in discover_methods() if name not in methods}
    changes = {
        "extends": str(PRESET),
        "run": Path(RUN).name,
        "teachers": {TEACHER: {"path": str(folder / "tokenizer")}},
        "students": {STUDENT: {"path": str(folder / "tokenizer")}},
        "training_seeds": TRAINING_SEEDS,
        "benchmarks": ["math500"],
        "primary": {"benchmark": "math500"},
        "methods": methods,
        "ablations": ablations,
        "comparisons": {},
    }
    path = folder / "scale.yaml"
    path.write_text(yaml.safe_dump(changes), encoding="utf-8")
    return path
