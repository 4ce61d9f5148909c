"""What every lm-eval model of the suite shares: prompts, end of a turn, and answers that end at the model's length.

lm-eval itself drops template options on one engine, stops at the tokenizer's EOS only, and, where prompt and answer
exceed the model's positions, stops the evaluation or cuts the beginning off the prompt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from evals.task_functions import NO_ROOM
from heal.end_token import find_end_token_id
from heal.engines.base import collect_end_ids
from heal.records import derive_seed


class CappedModel(LM):
    """Base class, before lm-eval's own where there is one: its `answer` takes the capped requests.

    An answer that reaches its token limit ends with CUT_OFF; the answer to a prompt that leaves no room is NO_ROOM.
    """

    tokenizer: Any
    max_length: int
    template_options: Mapping[str, Any]
    end_ids: Sequence[int] = ()
    """All end tokens, of the chat template and of the model."""

    def stop_at_end_of_turn(self, template_options: Mapping[str, Any], from_config: Any, where: str) -> None:
        """Makes the end of a turn in the chat template the tokenizer's EOS, which lm-eval stops at.

        from_config: EOS of the generation config. Raises HealError for a template without an end of a turn.
        """
        self.template_options = dict(template_options)
        end = find_end_token_id(self.tokenizer, where, template_options)
        self.end_ids = collect_end_ids(end, from_config, self.tokenizer.eos_token_id)
        self.tokenizer.eos_token = self.tokenizer.convert_ids_to_tokens(end)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The prompt, as training and sampling render it."""
        text: str = self.tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
            **self.template_options,
        )
        return text

    def build_extra_options(self, request: Instance, repeat: int) -> dict[str, Any]:
        """Generation options of one answer, besides those of its task. repeat: the answer's index, from 0."""
        return {}

    def answer(self, requests: list[Instance], disable_tqdm: bool) -> list[str]:
        """One text per request. By default lm-eval's own model answers."""
        texts: list[str] = super().generate_until(requests, disable_tqdm=disable_tqdm)
        return texts

    def count_tokens(self, prompt: str) -> int:
        """Tokens of a prompt."""
        return len(self.tok_encode(prompt))

    def close(self) -> None:
        """Frees what the model holds, for the next one in this process."""

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """One answer per request, each within the model's length."""
        answers = [NO_ROOM] * len(requests)
        places = []
        capped = []
        rooms: dict[str, int] = {}
        repeats: Counter[int] = Counter()
        for place, request in enumerate(requests):
            prompt, options = request.args
            extra = self.build_extra_options(request, repeats[id(request)])
            repeats[id(request)] += 1
            if prompt not in rooms:
                rooms[prompt] = self.max_length - self.count_tokens(prompt)
            limit = min(options["max_gen_toks"], rooms[prompt])
            if limit >= 1:
                places.append(place)
                arguments = (prompt, {**options, "max_gen_toks": limit, **extra})
                capped.append(Instance(request.request_type, request.doc, arguments, request.idx, request.metadata))
        if len(capped) < len(requests):
            print(f"{len(requests) - len(capped)} of {len(requests)} prompts leave no room for an answer", flush=True)
        texts = self.answer(capped, disable_tqdm) if capped else []
        for place, text in zip(places, texts, strict=True):
            answers[place] = text
        return answers


def derive_answer_seed(seed: int, request: Instance, repeat: int) -> int:
    """Seed of one answer: without one of its own, an answer depends on what is computed next to it.

    seed: of the evaluation. repeat: the answer's index, from 0.
    """
    return derive_seed(seed, request.task_name, request.doc_id, repeat)
