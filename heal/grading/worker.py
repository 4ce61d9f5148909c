"""Decide whether two answers are equal: plain numbers at once, everything else by math-verify in a separate process.

`compare_plain` is the fast path. `Worker` is the caller's end of the process and `main` is the process. It is ended at
its limits, because math-verify limits neither memory nor time spent in C code.

Reads one JSON line {"gold": ..., "answer": ...} per question from standard input. Writes first {"ready": true} or
{"error": ...}, then one line {"verdict": ...} per question: "correct", "wrong", "unparsable" or "memory". The process
ends when its input ends, when its parent has ended, after "memory", and with SIGPROF at the CPU limit of a question,
which `Worker` reads as "timeout".

The process is started by path and imports nothing of `heal`, so it works from any folder:
`python -P heal/grading/worker.py CPU_LIMIT_S MEMORY_LIMIT_BYTES`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import resource
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

PARENT_CHECK_S = 2.0
START_LIMIT_S = 300.0
FLOAT_TOLERANCE = 1e-5  # relative; 0.333333 is 1/3, as for math-verify, and 0.083333 is 1/12
EXACT_TOLERANCE = 1e-15
ZERO_TOLERANCE = 1e-60  # sympy evaluates a difference with up to 100 digits
POINTS = [Fraction(n, 10007) for n in (7391, -12374, 25013, -5077, 31193, 1583, -19009, 14551)]
"""Values of the variables where two formulas are compared."""
MIN_AGREEMENTS = 3
MAX_VARIABLES = 4
INTEGER = re.compile(r"-?(?:[1-9]\d{0,2}(?:,\d{3}){1,4}|\d{1,15})")
DECIMAL = re.compile(r"-?\d{1,9}\.\d{1,5}")
FRACTION = re.compile(r"(-?)(?:\\[dt]?frac\{(\d{1,15})\}\{(\d{1,15})\}|(\d{1,15})/(\d{1,15}))")


def compare_plain(gold: str, answer: str) -> bool | None:
    """math-verify's verdict on equal strings and plain numbers, without running it; None where it has to decide.

    Decimals are compared with integers and decimals only, and up to 5 places: math-verify rounds to 6.
    """
    if gold == answer:
        return True
    gold_number, answer_number = parse_plain_value(gold), parse_plain_value(answer)
    if gold_number is None or answer_number is None:
        return None
    if {gold_number[0], answer_number[0]} == {"decimal", "fraction"}:
        return None
    return gold_number[1] == answer_number[1]


def parse_plain_value(text: str) -> tuple[str, Fraction] | None:
    """(notation, value) of a plain number; notation: integer, decimal or fraction. None for anything else."""
    if not text.isascii():
        return None  # \d matches other scripts' digits, math-verify does not
    if INTEGER.fullmatch(text):
        return "integer", Fraction(text.replace(",", ""))
    if DECIMAL.fullmatch(text):
        return "decimal", Fraction(text)
    if (match := FRACTION.fullmatch(text)) and int(match[3] or match[5]):
        value = Fraction(int(match[2] or match[4]), int(match[3] or match[5]))
        return "fraction", -value if match[1] else value
    return None


class WorkerDied(Exception):
    """The process ended without a verdict and not at its CPU limit: a crash, or a kill from outside."""


class WorkerUnavailable(Exception):
    """The process cannot start; the message says why."""


class Worker:
    """A running process. Raises WorkerUnavailable if it does not become ready."""

    def __init__(self, cpu_limit_s: float, wall_limit_s: float, memory_limit_bytes: int) -> None:
        self.wall_limit_s = wall_limit_s
        self.owner_pid = os.getpid()
        self.process = subprocess.Popen(
            [sys.executable, "-P", __file__, str(cpu_limit_s), str(memory_limit_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONHASHSEED": "0"},  # sympy's paths depend on the order of sets
        )
        assert self.process.stdin and self.process.stdout
        self.questions, self.replies = self.process.stdin, self.process.stdout
        try:
            line = self._read_line(START_LIMIT_S)
            reply = json.loads(line) if line else {}
            if not reply.get("ready"):
                raise WorkerUnavailable(reply.get("error", "it ended or hung while loading math-verify"))
        except BaseException:
            self.stop()
            raise

    def ask(self, gold: str, answer: str) -> str:
        """The verdict: "correct", "wrong", "unparsable", "memory" or "timeout". Raises WorkerDied.

        After "timeout", "memory" and every exception, the process has ended: `alive` is False.
        """
        try:
            question = json.dumps({"gold": gold, "answer": answer}) + "\n"
            self.questions.write(question.encode())
            self.questions.flush()
            line = self._read_line(self.wall_limit_s)
            if line:
                verdict = json.loads(line)["verdict"]
                if verdict == "memory":
                    self.stop()
                return verdict
        except (BrokenPipeError, ConnectionResetError) as error:
            self.stop()
            raise WorkerDied from error
        except BaseException:  # an interrupt here would leave a reply in the pipe for the next question
            self.stop()
            raise
        ended = line is not None  # else the wall-clock limit has passed
        code = self.process.wait() if ended else 0
        self.stop()
        if ended and code != -signal.SIGPROF:
            raise WorkerDied(f"exit status {code}")
        return "timeout"

    def _read_line(self, limit_s: float) -> bytes | None:
        """One line; b"" when the process has ended, None when the limit has passed."""
        line, deadline = b"", time.monotonic() + limit_s
        with selectors.DefaultSelector() as selector:
            selector.register(self.replies, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    return None
                piece = os.read(self.replies.fileno(), 65536)
                if not piece:
                    return b""
                line += piece
        return line

    @property
    def alive(self) -> bool:
        return self.owner_pid == os.getpid() and self.process.poll() is None

    def stop(self) -> None:
        """Ends the process, which holds no state. In a forked child: only closes the pipes."""
        if self.owner_pid == os.getpid():
            self.process.kill()
            self.process.wait()
        with contextlib.suppress(BrokenPipeError):  # a question may still be in the buffer
            self.questions.close()
        self.replies.close()


def exit_with_parent(parent: int) -> None:
    """Ends this process when its parent has died: a fork of the parent may hold the input open, so it never ends."""
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_S)
    os._exit(0)


def measure_peak_bytes() -> int:
    """The largest address space so far, in bytes. Not ru_maxrss: on Linux a child starts with its parent's."""
    try:
        status = Path("/proc/self/status").read_text()
        return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmPeak")))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, which has no /proc


