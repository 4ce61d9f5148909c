"""Copy this file to heal/engines/<name>.py to add an engine. It is found by scanning; no list has to be extended.

Checklist:
1. `name` is what `engine.backend` in the config says. `from_options` takes what it needs from heal.config.experiment:
   `ModelSource` (path, revision, template_options) and `Engine` (dtype, device, max_num_seqs, …).
2. Import large packages inside functions: every file of this package is imported to find the engines' names.
3. A completion depends on its prompt and seed only, never on the other requests of the call.
4. Log-probs and entropies come from the raw logits: temperature 1, before top-p. An engine that sees only the likeliest
   tokens returns bounds (heal.method.entropy.bound_entropies).
5. Generation stops at `end_token_id`, the end of a turn in the chat template, and at every EOS of the model.
   `max_positions` limits prompt and completion together; `generate` and `score` take whatever is within it.
6. `settings` is JSON-able and names everything that changes the output; it is part of what decides a rerun.
7. Test it against the reference engine as tests/engines/test_vllm.py does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from heal.end_token import find_end_token_id
from heal.engines.base import Completion, Engine, Request, Sampling, Score, hash_template, load_tokenizer

if TYPE_CHECKING:
    from heal.config.experiment import Engine as EngineOptions
    from heal.config.models import ModelSource


class TemplateEngine(Engine):
    """See Engine. Raises HealError when the model cannot be loaded."""

    name = "template"

    def __init__(self, model: str, revision: str | None = None) -> None:
        tokenizer = load_tokenizer(model, revision)
        settings: dict[str, Any] = {"engine": self.name, "model": model, "template_sha256": hash_template(tokenizer)}
        super().__init__(tokenizer, settings, find_end_token_id(tokenizer, model))

    @classmethod
    def from_options(cls, model: ModelSource, options: EngineOptions, gpus: int) -> TemplateEngine:
        return cls(model.path, model.revision)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        raise NotImplementedError("check_requests(…), sample, count with self.usage.add_prompts(requests)")

    def score(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Score]:
        raise NotImplementedError("check_sequence(…), score, count self.usage.prefill_tokens and scored_tokens")
