"""s1-like selection: problems too hard for the student, spread over domains, with long traces.

Muennighoff et al. 2025, arXiv 2501.19393 ("s1: Simple test-time scaling"). 59,000 problems with traces become 1,000 by
quality (formatting), difficulty (neither of two models solves it) and diversity. Problems of AIME and GPQA with a
correct trace, and those of MATH with a correct and long one, are kept first; the rest is drawn: a domain uniformly,
then a problem in it with probability 2^-rank, rank 0 for the longest trace. Public code: github.com/simplescaling/s1
at 77272c6.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np

from heal.config.options import Count, OptionGroup, Share
from heal.method.base import NOT_CHECKED, Example, Method, Traces, compute_pass_rates
from heal.records import Row
from heal.trace_files import GRADES, SAMPLES, STUDENT_GRADES, STUDENT_SAMPLES, TraceFile

CODE = "public code: simplescaling/s1 at 77272c6,"


class Options(OptionGroup):
    most_problems: Count = 1000
    """Maximum number of problems (as in the paper)."""
    domains: Count = 50
    """Maximum number of domains (as in the paper)."""
    solved_from: Share = 0.5
    """A problem is too easy where the student's own pass rate is at least this (ours)."""
    kept_sources: dict[str, int] = {"aime": 0, "gpqa": 0, "math": 5600}
    """Part of a problem's `source` → tokens; a problem whose correct trace is longer is kept first (their code)."""


class S1(Method):
    name = "s1"
    paper = "arXiv 2501.19393 (Muennighoff et al., s1)"
    summary = "hard for the student, spread over domains, the longest trace of each"
    differs = (
        "too easy is what the student itself solves, not either of two larger models; domains are clusters of the "
        "questions' words (TF-IDF, k-means), not subjects named by a language model; every draw takes a domain "
        "uniformly, where theirs take the last 300 from the domains of AIME and GPQA; only correct traces; no filter "
        "of formatting; no budget forcing at test time; the run's optimizer steps, not 5 epochs"
    )
    sources: ClassVar = {
        "1,000 problems": f"{CODE} data/filter.ipynb",
        "2^-rank by length, normalized": f"{CODE} data/filter.ipynb",
        "correct AIME and GPQA first, and MATH above 5,600 tokens": f"{CODE} data/filter.ipynb",
        "50 domains": NOT_CHECKED,
        "5 epochs": f"{CODE} train/sft.sh",
    }
    version = 2
    options: Options
    Options = Options

    def needs(self) -> list[TraceFile]:
        return [SAMPLES, GRADES, STUDENT_SAMPLES, STUDENT_GRADES]

    def build_curriculum(self, traces: Traces) -> Iterable[Example]:
        rates = compute_pass_rates(traces.read(STUDENT_GRADES))
        longest: list[Row] = []
        for problem_id, rows in traces.read_correct().items():
            if rates[problem_id] < self.options.solved_from:
                longest.append(max(rows, key=lambda row: len(row["token_ids"])))
        questions = {problem["problem_id"]: problem["question"] for problem in traces.problems}
        texts = [questions[row["problem_id"]] for row in longest]
        domains = cluster_questions(texts, self.options.domains, traces.seed)
        sources = {problem["problem_id"]: problem["source"] or "" for problem in traces.problems}
        kept = [number for number, row in enumerate(longest) if self.is_kept(row, sources[row["problem_id"]])]
        chosen = draw_spread(longest, domains, self.options.most_problems, traces.seed, kept)
        return (Example(row["problem_id"], row["text"].strip(), 1, "sample", row["trace_id"]) for row in chosen)

    def is_kept(self, row: Row, source: str) -> bool:
        """Whether a problem is kept before any is drawn. row: its longest correct trace."""
        for name, tokens in self.options.kept_sources.items():
            if name in source.lower() and len(row["token_ids"]) > tokens:
                return True
        return False


def cluster_questions(questions: Sequence[str], limit: int, seed: int) -> np.ndarray:
    """Domain of each question, from 0: k-means over TF-IDF of its words; one domain where the words do not differ."""
    from sklearn.cluster import KMeans
    from sklearn.feature_extraction.text import TfidfVectorizer

    if len(set(questions)) < 2:
        return np.zeros(len(questions), dtype=int)
    vectors = TfidfVectorizer(token_pattern=r"\w+").fit_transform(questions)
    distinct = {tuple(zip(row.indices, row.data, strict=True)) for row in vectors}
    return KMeans(min(limit, len(distinct)), n_init=1, random_state=seed).fit_predict(vectors)


def draw_spread(
    rows: Sequence[Row], domains: Sequence[int] | np.ndarray, count: int, seed: int, kept: Sequence[int] = ()
) -> list[Row]:
    """Up to `count` rows: those at the places `kept`, then a random domain and one of its rows, again and again.

    In a domain a row has probability 2^-rank, normalized; the longest has rank 0.
    """
    rng = np.random.default_rng([seed, 0x5331])
    chosen = [rows[number] for number in kept][:count]
    pools: dict[int, list[Row]] = {}
    for number in sorted(set(range(len(rows))) - set(kept), key=lambda number: -len(rows[number]["token_ids"])):
        pools.setdefault(int(domains[number]), []).append(rows[number])
    while pools and len(chosen) < count:
        domain = sorted(pools)[rng.integers(len(pools))]
        weights = 0.5 ** np.arange(len(pools[domain]))
        chosen.append(pools[domain].pop(rng.choice(len(weights), p=weights / weights.sum())))
        if not pools[domain]:
            del pools[domain]
    return chosen