def judge(gold: str, answer: str) -> str:
    """The verdict of math-verify on two answers without surrounding \\boxed{}.

    Only its LaTeX reading is used: its other one takes any number in a text that it cannot read for the answer. Units
    are removed before (heal/grading/units.py). Its own time limits are off: they cannot interrupt a long C call and
    become "not equal". The process's own signal ends it instead; sympy can neither catch nor delay that.
    """
    from sympy.core.random import seed

    parse, verify = load_math_verify()
    seed(0)  # sympy tests some identities at random points
    try:
        parsed, target = parse(answer), parse(gold)
    except MemoryError:
        return "memory"
    except Exception:
        return "unparsable"
    try:
        if verify(target, parsed) or any(agree_everywhere(a, b) for a in target for b in parsed):
            return "correct"
    except MemoryError:
        return "memory"
    except Exception:
        return "wrong"
    return "unparsable" if all(isinstance(item, str) for item in parsed) else "wrong"


@cache
def load_math_verify() -> tuple[Callable[[str], list[Any]], Callable[[list[Any], list[Any]], bool]]:
    """(parse, verify) of math-verify, with numbers compared by `is_close` too.

    math-verify compares numbers to 6 decimals, or to 15 digits after the point where both are exact: it takes 1/7^40
    for 1/7^41 and 0.0000004 for 0.0000001.
    """
    import math_verify.grader as library
    from latex2sympy2_extended.math_normalization import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse

    spelling = NormalizationConfig(basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="all")
    forms = [LatexExtractionConfig(normalization_config=spelling)]
    compare_numbers = library.sympy_numeric_eq

    def compare_closely(a: Any, b: Any, *precision: Any, **named: Any) -> bool:
        return bool(compare_numbers(a, b, *precision, **named)) and is_close(a, b)

    library.sympy_numeric_eq = compare_closely
    return (
        lambda answer: parse(f"\\boxed{{{answer}}}", forms, parsing_timeout=None, raise_on_error=True),
        lambda gold, answer: library.verify(gold, answer, timeout_seconds=None, raise_on_error=True),
    )


