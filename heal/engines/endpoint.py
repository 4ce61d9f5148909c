"""A teacher that is served elsewhere: an OpenAI-compatible endpoint (`vllm serve`, SGLang, a provider).

Reads the teacher's tokenizer from its folder or hub id (the weights stay at the server); sends token ids to
`/completions`, so that a repair continues exactly the tokens before the cut. Needs log-probs of the sampled and the
likeliest tokens. Only vLLM's server returns token ids; with another server the text is tokenized again, and a sample
whose tokens do not match its log-probs is refused. The key comes from an environment variable, never from a file or
argument.

    vllm serve Qwen/Qwen3-8B --port 8000
    # in the config:  teachers: {qwen: {path: Qwen/Qwen3-8B, revision: …, endpoint: {base_url: http://host:8000/v1}}}
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from heal.end_token import find_end_token_id
from heal.engines.base import (
    Completion,
    Engine,
    Request,
    Sampling,
    Score,
    check_requests,
    check_sequence,
    get_first_line,
    hash_template,
    load_tokenizer,
    regroup,
)
from heal.errors import HealError
from heal.method.entropy import bound_entropies

if TYPE_CHECKING:
    from heal.config.experiment import Engine as EngineOptions
    from heal.config.models import Endpoint, ModelSource

RETRIED = (408, 409, 429)
"""Refusals that the client asks again after: timeout, conflict, too many requests."""
UNREADABLE = (AttributeError, LookupError, TypeError, ValueError)
"""What the client, or reading its answer, raises where a body has another form than the API's."""
VLLM_EXTRAS = {"return_token_ids": True, "return_tokens_as_token_ids": True, "skip_special_tokens": False}


