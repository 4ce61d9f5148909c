"""lm-eval's client for a model behind an OpenAI-compatible endpoint, prompted as models that run locally are.

Prompts are rendered locally, by the model's own chat template. No seed is sent: lm-eval would send the same one with
every repeat of a question, and a server that honors it would give the same answer each time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from lm_eval.models.openai_completions import LocalCompletionsAPI

from heal.config.models import Endpoint


class ServedModel(LocalCompletionsAPI):
    """A teacher's endpoint. template_options: arguments of its chat template."""

    def __init__(
        self, model: str, revision: str | None, endpoint: Endpoint, template_options: Mapping[str, Any]
    ) -> None:
        self.template_options = dict(template_options)
        self.key = os.environ.get(endpoint.api_key_env, "")
        super().__init__(
            model=endpoint.model_name or model,
            base_url=f"{endpoint.base_url.rstrip('/')}/completions",
            tokenizer=model,
            tokenizer_backend="huggingface",
            tokenized_requests=False,
            revision=revision or "main",
            max_length=2**31,  # lm-eval requires a number; the server has its own limit
            num_concurrent=endpoint.concurrency,
            max_retries=max(1, endpoint.retries),
            timeout=int(endpoint.timeout_s),
        )

    @property
    def api_key(self) -> str:
        return self.key

    def apply_chat_template(self, chat_history: Any, add_generation_prompt: bool = True) -> Any:
        options = {"tokenize": False, "add_generation_prompt": add_generation_prompt, **self.template_options}
        return self.tokenizer.apply_chat_template(chat_history, **options)

    def _create_payload(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        payload = super()._create_payload(*arguments, **options)
        payload.pop("seed", None)
        return payload
