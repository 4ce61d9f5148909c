"""lm-eval's model on the transformers engine that samples too, as evals.capped_model describes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from lm_eval.api.instance import Instance
from lm_eval.models.utils import normalize_gen_kwargs, postprocess_generated_text

from evals.capped_model import CappedModel, derive_answer_seed
from evals.task_functions import CUT_OFF
from heal.config.experiment import Engine
from heal.config.models import ModelSource
from heal.engines.base import Request, Sampling
from heal.engines.transformers import TransformersEngine
from heal.errors import HealError
from heal.progress import Progress

NO_LIMIT = 2**31
"""Tokens of a model without a maximum; lm-eval requires a number."""
OPTIONS = {"until", "max_gen_toks", "do_sample", "temperature", "top_p", "seed"}
"""Those of a task's `generation_kwargs` that the engine has."""


class TransformersModel(CappedModel):
    """A model that runs in this process. seed: of sampled answers."""

    def __init__(self, model: ModelSource, options: Engine, seed: int) -> None:
        super().__init__()
        self.engine = TransformersEngine.from_options(model, options, gpus=0)
        self.model = self.engine.model
        self.tokenizer = self.engine.tokenizer
        self.max_length = self.engine.max_positions or NO_LIMIT
        self.seed = seed
        self.stop_at_end_of_turn(model.template_options, self.model.generation_config.eos_token_id, model.path)

    @property
    def tokenizer_name(self) -> str:
        """Part of lm-eval's key of cached requests."""
        return str(self.tokenizer.name_or_path)

    def tok_encode(self, string: str) -> list[int]:
        """Token ids of a rendered prompt, which has its special tokens."""
        ids: list[int] = self.tokenizer(string, add_special_tokens=False)["input_ids"]
        return ids

    def close(self) -> None:
        """Frees the memory of the weights."""
        batches = self.engine.batches
        del self.model, self.engine, batches.model
        batches.free_memory()

    def build_extra_options(self, request: Instance, repeat: int) -> dict[str, Any]:
        return {"seed": derive_answer_seed(self.seed, request, repeat)}

    def answer(self, requests: list[Instance], disable_tqdm: bool) -> list[str]:
        """Requests with equal sampling are computed together, the longest prompts first."""
        groups: dict[Sampling, list[int]] = {}
        asked: list[Request] = []
        for place, request in enumerate(requests):
            prompt, options = request.args
            groups.setdefault(read_sampling(options), []).append(place)
            asked.append(Request(tuple(self.tok_encode(prompt)), (options["seed"],), options["max_gen_toks"]))
        answers = [""] * len(requests)
        progress = Progress(len(requests), "answers")
        for sampling, places in groups.items():
            places.sort(key=lambda place: (len(asked[place].prompt_ids), asked[place].prompt_ids), reverse=True)
            for start in range(0, len(places), self.engine.batch_size):
                batch = places[start : start + self.engine.batch_size]
                completions = self.engine.generate([asked[place] for place in batch], sampling)
                for place, (completion,) in zip(batch, completions, strict=True):
                    text = self.tokenizer.decode(completion.token_ids, skip_special_tokens=True)
                    cut_off = CUT_OFF if completion.finish_reason == "length" else ""
                    stop = requests[place].args[1].get("until")
                    answers[place] = postprocess_generated_text(text + cut_off, stop, think_end_token=None)
                if not disable_tqdm:
                    progress.add(len(batch), sum(len(completion.token_ids) for (completion,) in completions))
        return answers

    def loglikelihood(self, requests: list[Instance]) -> NoReturn:
        """Not offered: every benchmark of the suite generates."""
        raise HealError("the task asks for log-probs of given answers", fix='use a task with "generate_until"')

    loglikelihood_rolling = loglikelihood


def read_sampling(options: Mapping[str, Any]) -> Sampling:
    """How a request is sampled, without its maximum of new tokens. Raises HealError for what the engine cannot do."""
    given = normalize_gen_kwargs(dict(options))
    if given.get("top_k") in (0, -1, None):
        given.pop("top_k", None)
    for name in sorted(given.keys() - OPTIONS):
        raise HealError(
            f"the transformers engine has no {name} ({given[name]!r})",
            where="generation_kwargs of the task",
            fix="leave it out, or set engine.backend: vllm",
        )
    temperature = float(given.get("temperature", 1.0)) if given["do_sample"] else 0.0
    return Sampling(temperature, float(given.get("top_p", 1.0)))
