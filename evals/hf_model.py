"""lm-eval's transformers model, as evals.capped_model describes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM

from evals.capped_model import CappedModel
from evals.task_functions import CUT_OFF


class TransformersModel(CappedModel, HFLM):
    """A model that runs in this process. template_options: arguments of its chat template. options: of HFLM."""

    def __init__(self, model: str, template_options: Mapping[str, Any], **options: Any) -> None:
        super().__init__(pretrained=model, **options)
        generation_config = self.model.generation_config
        self.stop_at_end_of_turn(template_options, generation_config.eos_token_id, model)
        generation_config.eos_token_id = list(self.end_ids)

    def close(self) -> None:
        """Frees the memory of the weights."""
        del self._model
        torch.cuda.empty_cache()  # does nothing without a GPU

    def tok_decode(self, tokens: Any, skip_special_tokens: bool = True) -> str:
        text: str = super().tok_decode(tokens, skip_special_tokens=skip_special_tokens)
        answered = isinstance(tokens, list) and skip_special_tokens
        return text + CUT_OFF if answered and not set(self.end_ids) & set(tokens) else text