class EndpointEngine(Engine):
    """See Engine. Raises HealError where the endpoint cannot be reached, refuses the key or does not serve the model.

    model: folder or hub id of the tokenizer, and the model's name at the endpoint unless that has a `model_name`.
    """

    name = "endpoint"
    loads_weights = False

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
        self.endpoint = endpoint
        self.base_url = endpoint.base_url
        self.model_name = endpoint.model_name or model
        self.top = top_logprobs
        self.vocabulary = len(tokenizer)
        server, longest = self.find_server()
        self.is_vllm = server == "vllm"
        limits = [limit for limit in (max_length, longest) if limit]
        end_token_id = find_end_token_id(tokenizer, model, template_options or {})
        settings = {
            "engine": self.name,
            "model": model,
            "revision": revision,
            "url": self.base_url,
            "model_name": self.model_name,
            "server": server,
            "usd_per_million_tokens": {"input": endpoint.input_price, "output": endpoint.output_price},
            "top_logprobs": top_logprobs,
            "entropy": "lower bound",
            "template_sha256": hash_template(tokenizer),
            "template_options": dict(template_options or {}),
            "end_token_id": end_token_id,
        }
        # A server generates a token behind what it scores: one position less, so that what was sampled can be scored.
        max_positions = min(limits) - 1 if limits else None
        super().__init__(tokenizer, settings, end_token_id, max_positions, dict(template_options or {}))

    @classmethod
    def from_options(cls, model: ModelSource, options: EngineOptions, gpus: int) -> EndpointEngine:
        if model.endpoint is None:
            raise HealError("the model has no endpoint", where=model.path, fix="give it an `endpoint` with a base_url")
        return cls(
            model.path,
            endpoint=model.endpoint,
            revision=model.revision,
            top_logprobs=options.top_logprobs,
            max_length=options.max_length,
            template_options=model.template_options,
        )

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        limits = check_requests(requests, sampling, self.max_positions, self.vocabulary)
        calls: list[dict[str, Any]] = []
        for request, limit in zip(requests, limits, strict=True):
            for seed in request.seeds:
                calls.append(
                    {
                        "prompt": list(request.prompt_ids),
                        "max_tokens": limit,
                        "temperature": sampling.temperature,
                        "top_p": sampling.top_p,
                        "seed": seed % 2**63,
                        "logprobs": self.top,
                    }
                )
        # The server stops at its model's EOS, which need not be what the chat template ends a turn with.
        if self.is_vllm:
            extra = VLLM_EXTRAS | {"stop_token_ids": [self.end_token_id]}
        else:
            extra = {"stop": [self.tokenizer.convert_ids_to_tokens(self.end_token_id)]}
        completions = []
        with self.explain_form():
            for answer in self.call_all(calls, extra):
                completion = self.read_completion(self.get_choice(answer))
                completions.append(completion)
                self.usage.generated_tokens += len(completion.token_ids)
        self.usage.add_prompts(requests)
        return regroup(completions, [len(request.seeds) for request in requests])

    def score(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Score]:
        if not self.is_vllm:
            fix = "serve the teacher with vLLM, or set pure.enabled to false in every method"
            raise HealError("the endpoint gives no log-probs of a prompt", where=self.base_url, fix=fix)
        calls = []
        for number, (context, new) in enumerate(sequences):
            check_sequence(f"sequence {number}", context, len(new), self.max_positions, self.vocabulary)
            calls.append({"prompt": [*map(int, context), *map(int, new)], "max_tokens": 1, "temperature": 0.0})
        answers = self.call_all(calls, {"prompt_logprobs": self.top})
        scores = []
        for answer, (context, new) in zip(answers, sequences, strict=True):
            logprobs: list[float] = []
            listed: list[list[float]] = []
            with self.explain_form():
                for entries, token in zip(self.get_prompt_logprobs(answer, context, new), new, strict=True):
                    logprobs.append(entries[str(int(token))]["logprob"])
                    listed.append([entry["logprob"] for entry in entries.values()])
                scores.append(Score(np.array(logprobs, np.float32), *self.bound_listed(listed)))
            self.usage.prefill_tokens += len(context)
            self.usage.scored_tokens += len(new)
        return scores

    @contextmanager
    def explain_form(self) -> Iterator[None]:
        """Raises HealError where an answer has fields of another type than the API's."""
        try:
            yield
        except UNREADABLE as error:
            problem = f"an answer of another form than the API's ({get_first_line(error)})"
            fix = "serve the model with vLLM, or with another server version; finished batches are saved"
            raise HealError(problem, where=self.base_url, fix=fix) from None

    def get_choice(self, answer: Any) -> Any:
        """The one completion of an answer. Raises HealError for an answer of another form."""
        choices = getattr(answer, "choices", None)
        if isinstance(choices, list) and len(choices) == 1:
            return choices[0]
        refusal = getattr(answer, "error", None)
        content = answer if isinstance(answer, str) else refusal or "no choices"
        fix = "check that base_url is the API itself (it ends in /v1), and see the server's log"
        raise HealError(f"an answer without a completion: {content!s:.200}", where=self.base_url, fix=fix)

    def get_prompt_logprobs(self, answer: Any, context: Sequence[int], new: Sequence[int]) -> Sequence[Any]:
        """The server's entries for the new tokens. Raises HealError where there is not one for each of them."""
        entries = (getattr(self.get_choice(answer), "prompt_logprobs", None) or [])[len(context) :]
        complete = len(entries) == len(new) and all(
            entry and str(int(token)) in entry for entry, token in zip(entries, new, strict=True)
        )
        if not complete:
            problem = f"log-probs of {len(entries)} prompt tokens, expected the {len(new)} scored ones"
            raise HealError(problem, where=self.base_url, fix="use a vLLM server that returns prompt_logprobs")
        return entries

    def read_completion(self, choice: Any) -> Completion:
        """The server's answer as a completion. Raises HealError where it was aborted or has no log-probs."""
        if choice.finish_reason not in ("stop", "length"):
            problem = f"a sample ended with {choice.finish_reason!r}"
            raise HealError(problem, where=self.base_url, fix="see the server's log")
        if choice.logprobs is None or not choice.logprobs.top_logprobs:
            fix = "serve the model with log-probs (vllm serve --max-logprobs 20), or import traces (heal import)"
            raise HealError("the endpoint gives no log-probs", where=self.base_url, fix=fix)
        entries = choice.logprobs.top_logprobs
        logprobs = np.array(choice.logprobs.token_logprobs or [], np.float32)
        if not np.isfinite(logprobs).all() or not all(entries) or len(logprobs) != len(entries):
            problem = (
                f"log-probs of {len(logprobs)} tokens and {len(entries)} lists of the likeliest, some of them empty"
            )
            fix = "serve the model with vLLM, or with another server version: every token needs its log-probs"
            raise HealError(problem, where=self.base_url, fix=fix)
        ids = getattr(choice, "token_ids", None) or self.tokenize_answer(choice, len(logprobs))
        if len(ids) != len(logprobs):
            fix = "update the server: it must return one log-prob for each of the token_ids"
            raise HealError(f"{len(ids)} token ids with {len(logprobs)} log-probs", where=self.base_url, fix=fix)
        low, high = self.bound_listed([list(alternatives.values()) for alternatives in entries])
        return Completion(np.array(ids, np.int32), logprobs, low, choice.finish_reason, high)

    def tokenize_answer(self, choice: Any, count: int) -> list[int]:
        """Token ids of a text, for a server that returns none.

        count: number of its log-probs, the end token's included. Raises HealError where the numbers differ, or there is
        no text.
        """
        if not isinstance(choice.text, str):
            fix = "use the server's /completions, not its chat API, without a parser of reasoning"
            raise HealError("a completion without text", where=self.base_url, fix=fix)
        ids = self.tokenizer.encode(choice.text, add_special_tokens=False)
        if choice.finish_reason == "stop" and len(ids) == count - 1:
            ids.append(self.end_token_id)
        if len(ids) != count:
            problem = f"{count} log-probs, but the text has {len(ids)} tokens by this tokenizer"
            fix = "give the teacher's own tokenizer as its path, or serve it with vLLM, which returns token ids"
            raise HealError(problem, where=self.base_url, fix=fix)
        return ids

    def bound_listed(self, listed: Sequence[Sequence[float]]) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper entropy bounds, float32 [T], of the log-probs at each position; a server may not list K."""
        bounds = np.zeros((len(listed), 2), np.float32)
        for number, logprobs in enumerate(listed):
            likeliest = np.sort(np.array(logprobs))[::-1][: self.top]
            bounds[number] = bound_entropies(likeliest, self.vocabulary)
        return bounds[:, 0], bounds[:, 1]

    def find_server(self) -> tuple[str, int | None]:
        """Who serves the model, and its longest sequence in tokens where the server names it, by the endpoint's list.

        Raises HealError before a token is spent.
        """
        import openai

        async def list_models() -> dict[str, tuple[str, int | None]]:
            owners = {}
            async with self.open_client() as client:
                async for model in client.models.list():
                    longest = (model.model_extra or {}).get("max_model_len")
                    owners[str(model.id)] = str(model.owned_by), None if longest is None else int(longest)
            return owners

        fix = "check the endpoint's base_url (it ends in /v1) and that the server runs"
        try:
            owners = asyncio.run(list_models())
        except openai.AuthenticationError:
            fix = f"put a valid key into the environment variable {self.endpoint.api_key_env}"
            raise HealError("the endpoint refuses the key", where=self.base_url, fix=fix) from None
        except openai.OpenAIError as error:
            raise HealError(f"no answer ({get_first_line(error)})", where=self.base_url, fix=fix) from None
        except UNREADABLE:
            raise HealError("/models answers with no list of models", where=self.base_url, fix=fix) from None
        if self.model_name not in owners:
            fix = f"set the endpoint's model_name to one of: {', '.join(sorted(owners)) or 'nothing is served there'}"
            raise HealError(f"the endpoint does not serve {self.model_name!r}", where=self.base_url, fix=fix)
        return owners[self.model_name]

    def open_client(self) -> Any:
        """A client that retries with growing pauses."""
        from openai import AsyncOpenAI

        # The client insists on a key; a server of one's own needs none.
        key = os.environ.get(self.endpoint.api_key_env) or "none"
        retries, timeout = self.endpoint.retries, self.endpoint.timeout_s
        return AsyncOpenAI(base_url=self.base_url, api_key=key, max_retries=retries, timeout=timeout)

    def call_all(self, calls: Sequence[Mapping[str, Any]], extra: Mapping[str, Any]) -> list[Any]:
        """The answers to the calls, in their order; at most endpoint.concurrency calls at a time.

        extra: arguments that are not OpenAI's. Raises HealError where a call fails after its retries.
        """
        import openai

        async def run_calls() -> list[Any]:
            async with self.open_client() as client, asyncio.TaskGroup() as group:
                gate = asyncio.Semaphore(self.endpoint.concurrency)

                async def run_call(call: Mapping[str, Any]) -> Any:
                    async with gate:
                        return await client.completions.create(model=self.model_name, extra_body=dict(extra), **call)

                tasks = list(map(group.create_task, map(run_call, calls)))
            return [task.result() for task in tasks]

        try:
            return asyncio.run(run_calls())
        except ExceptionGroup as errors:  # not except*, which before Python 3.11.4 wraps what it raises in a group
            error = errors.exceptions[0]
            if isinstance(error, openai.OpenAIError):
                problem = f"a request failed, {self.endpoint.retries} retries included ({get_first_line(error)})"
                raise HealError(problem, where=self.base_url, fix=self.explain_failure(error)) from None
            if isinstance(error, UNREADABLE):
                problem = f"an answer that is no JSON ({get_first_line(error)})"
                fix = "see the log of the server, or of the proxy before it, and run again: finished batches are saved"
                raise HealError(problem, where=self.base_url, fix=fix) from None
            raise

    def explain_failure(self, error: BaseException) -> str:
        """What a user does about a request that failed: a server that is busy is asked again, one that refuses not."""
        status = getattr(error, "status_code", None)
        if status in (401, 403):
            return f"put a valid key into the environment variable {self.endpoint.api_key_env}"
        if status is not None and 400 <= status < 500 and status not in RETRIED:
            return "change what the server refuses (base_url, model_name, engine.top_logprobs, lengths), or its options"
        return "finished batches are saved: run again when the server answers"
