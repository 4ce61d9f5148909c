"""Laws of heal.grading.grader: math-verify's verdict, whatever the order, and bounds on hostile answers."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from heal.errors import HealError
from heal.grading import grader as grading
from heal.grading.extract import extract_boxed, extract_last
from heal.grading.grader import REASONS, Grader, check_gold, read_gsm8k_gold
from heal.grading.worker import Worker, WorkerDied, compare_plain
from tests.support.paths import ROOT

DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader() as shared:
        yield shared


def put_in_box(answer: str) -> str:
    return f"So the answer is $\\boxed{{{answer}}}$."


ANSWERS = [
    "7",
    "-3",
    "1,234",
    "0.5",
    "\\frac{3}{4}",
    "x^2+1",
    "\\sqrt{2}",
    "(3, \\frac{\\pi}{2})",
    "\\{1,2\\}",
]
ANSWERS += [
    "\\text{east}",
    "90^\\circ",
    "[0,1)",
    "2+3i",
    "\\begin{pmatrix}1\\\\2\\end{pmatrix}",
    "x=5",
    "50\\%",
]


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_equals_itself_and_no_other(grader: Grader, answer: str) -> None:
    assert grader.grade(put_in_box(answer), answer) == grading.Grade(answer, True, True, True, "")
    assert grader.verify(answer, answer) == "correct"
    check_gold(answer, grader)
    assert grader.grade(put_in_box("87654"), answer).reason == "wrong"


EQUAL = [
    ("\\frac{1}{2}", "\\dfrac12"),
    ("1234", "1,234"),
    ("0.5", "1/2"),
    ("0.5", "\\frac{1}{2}"),
    ("12", "12.0"),
]
EQUAL += [("5", "5 \\text{ cm}"), ("18", "\\$18"), ("x+1", " 1 + x "), ("5", "x=5"), ("1/3", "0.333333")]
EQUAL += [("\\text{east}", "east"), ("2\\sqrt{2}", "\\sqrt{8}"), ("\\{1,2\\}", "\\{2, 1\\}")]
UNEQUAL = [("0.5", "0.51"), ("1234", "1,235"), ("1/3", "0.33"), ("(1,2)", "(2,1)"), ("x", "y"), ("-3", "3")]


def test_writing_does_not_matter_but_value_does(grader: Grader) -> None:
    for gold, answer in EQUAL:
        assert grader.grade(put_in_box(answer), gold).correct, (gold, answer)
    for gold, answer in UNEQUAL:
        assert grader.grade(put_in_box(answer), gold).reason == "wrong", (gold, answer)


@pytest.mark.parametrize(
    ("text", "boxed"),
    [
        ("\\boxed{1}, no, \\boxed{2}", "2"),
        ("\\boxed{\\frac{1}{2}} }}", "\\frac{1}{2}"),
        ("\\boxed{3} then \\boxed{\\frac{1}{", "3"),
        ("put it in \\boxed{}. \\boxed{\\{1, 2\\}} as asked in \\boxed{ }", "\\{1, 2\\}"),
        ("in \\boxed{ we write {4} so \\boxed{4}", "4"),
        ("\\boxed {5} \\fbox{ 6 }", "6"),
        ("\\boxed{\\left\\{ x \\right.}", "\\left\\{ x \\right."),
        ("boxed{7} \\boxed 8", None),
        ("", None),
    ],
)
def test_the_last_balanced_box_counts(text: str, boxed: str | None) -> None:
    assert extract_boxed(text) == boxed
    assert extract_boxed(text + " {trailing {words") == boxed


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("It costs $5 per egg, so she makes $18 every day.", "18"),
        ("That is 1,234.50 in total.", "1,234.50"),
        ("Hence $x = \\frac{1}{2}$ as the value of $x$.", "x = \\frac{1}{2}"),
        ("We get \\frac{3}{4}", "\\frac{3}{4}"),
        ("From 3-5 to -2, i.e. \\(-\\frac{2}{1}\\)", "-\\frac{2}{1}"),
        ("about .5", ".5"),
        ("so $$y = 5.$$ QED", "y = 5"),
        ("12 of H2O", "12"),
        ("no number", None),
    ],
)
def test_without_a_box_the_last_formula_or_number_counts(text: str, last: str | None) -> None:
    assert extract_last(text) == last


def test_the_strict_and_the_flexible_reading(grader: Grader) -> None:
    assert grader.grade("The answer is 5.", "5") == grading.Grade("5", False, True, False, "not_boxed")
    assert grader.grade("The answer is 6.", "5") == grading.Grade("6", False, False, False, "wrong")
    assert grader.grade("\\boxed{6} or 5", "5") == grading.Grade("6", False, False, True, "wrong")
    assert grader.grade("I do not know.", "5") == grading.Grade(None, False, False, False, "no_answer")
    assert grader.grade("<think>\\boxed{5}</think> It is \\boxed{6}.", "6").correct
    assert grader.grade("<think>\\boxed{5}</think> I give up.", "5").reason == "no_answer"


def make_random_number(rng: random.Random) -> str:
    sign, size = rng.choice(["", "-"]), rng.choice([13, 2000, 10**7, 10**15])
    whole, part = (
        rng.randrange(size),
        rng.choice(["0", "5", "50", "25", "05", "00", str(rng.randrange(10**5))]),
    )
    below = rng.choice([1, 2, 3, 4, 6, rng.randrange(1, 100)])
    forms = [f"{whole}", f"{whole:,}", f"00{whole % 100}", f"{whole % 10**9}.{part}", f"{whole}/{below}"]
    return sign + rng.choice([*forms, f"\\frac{{{whole}}}{{{below}}}", f"\\dfrac{{{whole}}}{{{below}}}"])


def have_same_value(number: str, rng: random.Random) -> str:
    """Another way to write the number, or one close to it."""
    plain = number.replace("dfrac", "frac").replace("\\frac{", "").replace("}{", "/").replace("}", "").replace(",", "")
    above, _, below = plain.partition("/")
    value = float(above) / float(below or 1)
    doubled = f"{int(above) * 2}/{int(below) * 2}" if below else f"0{number}"
    return rng.choice([number, plain, doubled, f"{value:.5f}", f"{value:.1f}", str(int(value)), f"{int(value):,}"])


def test_the_fast_path_agrees_with_math_verify(grader: Grader) -> None:
    rng, decided = random.Random(0), {True: 0, False: 0}
    for _ in range(1500):
        gold = make_random_number(rng)
        answer = have_same_value(gold, rng) if rng.random() < 0.7 else make_random_number(rng)
        plain = compare_plain(gold, answer)
        if plain is None or (plain and gold == answer):
            continue
        decided[plain] += 1
        assert (grader.verify(gold, answer) == "correct") == plain, (gold, answer)
    assert min(decided.values()) > 150, f"too few cases to mean anything: {decided}"
    for pair in [
        ("0.5", "1/2"),
        ("1", "x"),
        ("1/3", "0.33333"),
        ("5", "5%"),
        ("1/0", "1"),
        ("5", "５"),
        ("3.0000001", "3.0000004"),
    ]:
        assert compare_plain(*pair) is None, "not for the fast path to decide"


def test_the_order_of_questions_does_not_change_verdicts() -> None:
    pairs = [(a, b) for a in ANSWERS[3:12] for b in (*ANSWERS[3:12], "garbage \\frac{")]
    with Grader() as one:
        apart = {pair: one.grade(put_in_box(pair[1]), pair[0]) for pair in pairs}
    random.Random(1).shuffle(pairs)
    with Grader() as many:
        together = many.grade_many([put_in_box(answer) for _, answer in pairs], [gold for gold, _ in pairs])
        assert together == [apart[pair] for pair in pairs]
        with pytest.raises(ValueError):
            many.grade_many(["1"], [])


LONG = 1_000_000
HUGE_TEXTS = {
    "\\boxed" + "{" * LONG: "no_answer",
    "\\boxed{" * (LONG // 7): "no_answer",
    "\\boxed{" * 100_000 + "}" * 100_000: "unparsable",
    "\\boxed{" + "9" * LONG + "}": "too_long",
    "\\boxed{" + "{" * LONG + "}" * LONG + "}": "too_long",
    "$" * LONG: "no_answer",
    "\\(" * LONG: "no_answer",
    "\\boxed{" + "(" * 300 + "}": "unparsable",
    "\\boxed{" + "{" * 200 + "}" * 200 + "}": "unparsable",
}


@pytest.mark.workflow
def test_huge_texts_end_soon_and_well() -> None:
    with Grader(cpu_limit_s=30) as patient:
        for text, reason in HUGE_TEXTS.items():
            began = time.process_time()
            assert patient.grade(text, "5").reason == reason, text[:30]
            assert time.process_time() - began < 3, text[:30]
        assert patient.grade(put_in_box("x+1"), "1+x").correct


TOWERS = ["10^{10^{10}}", "2^{2^{2^{2^{2^{2}}}}}", "100000000!"]


@pytest.mark.workflow
def test_hostile_answers_end_at_the_cpu_limit_and_the_next_one_is_judged() -> None:
    with Grader(cpu_limit_s=0.5) as strict:
        for answer in TOWERS:
            began = time.monotonic()
            assert strict.grade(put_in_box(answer), "5").reason == "timeout", answer
            assert strict.grade(put_in_box("\\dfrac12"), "\\frac{1}{2}").correct
            assert strict.grade(put_in_box(answer), "5").reason == "timeout", "remembered"
            assert time.monotonic() - began < 30, answer
        for answer in (TOWERS[0], "\\frac{0}{0}"):
            assert strict.grade(put_in_box(answer), answer).correct, "an answer equals itself"


def test_the_wall_clock_limit_ends_a_worker_that_hangs() -> None:
    with Grader(wall_limit_s=1) as hurried:
        assert hurried.verify("2", "x+1") == "wrong"
        os.kill(hurried._worker.process.pid, signal.SIGSTOP)
        assert hurried.verify("2", "x+2") == "timeout"
        hurried._limits = (5.0, 120.0, grading.MEMORY_LIMIT_BYTES)
        assert hurried.verify("x+2", "2+x") == "correct"


@pytest.mark.workflow
def test_memory_is_bounded() -> None:
    with Grader(cpu_limit_s=30, memory_limit_bytes=400 * 2**20) as small:
        assert small.verify("5", "(1+x)^{3000000000000}") == "memory"
        assert small.verify("x+1", "1+x") == "correct"
    with (
        Grader(memory_limit_bytes=20 * 2**20) as too_small,
        pytest.raises(HealError, match="cannot be checked: loading alone"),
    ):
        too_small.verify("x+1", "1+x")


@pytest.mark.workflow
def test_a_killed_worker_does_not_lose_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with Grader(cpu_limit_s=2) as survivor:
        assert survivor.verify("x+1", "1+x") == "correct"
        os.kill(survivor._worker.process.pid, signal.SIGKILL)
        assert survivor.verify("x+2", "2+x") == "correct"
        busy = survivor._worker.process.pid
        threading.Timer(0.3, os.kill, (busy, signal.SIGKILL)).start()
        assert survivor.verify("5", TOWERS[0]) == "timeout", "killed while busy: asked again"
        assert survivor.verify("x+3", "3+x") == "correct"

        def crash(gold: str, answer: str) -> str:
            if answer == "poison":
                raise WorkerDied("exit status -11")
            return "wrong"

        monkeypatch.setattr(survivor._worker, "ask", crash)
        assert survivor.verify("5", "poison") == "memory", "others can be judged, so the answer is the cause"


def test_an_interrupted_question_leaves_no_reply_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    with Grader() as grader:
        assert grader.verify("2", "x+1") == "wrong"

        def interrupt(self: Worker, limit_s: float) -> bytes:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Worker, "_read_line", interrupt)
            grader.verify("2", "x+2")
        assert grader.verify("x+1", "1+x") == "correct"


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_no_worker_outlives_its_parent_and_torch_is_not_loaded(tmp_path: Path) -> None:
    program = """
