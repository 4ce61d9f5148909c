"""On-policy distillation: the student is corrected, token by token, on answers that it wrote itself.

Agarwal et al. 2023, arXiv 2306.13649 (generalized knowledge distillation, GKD), with TRL's GKDTrainer. In a share λ of
the steps the student answers the problems itself, in the others the teacher's samples are read; on both the student's
token distributions are drawn to the teacher's by the generalized Jensen-Shannon divergence with β. There is no
gradient through the sampling. Teacher and student need one vocabulary.

TRL's stable DistillationTrainer (1.16) is faster, and cannot stand in: it has no λ, every step is on the student's own
answers, and its batches are prompts that it generates from, so packed batches of the curriculum do not fit it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar

from pydantic import Field

from heal.config import experiment as config
from heal.config.models import Distillation
from heal.config.options import OptionGroup, Share
from heal.method.base import NOT_CHECKED, Example, Method, Traces, build_examples
from heal.trace_files import GRADES, SAMPLES, TraceFile


class Options(OptionGroup):
    on_policy_share: Share = 0.5
    """λ: share of the steps on the student's own answers (TRL's default: 0.5)."""
    beta: Share = 0.5
    """0: KL divergence from the teacher, 1: reverse, between: generalized Jensen-Shannon (TRL's default: 0.5)."""
    temperature: Annotated[float, Field(gt=0)] = 0.9
    """Of the student's own answers (TRL's default: 0.9)."""
    sampling: config.Sampling = config.Sampling()
    """`max_new_tokens` only: the longest answer of the student's own."""
    pace: config.Pace = config.Pace()
    """`max_per_problem` only: there is one stage."""


class OnPolicy(Method):
    name = "on_policy"
    paper = "arXiv 2306.13649 (Agarwal et al., GKD)"
    summary = "the teacher's token distributions, on the student's own answers and on correct samples"
    differs = (
        "only problems that the teacher solved, since the other steps read its correct samples; the teacher's passes "
        "during training are in the training seconds, not in the teacher's tokens; the run's optimizer steps"
    )
    sources: ClassVar = {
        "share λ of on-policy steps, divergence with β": "public code: TRL 1.16, experimental/gkd/gkd_trainer.py",
        "λ = 0.5, β = 0.5, temperature 0.9": "public code: TRL 1.16, experimental/gkd/gkd_config.py (defaults)",
        "the paper's own λ, β and temperature": NOT_CHECKED,
    }
    options: Options
    Options = Options

    def needs(self) -> list[TraceFile]:
        return [SAMPLES, GRADES]

    @property
    def distillation(self) -> Distillation:
        return Distillation(
            on_policy_share=self.options.on_policy_share,
            beta=self.options.beta,
            temperature=self.options.temperature,
            max_new_tokens=self.options.sampling.max_new_tokens,
        )

    def build_curriculum(self, traces: Traces) -> Iterable[Example]:
        return build_examples(traces.read_correct(), 1, "sample", self.options.pace.max_per_problem)
