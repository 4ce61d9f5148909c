"""Extract the final answer from a text and check it against the gold answer, within limits of time and memory.

Reads and writes no files; returns one `Grade` per text. The teacher's samples and the benchmark answers are graded with
it. math-verify decides equality, in the process of heal/grading/worker.py, which limits its time and memory: a model
may answer 10^{10^{10}}.

A text has two readings. Strict (`Grade.correct`): the last \\boxed{} holds the answer. Flexible (`Grade.flexible`):
without a \\boxed{}, the last formula or number counts. A strictly correct text is flexibly correct too. A text that is
cut off inside its thinking block has no </think>, so all of it is read: count truncated samples separately.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass

from heal.errors import HealError
from heal.grading.worker import Worker, WorkerDied, WorkerUnavailable, compare_plain, parse_plain_value

MAX_ANSWER_CHARS = 1000
CPU_LIMIT_S = 5.0
WALL_LIMIT_S = 120.0
MEMORY_LIMIT_BYTES = 2 * 2**30
CACHED_VERDICTS = 200_000
TAIL_CHARS = 2000
MAX_GOLD_WORDS = 4
PLACEHOLDERS = {"none", "null", "nan", "n/a", "na", "unknown", "-", "?", "[deleted]"}

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

BOX = re.compile(r"\\boxed|\\fbox")
BOX_TOKENS = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
# Formulas as in pandoc: no blank inside the dollars, no digit after them, so that "$5 and $7" is two prices.
LAST_TOKENS = re.compile(
    r"\$\$(?P<display>[^$]{1,1000})\$\$|\$(?P<inline>(?! )[^$\n]{1,1000}(?<! ))\$(?!\d)"
    r"|\\\[(?P<bracket>.{1,1000}?)\\\]|\\\((?P<paren>.{1,1000}?)\\\)"
    r"|(?P<fraction>(?<!\w)-?\\[dt]?frac\{-?\d{1,20}\}\{-?\d{1,20}\})"
    r"|(?P<number>(?:(?<!\w)-)?(?<![\w.])(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+|(?=\.\d))(?:\.\d+)?(?:/\d+)?%?)",
    re.DOTALL,
)
# A multiple-choice answer that repeats the choice behind its letter: "B) 42 m", "\text{(B) 42 m}", "B: 42 m".
CHOICE = re.compile(r"(?:\\[a-z]+\{)?\(?([A-J])[).:](?![^\s}\\]).*", re.DOTALL)
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


def extract_boxed(text: str) -> str | None:
    """The content of the last \\boxed{} (or \\fbox{}) that balances and is not empty; None if there is none.

    "Last" is the one that opens last; escaped braces do not count. Linear in the text's length.
    """
    first = BOX.search(text)
    if first is None:
        return None
    open_braces: list[int | None] = []  # the content's start for a box, None for another brace
    best: tuple[int, int] | None = None
    for token in BOX_TOKENS.finditer(text, first.start()):
        symbol = token.group()
        if symbol[-1] == "{" and symbol != "\\{":
            open_braces.append(token.end() if len(symbol) > 1 else None)
        elif symbol == "}" and open_braces:
            content = open_braces.pop()
            if content is None or (best and content <= best[0]):
                continue
            if text[content : token.start()].strip():
                best = (content, token.start())
    return text[best[0] : best[1]].strip() if best else None


def extract_last(text: str) -> str | None:
    """The last formula or number in the last TAIL_CHARS characters, or None.

    A formula without digit or command ("the value of $x$") counts only where no other formula or number is found.
    """
    last = None
    for match in LAST_TOKENS.finditer(text[-TAIL_CHARS:]):
        answer = (match.group(match.lastgroup or 0)).strip().rstrip(".,;:")
        if answer and (last is None or re.search(r"[\d\\]", answer)):
            last = answer
    return last


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
        part = text.rpartition("</think>")[2]  # the whole text where there is none
        boxed = extract_boxed(part)
        extracted = boxed if boxed is not None else extract_last(part)
        if extracted is None:
            return Grade(None, False, False, False, "no_answer")
        verdict = self.compare(gold, extracted)
        equal, strict = verdict == "correct", boxed is not None
        reason = verdict if not equal else "" if strict else "not_boxed"
        return Grade(extracted[:MAX_ANSWER_CHARS], equal and strict, equal, strict, reason)

    def grade_many(self, texts: Iterable[str], golds: Iterable[str]) -> list[Grade]:
        """One grade per text, in their order. Raises ValueError for unequal lengths, else as `grade`."""
        return [self.grade(text, gold) for text, gold in zip(texts, golds, strict=True)]

    def compare(self, gold: str, answer: str) -> str:
        """Verdict on two bare answers: "correct" or a key of REASONS. Raises HealError as `grade`."""
        gold, answer = gold.strip(), answer.strip()
        if max(len(gold), len(answer)) > MAX_ANSWER_CHARS:
            return "too_long"
        if len(gold) == 1 and (choice := CHOICE.fullmatch(answer)):
            answer = choice[1]
        plain = compare_plain(gold, answer)
        if plain is not None:
            return "correct" if plain else "wrong"
        return self.verify(gold, answer)

    def verify(self, gold: str, answer: str) -> str:
        """`compare` without its length limit and fast path: always math-verify's verdict."""
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
    if not gold or gold.lower() in PLACEHOLDERS:
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
