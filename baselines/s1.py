"""s1-like selection: problems too hard for the student, spread over domains, with long traces.

Muennighoff et al. 2025, arXiv 2501.19393 ("s1: Simple test-time scaling", section 2). 59,000 problems with traces
become 1,000 by quality (formatting), difficulty (neither of two models solves it; longer traces are preferred) and
diversity (a domain drawn uniformly, then a problem in it, the longer its trace the likelier). Known: 1,000 problems in
50 domains; in a domain the problem with the next shorter trace is half as likely.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from heal.config.options import Count, OptionGroup, Share
from heal.method.base import Example, Method, Traces, compute_pass_rates
from heal.records import Row
from heal.trace_files import GRADES, SAMPLES, STUDENT_GRADES, STUDENT_SAMPLES, TraceFile


class Options(OptionGroup):
    most_problems: Count = 1000
    """Maximum number of problems (as in the paper)."""
    domains: Count = 50
    """Maximum number of domains (as in the paper)."""
    solved_from: Share = 0.5
    """A problem is too easy where the student's own pass rate is at least this (ours)."""


class S1(Method):
    name = "s1"
    paper = "arXiv 2501.19393 (Muennighoff et al., s1)"
    summary = "hard for the student, spread over domains, the longest trace of each"
    differs = (
        "too easy is what the student itself solves, not either of two larger models; domains are clusters of the "
        "questions' words (TF-IDF, k-means), not subjects named by a language model; only correct traces; no filter "
        "of formatting; no budget forcing at test time; the run's optimizer steps, not 5 epochs"
    )
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
        chosen = draw_spread(longest, domains, self.options.most_problems, traces.seed)
        return (Example(row["problem_id"], row["text"].strip(), 1, "sample", row["trace_id"]) for row in chosen)


def cluster_questions(questions: Sequence[str], limit: int, seed: int) -> np.ndarray:
    """Domain of each question, from 0: k-means over TF-IDF of its words; one domain where the words do not differ."""
    from sklearn.cluster import KMeans
    from sklearn.feature_extraction.text import TfidfVectorizer

    if len(set(questions)) < 2:
        return np.zeros(len(questions), dtype=int)
    vectors = TfidfVectorizer(token_pattern=r"\w+").fit_transform(questions)
    distinct = {tuple(zip(row.indices, row.data, strict=True)) for row in vectors}
    return KMeans(min(limit, len(distinct)), n_init=1, random_state=seed).fit_predict(vectors)


def draw_spread(rows: Sequence[Row], domains: Sequence[int] | np.ndarray, count: int, seed: int) -> list[Row]:
    """Up to `count` rows: a random domain, then one of its rows, each half as likely as the next longer one."""
    rng = np.random.default_rng([seed, 0x5331])
    pools: dict[int, list[Row]] = {}
    for row, domain in sorted(zip(rows, domains, strict=True), key=lambda pair: -len(pair[0]["token_ids"])):
        pools.setdefault(int(domain), []).append(row)
    chosen: list[Row] = []
    while pools and len(chosen) < count:
        domain = sorted(pools)[rng.integers(len(pools))]
        place = min(int(rng.geometric(0.5)) - 1, len(pools[domain]) - 1)
        chosen.append(pools[domain].pop(place))
        if not pools[domain]:
            del pools[domain]
    return chosen