def is_close(a: Any, b: Any) -> bool:
    """Whether two expressions differ by at most FLOAT_TOLERANCE of their size; exact ones by ZERO_TOLERANCE.

    Variables are set to fixed values. True for what has no value. Also true for 35% and 35, which math-verify equates.
    """
    from sympy import Float, Integer, MatrixBase, Rational, UnevaluatedExpr

    if isinstance(a, MatrixBase) or isinstance(b, MatrixBase):
        return True  # compared by their elements
    percent = UnevaluatedExpr(Rational(1, 100))
    tolerance = FLOAT_TOLERANCE if a.has(Float) or b.has(Float) else ZERO_TOLERANCE
    for left, right in ((a, b), (a.subs(percent, Integer(1)), b.subs(percent, Integer(1)))):
        values = [evaluate(side, 0) for side in (left, right, left - right)]
        if None in values or abs(values[2]) <= tolerance * max(abs(values[0]), abs(values[1])):
            return True
    return False


def agree_everywhere(a: Any, b: Any) -> bool:
    """Whether two formulas have the same values at every one of POINTS, and are real at the same ones.

    For what math-verify cannot simplify: \\sqrt{1/k} and 1/\\sqrt{k}, or e^{i\\pi} and -1. |x| and x differ at
    negative points. Decimals, sets, equations and plain numbers are math-verify's alone.
    """
    from sympy import Expr, Float, Symbol

    if not (isinstance(a, Expr) and isinstance(b, Expr)) or a.has(Float) or b.has(Float):
        return False
    names = [{symbol.name for symbol in side.free_symbols if isinstance(symbol, Symbol)} for side in (a, b)]
    if (a.is_Number and b.is_Number) or names[0] - {"i"} != names[1] - {"i"} or len(names[0]) > MAX_VARIABLES:
        return False
    if not names[0] | names[1]:
        return False  # math-verify compares numbers without variables exactly
    is_complex, agreements = "i" in names[0] | names[1], 0
    for point in range(len(POINTS)):
        left, right, difference = (evaluate(side, point) for side in (a, b, a - b))
        if left is None or right is None or difference is None:
            continue
        is_real = [abs(value.imag) <= EXACT_TOLERANCE * abs(value) for value in (left, right)]
        if not is_complex and is_real[0] != is_real[1]:
            return False
        if is_complex or all(is_real):
            if abs(difference) > ZERO_TOLERANCE * max(abs(left), abs(right)):
                return False
            agreements += 1
    return agreements >= MIN_AGREEMENTS


def choose_value(name: str, point: int) -> Fraction:
    """A variable's value at a point: another one for every variable, the same in both formulas."""
    return POINTS[(point + 3 * sum(map(ord, name))) % len(POINTS)] + Fraction(sum(map(ord, name)), 100003)


def evaluate(expression: Any, point: int) -> Any:
    """The value in 20 digits, i as the imaginary unit, other variables at one of POINTS; None without a value."""
    from sympy import I

    try:
        values = {s: I if s.name == "i" else choose_value(s.name, point) for s in expression.free_symbols}
        value = expression.subs(values).doit().evalf(20)
        return value._to_mpmath(66) if value.is_number and value.is_finite else None
    except MemoryError:
        raise
    except Exception:  # no number: a set, a truth value, a function without a definition
        return None


def main() -> None:
    cpu_limit_s, memory_limit = float(sys.argv[1]), int(sys.argv[2])
    replies = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not come between the replies
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C; the input then ends
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})
    logging.disable(logging.CRITICAL)
    threading.Thread(target=exit_with_parent, args=(os.getppid(),), daemon=True).start()
    try:
        judge("\\frac{1}{2}", "x+1")  # loads sympy and its parser outside the first question's limit
    except ImportError as error:
        print(json.dumps({"error": str(error)}), file=replies)
        return
    if measure_peak_bytes() > memory_limit // 2:
        print(
            json.dumps({"error": f"loading alone takes {measure_peak_bytes():,} of {memory_limit:,} bytes"}),
            file=replies,
        )
        return
    for limited, limit in ((resource.RLIMIT_AS, memory_limit), (resource.RLIMIT_CORE, 0)):
        try:
            resource.setrlimit(limited, (limit, limit))
        except (ValueError, OSError):  # macOS refuses RLIMIT_AS; the time limits still hold
            continue
    print(json.dumps({"ready": True}), file=replies)
    for line in sys.stdin:
        question = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, cpu_limit_s)
        verdict = judge(question["gold"], question["answer"])
        signal.setitimer(signal.ITIMER_PROF, 0)
        # Sympy swallows many MemoryErrors; a peak near the limit reveals them.
        near_limit = measure_peak_bytes() > memory_limit // 2
        if near_limit and verdict != "correct":
            verdict = "memory"
        print(json.dumps({"verdict": verdict}), file=replies)
        if near_limit or verdict == "memory":
            return


if __name__ == "__main__":
    main()
