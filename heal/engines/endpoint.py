"""A teacher that is served elsewhere: an OpenAI-compatible endpoint (`vllm serve`, SGLang, a provider).

Reads the teacher's tokenizer from its folder or hub id (the weights stay at the server); asks `/completions` with token
ids, so that a repair goes on from exactly the tokens that were kept. Needs log-probs of the sampled and the likeliest
tokens; where the server gives no token ids (only vLLM does), they are read by tokenizing the text, and a sample whose
tokens do not match its log-probs is refused. The key comes from an environment variable, never from a file or argument.

    vllm serve Qwen/Qwen3-8B --port 8000
    # then, in the config:  teachers: {qwen: {path: Qwen/Qwen3-8B, revision: …, endpoint: {url: http://host:8000/v1}}}
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from heal.engines.base import (
    Completion,
    Engine,
    Request,
    Sampling,
    Score,
    check_sequence,
    first_line,
    load_tokenizer,
    template_hash,
)
from heal.errors import HealError
from heal.method.entropy import entropy_bounds

if TYPE_CHECKING:
    from heal.config.experiment import Endpoint


class EndpointEngine(Engine):
    """See Engine. Raises HealError where the endpoint cannot be reached, refuses the key or does not serve the model.

    model: folder or hub id of the tokenizer, and the model's name at the endpoint unless that has a `model_name`.
    """

    def __init__(
        self,
        model: str,
        *,
        endpoint: Endpoint,
        revision: str | None = None,
        top_logprobs: int = 20,
        max_length: int | None = None,
        template_options: Mapping[str, Any] | None = None,
    ) -> None:
        tokenizer = load_tokenizer(model, revision)
        self.endpoint, self.base_url, self.name = endpoint, endpoint.base_url, endpoint.model_name or model
        self.top, self.max_positions, self.vocabulary = top_logprobs, max_length, len(tokenizer)
        server = self._server()
        self.is_vllm = server == "vllm"
        settings = {
            "engine": "endpoint",
            "model": model,
            "revision": revision,
            "url": self.base_url,
            "model_name": self.name,
            "server": server,
            "usd_per_million_tokens": {"input": endpoint.input_price, "output": endpoint.output_price},
            "top_logprobs": top_logprobs,
            "entropy": "lower bound",
            "template_sha256": template_hash(tokenizer),
            "template_options": dict(template_options or {}),
        }
        super().__init__(tokenizer, settings, dict(template_options or {}))

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        asked = []
        for i, request in enumerate(requests):
            limit = sampling.max_new_tokens if request.max_new_tokens is None else request.max_new_tokens
            check_sequence(f"request {i}", request.prompt_ids, limit or -1, self.max_positions, self.vocabulary)
            for seed in request.seeds:
                asked.append(
                    {
                        "prompt": list(request.prompt_ids),
                        "max_tokens": limit,
                        "temperature": sampling.temperature,
                        "top_p": sampling.top_p,
                        "seed": seed % 2**63,
                        "logprobs": self.top,
                    }
                )
        vllms_own = {"return_token_ids": True, "return_tokens_as_token_ids": True, "skip_special_tokens": False}
        answers = self._ask_all(asked, vllms_own if self.is_vllm else {})
        made = iter([self._completion(answer.choices[0]) for answer in answers])
        samples = [[next(made) for _ in request.seeds] for request in requests]
        self.usage.prefill_tokens += sum(len(ids) for ids in {r.prompt_ids for r in requests if r.seeds})
        self.usage.generated_tokens += sum(len(one.token_ids) for row in samples for one in row)
        return samples

    def score(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Score]:
        if not self.is_vllm:
            fix = "serve the teacher with vLLM, or set pure.enabled to false in every method"
            raise HealError("the endpoint gives no log-probs of a prompt", where=self.base_url, fix=fix)
        asked = []
        for i, (context, new) in enumerate(sequences):
            check_sequence(f"sequence {i}", context, len(new) + 1, self.max_positions, self.vocabulary)
            asked.append({"prompt": [*map(int, context), *map(int, new)], "max_tokens": 1, "temperature": 0.0})
        scores = []
        for answer, (context, new) in zip(self._ask_all(asked, {"prompt_logprobs": self.top}), sequences, strict=True):
            places = answer.choices[0].prompt_logprobs[len(context) :]
            own = [place[str(int(token))]["logprob"] for place, token in zip(places, new, strict=True)]
            listed = [[one["logprob"] for one in place.values()] for place in places]
            scores.append(Score(np.array(own, np.float32), *self._bounds(listed)))
            self.usage.prefill_tokens += len(context)
            self.usage.scored_tokens += len(new)
        return scores

    def _completion(self, choice: Any) -> Completion:
        if choice.finish_reason not in ("stop", "length"):
            found = f"a sample ended with {choice.finish_reason!r}"
            raise HealError(found, where=self.base_url, fix="see the server's log")
        if choice.logprobs is None or not choice.logprobs.top_logprobs:
            fix = "serve the model with log-probs (vllm serve --max-logprobs 20), or import traces (heal import)"
            raise HealError("the endpoint gives no log-probs", where=self.base_url, fix=fix)
        logprobs = np.array(choice.logprobs.token_logprobs, np.float32)
        ids = getattr(choice, "token_ids", None) or self._ids_of(choice, len(logprobs))
        low, high = self._bounds([list(place.values()) for place in choice.logprobs.top_logprobs])
        return Completion(np.array(ids, np.int32), logprobs, low, choice.finish_reason, high)

    def _ids_of(self, choice: Any, count: int) -> list[int]:
        """Token ids of a text whose tokens the server only names; the end token's log-prob may stand behind them."""
        ids = self.tokenizer.encode(choice.text, add_special_tokens=False)
        if choice.finish_reason == "stop" and len(ids) == count - 1:
            ids.append(self.tokenizer.eos_token_id)
        if len(ids) != count:
            found = f"{count} log-probs, but the text has {len(ids)} tokens by this tokenizer"
            fix = "give the teacher's own tokenizer as its path, or serve it with vLLM, which tells token ids"
            raise HealError(found, where=self.base_url, fix=fix)
        return ids

    def _bounds(self, listed: Sequence[Sequence[float]]) -> tuple[np.ndarray, np.ndarray]:
        """Entropy bounds, float32 [T], of the log-probs listed at each place; a server may list more or less than K."""
        pairs = [entropy_bounds(np.sort(np.array(place))[::-1][: self.top], self.vocabulary) for place in listed]
        table = np.array(pairs, np.float32).reshape(-1, 2)
        return table[:, 0], table[:, 1]

    def _server(self) -> str:
        """Who serves the model, by the endpoint's own list. Raises HealError before anything is spent."""
        import openai

        async def ask() -> list[Any]:
            async with self._client() as client:
                return [model async for model in client.models.list()]

        try:
            served = {model.id: model.owned_by for model in asyncio.run(ask())}
        except openai.AuthenticationError:
            fix = f"put a valid key into the environment variable {self.endpoint.api_key_env}"
            raise HealError("the endpoint refuses the key", where=self.base_url, fix=fix) from None
        except openai.OpenAIError as error:
            fix = "check the endpoint's url (it ends in /v1) and that the server runs"
            raise HealError(f"no answer ({first_line(error)})", where=self.base_url, fix=fix) from None
        if self.name not in served:
            fix = f"set the endpoint's model_name to one of: {', '.join(sorted(served)) or 'nothing is served there'}"
            raise HealError(f"the endpoint does not serve {self.name!r}", where=self.base_url, fix=fix)
        return served[self.name]

    def _client(self) -> Any:
        from openai import AsyncOpenAI

        given = self.endpoint
        key = os.environ.get(given.api_key_env) or "none"  # one's own server wants none, the client insists on a word
        return AsyncOpenAI(base_url=self.base_url, api_key=key, max_retries=given.retries, timeout=given.timeout_s)

    def _ask_all(self, asked: Sequence[Mapping[str, Any]], extra: Mapping[str, Any]) -> list[Any]:
        """One answer per request, in their order, so many at a time; the client retries with growing pauses."""
        import openai

        async def ask() -> list[Any]:
            async with self._client() as client, asyncio.TaskGroup() as group:
                gate = asyncio.Semaphore(self.endpoint.concurrency)

                async def one(request: Mapping[str, Any]) -> Any:
                    async with gate:
                        return await client.completions.create(model=self.name, extra_body=dict(extra), **request)

                tasks = [group.create_task(coroutine) for coroutine in map(one, asked)]
            return [task.result() for task in tasks]

        try:
            return asyncio.run(ask())
        except* openai.OpenAIError as errors:
            error = errors.exceptions[0]
            found = f"a request failed, {self.endpoint.retries} retries included ({first_line(error)})"
            fix = "finished batches are kept: run again when the server answers"
            raise HealError(found, where=self.base_url, fix=fix) from None
