"""Extract the final answer from a text and check it against the gold answer, within limits of time and memory.

Reads and writes no files; returns one `Grade` per text. The teacher's samples and the benchmark answers are graded with
it. heal/grading/readings.py writes both answers alike; math-verify decides equality, in the process of
heal/grading/worker.py, which limits its time and memory: a model may answer 10^{10^{10}}.

A text has two readings. Strict (`Grade.correct`): the last \\boxed{} holds the answer. Flexible (`Grade.flexible`):
without a \\boxed{}, the last formula or number counts. A strictly correct text is flexibly correct too. A thinking
block that is never closed holds no answer. docs/grading.md has the rules.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass

from heal.errors import HealError
from heal.grading.extract import TAIL_CHARS, cut_thinking, extract_boxed, extract_boxes, extract_last
from heal.grading.readings import clean, read_pair
from heal.grading.symbols import write_as_latex
from heal.grading.words import find_stated_choice, read_choices
from heal.grading.worker import Worker, WorkerDied, WorkerUnavailable, compare_plain, parse_plain_value

MAX_ANSWER_CHARS = 1000
CPU_LIMIT_S = 5.0
WALL_LIMIT_S = 120.0
MEMORY_LIMIT_BYTES = 2 * 2**30
CACHED_VERDICTS = 200_000
MAX_GOLD_WORDS = 4
PLACEHOLDERS = {"none", "null", "nan", "n/a", "na", "unknown", "-", "?", "[deleted]"}
MISSING_ANSWER = re.compile(
    r"(the |to )?pro(of|ve)|no[tn]? ?(found|provided|available|given|applicable)|no (final )?answer|missing|omitted"
    r"|(see|refer to) (the )?[a-z]+( (above|below))?|to be (determined|added)|tbd|todo|n\.a",
    re.IGNORECASE,
)
"""What data sets write where there is no final answer (NuminaMath: `proof`, `notfound`)."""

# Why an answer is not (strictly) correct; about the answer as extracted.
REASONS = {
    "no_answer": "no \\boxed{}, formula or number in the text",
    "not_boxed": "the right answer, but outside a \\boxed{}",
    "wrong": "a readable answer that differs from the gold answer",
    "too_long": f"the answer (or the gold answer) has more than {MAX_ANSWER_CHARS} characters",
    "timeout": "comparing took more than the CPU limit",
    "memory": "comparing took more than the memory limit, or crashed twice",
    "unparsable": "math-verify cannot read the answer",
}

TEXT_COMMAND = re.compile(r"\\(?:text|textbf|textit|mathrm|mbox|boxed)\{([^{}]*)\}")
TEXT_OR_COMMAND = re.compile(r"\\(?:text|textbf|textit|mathrm|mbox|operatorname)\{[^{}]*\}|\\[A-Za-z]+")
WORD = re.compile(r"[A-Za-z]{2,}")


@dataclass(frozen=True)
class Grade:
    """extracted: the answer, None if there is none. correct: in a \\boxed{} and equal to the gold answer.

    flexible: equal under the flexible reading. strict: the answer is in a \\boxed{}. reason: "" when correct, else a
    key of REASONS.
    """

    extracted: str | None
    correct: bool
    flexible: bool
    strict: bool
    reason: str


def read_gsm8k_gold(answer_field: str) -> str:
    """The number after the last "####" of a GSM8K answer, without thousands separators and dollar sign.

    Raises HealError where there is none.
    """
    _, mark, gold = answer_field.rpartition("####")
    gold = gold.strip().replace(",", "").removeprefix("$").strip()
    if mark and gold:
        return gold
    fix = "GSM8K answers end with a line such as '#### 42'."
    raise HealError(f"no final answer after '####' in {answer_field[-60:]!r}", fix=fix)


class Grader:
    """Grades texts; use it as a context manager. A worker starts with the first answer that needs one.

    The CPU limit applies per answer and does not depend on the machine's load; the wall-clock limit is a backstop.
    Verdicts are cached per (gold, answer). Safe in threads (one answer at a time) and after a fork.
    """

    def __init__(
        self,
        *,
        cpu_limit_s: float = CPU_LIMIT_S,
        wall_limit_s: float = WALL_LIMIT_S,
        memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
    ) -> None:
        self._limits = (cpu_limit_s, wall_limit_s, memory_limit_bytes)
        self._worker: Worker | None = None
        self._verdicts: dict[tuple[str, str], str] = {}
        self._lock, self._lock_pid = threading.Lock(), os.getpid()

    def __enter__(self) -> Grader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the worker; a later grade starts a new one."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop()

    def grade(self, text: str, gold: str) -> Grade:
        """The grade of one text. Raises HealError if math-verify is not installed or cannot run."""
        part = cut_thinking(text)
        boxes = extract_boxes(part)
        is_boxed = len(boxes) > 0
        extracted = ", ".join(boxes) if is_boxed else extract_last(part)
        if read_choices(gold) and not (is_boxed and read_choices(clean(", ".join(boxes)))):
            extracted = find_stated_choice(write_as_latex(part[-TAIL_CHARS:])) or extracted
        if extracted is None:
            return Grade(None, False, False, False, "no_answer")
        verdict = self.compare(gold, extracted)
        if len(boxes) > 1 and verdict != "correct" and all(self.compare(gold, box) == "correct" for box in boxes):
            verdict = "correct"  # one value twice: \boxed{1/2} or \boxed{0.5}
        equal = verdict == "correct"
        reason = verdict if not equal else "" if is_boxed else "not_boxed"
        return Grade(extracted[:MAX_ANSWER_CHARS], equal and is_boxed, equal, is_boxed, reason)

    def grade_many(self, texts: Iterable[str], golds: Iterable[str]) -> list[Grade]:
        """One grade per text, in their order. Raises ValueError for unequal lengths, else as `grade`."""
        return [self.grade(text, gold) for text, gold in zip(texts, golds, strict=True)]

    def compare(self, gold: str, answer: str) -> str:
        """Verdict on two bare answers: "correct" or a key of REASONS. Raises HealError as `grade`."""
        gold, answer = gold.strip(), answer.strip()
        if max(len(gold), len(answer)) > MAX_ANSWER_CHARS:
            return "too_long"
        equal = compare_plain(gold, answer)
        if equal is None:
            pair = read_pair(gold, answer)
            if not isinstance(pair, bool):
                return self.verify(*pair)
            equal = pair
        return "correct" if equal else "wrong"

    def verify(self, gold: str, answer: str) -> str:
        """math-verify's verdict on two answers as they are: `compare` without its length limit and its readings."""
        if self._lock_pid != os.getpid():  # another thread may have held it when we were forked
            self._lock, self._lock_pid = threading.Lock(), os.getpid()
        with self._lock:
            verdict = self._verdicts.get((gold, answer))
            if verdict is None:
                verdict = self._ask_twice(gold, answer)
                if len(self._verdicts) >= CACHED_VERDICTS:
                    self._verdicts.clear()
                self._verdicts[gold, answer] = verdict
            return verdict

    def _ask_twice(self, gold: str, answer: str) -> str:
        """Asks again after the worker died once: the cause may come from outside. Twice: the answer is the cause.

        Raises HealError where the worker dies on a harmless answer too.
        """
        for _ in range(2):
            with contextlib.suppress(WorkerDied):
                return self._ask(gold, answer)
        try:
            self._ask("2", "x+1")
        except WorkerDied as error:
            raise HealError(
                f"the process that checks answers ends at once ({error})",
                fix="Free some memory, or give the Grader a larger memory_limit_bytes, and run again.",
            ) from error
        return "memory"

    def _ask(self, gold: str, answer: str) -> str:
        if self._worker is None or not self._worker.alive:
            self.close()
            try:
                self._worker = Worker(*self._limits)
            except WorkerUnavailable as error:
                raise HealError(
                    f"answers cannot be checked: {error}",
                    fix="Install math-verify[antlr4_13_2] for this Python; free memory or raise the limit.",
                ) from error
        return self._worker.ask(gold, answer)


