"""lm-eval's client for a model behind an OpenAI-compatible endpoint, prompted as models that run locally are.

Prompts are rendered locally, by the model's own chat template. No seed is sent: lm-eval would send the same one with
every repeat of a question, and a server that honors it would give the same answer each time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from lm_eval.models.openai_completions import LocalCompletionsAPI

from evals.capped_model import CappedModel
from evals.task_functions import CUT_OFF
from heal.config.models import Endpoint


class ServedModel(CappedModel, LocalCompletionsAPI):
    """A teacher's endpoint. template_options: arguments of its chat template. max_length: engine.max_length."""

    def __init__(
        self,
        model: str,
        revision: str | None,
        endpoint: Endpoint,
        template_options: Mapping[str, Any],
        max_length: int | None = None,
    ) -> None:
        self.key = os.environ.get(endpoint.api_key_env, "")
        super().__init__(
            model=endpoint.model_name or model,
            base_url=f"{endpoint.base_url.rstrip('/')}/completions",
            tokenizer=model,
            tokenizer_backend="huggingface",
            tokenized_requests=False,
            revision=revision or "main",
            max_length=max_length or 2**31,  # lm-eval requires a number; the server has its own limit
            num_concurrent=endpoint.concurrency,
            max_retries=max(1, endpoint.retries),
            timeout=int(endpoint.timeout_s),
        )
        self.stop_at_end_of_turn(template_options, None, model)

    @property
    def api_key(self) -> str:
        return self.key

    def count_tokens(self, prompt: str) -> int:
        return len(self.tokenizer(prompt, add_special_tokens=False)["input_ids"])

    def _create_payload(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        payload = super()._create_payload(*arguments, **options)
        payload.pop("seed", None)
        return payload

    @staticmethod
    def parse_generations(outputs: Any, **options: Any) -> list[str]:
        """The answers; those that the server cut off end with CUT_OFF."""
        texts = []
        for output in outputs if isinstance(outputs, list) else [outputs]:
            choices = sorted(output["choices"], key=lambda choice: choice["index"])
            for choice in choices:
                texts.append(choice["text"] + (CUT_OFF if choice.get("finish_reason") == "length" else ""))
        return texts
