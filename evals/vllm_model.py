"""lm-eval's vLLM model, as evals.capped_model describes, on the engine that samples too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lm_eval.api.instance import Instance

from evals.capped_model import CappedModel, derive_answer_seed
from evals.task_functions import CUT_OFF
from heal.engines.vllm_start import name_vllm_distribution

with name_vllm_distribution():
    from lm_eval.models.vllm_causallms import VLLM


class VllmModel(CappedModel, VLLM):
    """A model that vLLM runs. template_options: arguments of its chat template. options: of lm-eval's VLLM."""

    def __init__(self, model: str, template_options: Mapping[str, Any], **options: Any) -> None:
        with name_vllm_distribution():
            super().__init__(pretrained=model, **options)
        from_config = self.model.llm_engine.model_config.try_get_generation_config().get("eos_token_id")
        self.stop_at_end_of_turn(template_options, from_config, model)

    def close(self) -> None:
        """Ends the engine's processes, and with them what they hold of the GPU."""
        self.model.llm_engine.engine_core.shutdown()

    def build_extra_options(self, request: Instance, repeat: int) -> dict[str, Any]:
        seed = derive_answer_seed(self.model_args["seed"], request, repeat)
        return {"stop_token_ids": list(self.end_ids), "seed": seed}

    def _model_generate(self, *arguments: Any, **options: Any) -> list[Any]:
        outputs: list[Any] = super()._model_generate(*arguments, **options)
        for output in outputs:
            answer = output.outputs[0]
            if answer.finish_reason == "length":
                answer.text += CUT_OFF
        return outputs