def check_gold(answer: object, grader: Grader | None = None, *, where: str = "") -> None:
    """Raises HealError where `answer` cannot serve as a gold answer.

    Refused: not a text, empty, a placeholder, prose, too long, unbalanced, not equal to itself. where: file, row and
    field, for the message. Pass a grader when checking many answers: without one, each answer that is no plain number
    starts a worker of its own.
    """
    if not isinstance(answer, str):
        raise make_gold_error(f"is a {type(answer).__name__}, not a text: {answer!r:.80}", where)
    gold = answer.strip()
    plain = TEXT_COMMAND.sub(r"\1", gold).strip(" .!()[]<>*_-")
    if not gold or gold.lower() in PLACEHOLDERS or MISSING_ANSWER.fullmatch(plain):
        raise make_gold_error(f"is empty or stands for a missing value: {answer!r}", where)
    if len(gold) > MAX_ANSWER_CHARS:
        raise make_gold_error(f"has {len(gold):,} characters; at most {MAX_ANSWER_CHARS:,} are compared", where)
    words = WORD.findall(TEXT_OR_COMMAND.sub(" ", gold))
    if len(words) > MAX_GOLD_WORDS or not re.search(r"\w", gold):
        raise make_gold_error(f"is not mathematics: {gold!r:.80}", where)
    if extract_boxed(f"\\boxed{{{gold}}}") != gold:
        raise make_gold_error(f"has braces that do not balance, or a \\boxed{{}} of its own: {gold!r:.80}", where)
    if parse_plain_value(gold):
        return
    with contextlib.nullcontext(grader) if grader else Grader() as checker:
        verdict = checker.verify(gold, gold)
    if verdict != "correct":
        raise make_gold_error(f"is not equal to itself ({verdict}: {REASONS[verdict]}): {gold!r:.80}", where)


def make_gold_error(problem: str, where: str) -> HealError:
    return HealError(
        f"the gold answer {problem}",
        where=where,
        fix="Give the final answer alone, as a number or in LaTeX, words in \\text{}; or remove the row.",
    )