import os, signal, sys
from heal.grading.grader import Grader
grader = Grader()
assert grader.verify("x+1", "1+x") == "correct"
idle = os.fork()  # holds the pipe open, so that the worker sees no end of file
if idle == 0:
    signal.alarm(120)  # a failing test leaves nothing behind either
    signal.pause()
grader._lock.acquire()  # as when another thread is asking
child = os.fork()
if child == 0:
    signal.alarm(60)
    assert grader.verify("x+2", "2+x") == "correct"
    grader.close()
    os._exit(0)
grader._lock.release()
assert os.waitpid(child, 0)[1] == 0, "a child starts its own worker"
assert grader.verify("x+3", "3+x") == "correct"
assert "sympy" not in sys.modules and "math_verify" not in sys.modules
maps = open(f"/proc/{grader._worker.process.pid}/maps").read() if sys.platform == "linux" else ""
assert "libtorch" not in maps  # torch's libgomp may be: vLLM's import preloads it in every later process
print(grader._worker.process.pid, idle, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    output = tmp_path / "pids"
    with output.open("w") as file:  # a pipe would stay open in the forked child
        subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, stdout=file, check=False)
    worker, idle = map(int, output.read_text().split())
    try:
        deadline = time.monotonic() + 15
        while is_running(worker) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not is_running(worker)
    finally:
        os.kill(idle, signal.SIGKILL)


