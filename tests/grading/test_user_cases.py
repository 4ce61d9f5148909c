"""The reported situations about grading in ../shared/data/user_cases.jsonl: every one gets its expected verdict."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from heal.grading.grader import Grader
from tests.support.paths import ROOT

CASES = ROOT.parent / "shared" / "data" / "user_cases.jsonl"


def read_cases() -> dict[str, list[dict[str, Any]]]:
    """The cases that run `Grader.grade` or `Grader.compare`, by kind; empty where the file is absent."""
    if not CASES.is_file():
        return {}
    cases: dict[str, list[dict[str, Any]]] = {}
    for line in CASES.read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        if case["run"] in ("grade", "compare"):
            cases.setdefault(case["kind"], []).append(case)
    return cases


BY_KIND = read_cases()
pytestmark = pytest.mark.skipif(not BY_KIND, reason=f"{CASES} is not on this machine")


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(cpu_limit_s=2) as shared:
        yield shared


def is_correct(case: dict[str, Any], grader: Grader) -> bool:
    given = case["input"]
    if case["run"] == "compare":
        return grader.compare(given["gold"], given["answer"]) == "correct"
    grade = grader.grade(given["text"], given["gold"])
    return grade.flexible if given.get("reading") == "flexible" else grade.correct


@pytest.mark.parametrize("kind", sorted(BY_KIND) or ["absent"])
def test_every_reported_case_gets_its_verdict(grader: Grader, kind: str) -> None:
    failed = []
    for case in BY_KIND[kind]:
        if is_correct(case, grader) != (case["expected"] == "correct"):
            failed.append((case["id"], case["input"], f"expected {case['expected']}"))
    assert not failed, f"{len(failed)} of {len(BY_KIND[kind])}: {failed}"