def test_threads_and_forks_share_a_grader(grader: Grader) -> None:
    verdicts: list[bool] = []

    def work(start: int) -> None:
        for k in range(start, start + 20):
            verdicts.append(grader.verify(f"x+{k}", f"{k}+x") == "correct" and grader.verify("x", f"x+{k}") == "wrong")

    threads = [threading.Thread(target=work, args=(100 * start + 1,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verdicts == [True] * 80


@pytest.mark.parametrize(
    "gold", ["", "  ", "None", "N/A", "?", "\\frac{1}{2", "}{", "5 \\boxed{5}", "1" * 2000, 5, None]
)
def test_golds_that_are_refused(grader: Grader, gold: object) -> None:
    with pytest.raises(HealError, match="data.jsonl, row 3, field answer: the gold answer"):
        check_gold(gold, grader, where="data.jsonl, row 3, field answer")
    with pytest.raises(HealError, match="not mathematics"):
        check_gold("We add both sides and get the answer", grader)


def test_gsm8k_golds() -> None:
    assert read_gsm8k_gold("16-3=<<16-3=13>>13 #### is left\n#### $1,234 ") == "1234"
    for broken in ("no mark 5", "nothing after ####  "):
        with pytest.raises(HealError, match="####"):
            read_gsm8k_gold(broken)


def read_rows(name: str) -> list[dict[str, str]]:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"{path} is not on this machine")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_math500_gold_is_found_in_its_solution(grader: Grader) -> None:
    failed = []
    for row in read_rows("math500_test.jsonl"):
        check_gold(row["answer"], grader, where=row["unique_id"])
        grade = grader.grade(row["solution"], row["answer"])
        if not grade.correct or not grader.grade(put_in_box(row["answer"]), row["answer"]).correct:
            failed.append((row["unique_id"], row["answer"], grade))
    assert not failed, f"{len(failed)} of 500: {failed}"


def test_every_gsm8k_gold_is_a_plain_number(grader: Grader) -> None:
    for row in read_rows("gsm8k_test.jsonl"):
        gold = read_gsm8k_gold(row["answer"])
        check_gold(gold, grader)
        grade = grader.grade(row["answer"], gold)
        assert (grade.flexible, grade.reason) == (True, "not_boxed"), row["answer"]


def test_every_reason_is_documented() -> None:
    assert set(REASONS) == {"no_answer", "not_boxed", "wrong", "too_long", "timeout", "memory", "unparsable"}


@pytest.mark.workflow
def test_a_large_caller_does_not_look_like_a_large_answer():
    script = (
        "x = bytearray(3 * 2**28); x[::4096] = b'1' * len(x[::4096])\n"
        "from heal.grading.grader import Grader\n"
        "with Grader(memory_limit_bytes=400 * 2**20) as grader: print(grader.verify('1/3', '2/3'))"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.strip() == "wrong", run.stderr
