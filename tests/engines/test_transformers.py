"""Laws of the transformers engine, on a tiny random model: a sample must not depend on its company."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
)

from heal.engines import batched_model, decoding
from heal.engines.base import Branch, Completion, Engine, Request, Sampling
from heal.engines.decoding import ReservedLayer, choose_tokens, make_reserved_cache
from heal.engines.transformers import TransformersEngine
from heal.errors import HealError

VOCABULARY, EOS, ALSO_EOS, POSITIONS = 40, 1, 2, 400
TEMPLATE = (
    "{% for m in messages %}w3 {{ m.content }} {% if m.role == 'assistant' %}w1 {% endif %}{% endfor %}"
    "{% if add_generation_prompt %}w4{% endif %}"
)
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": POSITIONS,
    "bos_token_id": None,
    "eos_token_id": [EOS, ALSO_EOS],
    "initializer_range": 0.3,  # far from uniform, so that a wrong mask or position changes what is sampled
}


def save_model(folder: Path, model: Any, template: str | None = TEMPLATE) -> str:
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCABULARY)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token=f"w{EOS}", chat_template=template)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    return save_model(tmp_path_factory.mktemp("model"), LlamaForCausalLM(LlamaConfig(**SHAPE)))


@pytest.fixture
def make(folder: str) -> Callable[..., TransformersEngine]:
    def build(model: str = folder, **options: Any) -> TransformersEngine:
        return TransformersEngine(model, **({"device": "cpu", "threads": 1} | options))

    return build


@pytest.fixture
def engine(make: Callable[..., TransformersEngine]) -> TransformersEngine:
    return make()


def make_prompts(count: int, seed: int = 0) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(seed)
    return [tuple(int(t) for t in rng.integers(3, VOCABULARY, rng.integers(1, 20))) for _ in range(count)]


def make_requests() -> list[Request]:
    """Different lengths, numbers of samples and limits; one prompt comes twice, one request wants nothing."""
    first = make_prompts(8)
    requests = [Request(p, tuple(range(10 * i, 10 * i + 1 + i % 4))) for i, p in enumerate(first)]
    requests += [Request(first[2], (500, 501)), Request(first[3], ())]
    requests[5] = dataclasses.replace(requests[5], max_new_tokens=3)
    return requests


def assert_same(one: Sequence[Completion], other: Sequence[Completion]) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.token_ids.tolist() == b.token_ids.tolist()
        assert a.finish_reason == b.finish_reason
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-4)
        np.testing.assert_allclose(a.entropies, b.entropies, atol=1e-4)


def flatten(samples: list[list[Completion]]) -> list[Completion]:
    return [completion for row in samples for completion in row]


@pytest.mark.parametrize("sampling", [Sampling(max_new_tokens=70), Sampling(0.7, 0.9, 70)])
def test_result_does_not_depend_on_the_batch(
    make: Callable[..., TransformersEngine], sampling: Sampling, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = make_requests()
    together = make().generate(requests, sampling)
    monkeypatch.setattr(batched_model, "UNIFORMS", 16)  # nor on how many random numbers are drawn at once
    assert [len(row) for row in together] == [len(r.seeds) for r in requests]
    assert {c.finish_reason for c in flatten(together)} == {"stop", "length"}
    assert max(len(c.token_ids) for c in flatten(together)) > 32
    for options in ({"batch_size": 1}, {"batch_size": 5}, {"batch_tokens": 200}):
        assert_same(flatten(make(**options).generate(requests, sampling)), flatten(together))


def test_result_does_not_depend_on_order_or_shards(engine: TransformersEngine) -> None:
    requests, sampling = make_requests(), Sampling(max_new_tokens=30)
    together = engine.generate(requests, sampling)
    order = np.random.default_rng(1).permutation(len(requests)).tolist()
    shuffled = engine.generate([requests[i] for i in order], sampling)
    for i, row in zip(order, shuffled, strict=True):
        assert_same(row, together[i])
    halves = engine.generate(requests[:4], sampling) + engine.generate(requests[4:], sampling)
    assert_same(flatten(halves), flatten(together))
    # The samples of one prompt in two requests.
    parts = engine.generate([Request(requests[3].prompt_ids, (s,)) for s in requests[3].seeds], sampling)
    assert_same(flatten(parts), together[3])


def test_seeds_differ_and_repeat(engine: TransformersEngine) -> None:
    request, sampling = Request((5, 6, 7), (1, 2, 1)), Sampling(max_new_tokens=30)
    (samples,) = engine.generate([request], sampling)
    assert samples[0].token_ids.tolist() != samples[1].token_ids.tolist()
    assert_same(samples[:1], samples[2:])
    assert_same(engine.generate([request], sampling)[0], samples)


def test_greedy_equals_transformers(engine: TransformersEngine) -> None:
    requests = [Request(p, (0,)) for p in make_prompts(12, seed=3)]
    for request, (ours,) in zip(requests, engine.generate(requests, Sampling(0, 1, 40)), strict=True):
        ids = torch.tensor([request.prompt_ids])
        theirs = engine.model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=40, pad_token_id=0
        )
        assert ours.token_ids.tolist() == theirs[0, ids.shape[1] :].tolist()


def test_entropy_of_a_uniform_model(tmp_path: Path, make: Callable[..., TransformersEngine]) -> None:
    model = LlamaForCausalLM(LlamaConfig(**SHAPE))
    model.lm_head.weight.data.zero_()
    (samples,) = make(save_model(tmp_path, model)).generate([Request((5,), tuple(range(8)))], Sampling())
    for completion in samples:
        np.testing.assert_allclose(completion.entropies, np.log(VOCABULARY), atol=1e-5)
        np.testing.assert_allclose(completion.logprobs, -np.log(VOCABULARY), atol=1e-5)


@pytest.mark.parametrize("sampling", [Sampling(max_new_tokens=40), Sampling(0.5, 0.8, 40)])
def test_generate_and_score_agree(make: Callable[..., TransformersEngine], sampling: Sampling) -> None:
    """Also with another temperature and top-p: the stored values are those of the raw logits."""
    engine, requests = make(), make_requests()
    samples = engine.generate(requests, sampling)
    pairs = [(r.prompt_ids, c.token_ids) for r, row in zip(requests, samples, strict=True) for c in row]
    for options in ({}, {"batch_size": 3}):
        for completion, score in zip(flatten(samples), make(**options).score(pairs), strict=True):
            np.testing.assert_allclose(score.logprobs, completion.logprobs, atol=1e-4)
            np.testing.assert_allclose(score.entropies, completion.entropies, atol=1e-4)


def test_score_equals_log_softmax(engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "LOGITS", 3 * VOCABULARY)  # three positions at a time
    context, continuation = [5, 6, 7], [8, EOS, 9, 10, 11]
    with torch.inference_mode():
        logits = engine.model(torch.tensor([context + continuation])).logits[0, 2:-1].double()
    expected = logits.log_softmax(-1)
    full, empty, part = engine.score([(context, continuation), (context, []), (context + [8], [EOS])])
    np.testing.assert_allclose(full.logprobs, expected[range(5), continuation], atol=1e-5)
    np.testing.assert_allclose(full.entropies, -(expected.exp() * expected).sum(-1), atol=1e-5)
    assert len(empty.logprobs) == len(empty.entropies) == 0
    np.testing.assert_allclose(part.logprobs, full.logprobs[1:2], atol=1e-5)


def test_going_on_from_a_prefix(engine: TransformersEngine) -> None:
    greedy, question = Sampling(0, 1, 40), "w9 w8 w7"
    start = engine.tokenize_chat(question)
    assert start == (3, 9, 8, 7, 4)
    ((whole,),) = engine.generate([Request(start, (0,))], greedy)
    cuts = range(1, len(whole.token_ids))
    requests = [Request(engine.tokenize_chat(question, whole.token_ids[:k]), (0,), 40 - k) for k in cuts]
    for k, (tail,) in zip(cuts, engine.generate(requests, greedy), strict=True):
        assert tail.token_ids.tolist() == whole.token_ids[k:].tolist()
        np.testing.assert_allclose(tail.entropies, whole.entropies[k:], atol=1e-4)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (1.0, 0.6), (2.0, 0.6)])
def test_frequencies_follow_the_distribution(engine: TransformersEngine, temperature: float, top_p: float) -> None:
    prompt, count = (5, 6, 7), 4000
    (samples,) = engine.generate([Request(prompt, tuple(range(count)))], Sampling(temperature, top_p, 1))
    counts = np.bincount([int(c.token_ids[0]) for c in samples], minlength=VOCABULARY)
    with torch.inference_mode():
        p = (engine.model(torch.tensor([prompt])).logits[0, -1].double() / temperature).softmax(-1).numpy()
    order = np.argsort(-p)
    nucleus = order[: int(np.searchsorted(np.cumsum(p[order]), top_p)) + 1]  # the fewest that reach top_p
    assert top_p == 1 or 1 < len(nucleus) < VOCABULARY
    assert counts[nucleus].sum() == count
    expected = count * p[nucleus] / p[nucleus].sum()
    often = expected >= 5
    observed = np.append(counts[nucleus][often], counts[nucleus][~often].sum())
    expected = np.append(expected[often], expected[~often].sum())
    assert chisquare(observed[expected > 0], expected[expected > 0]).pvalue > 1e-3


def test_what_has_no_probability_is_never_drawn() -> None:
    """At the very edge of the interval too: the first token is cut off by top-p, the last has logit -inf."""
    logits = torch.tensor([[0.0, 9.0, 9.0, -torch.inf]] * 2)
    edges = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    tokens, logprobs, entropies = choose_tokens(logits, edges, Sampling(1, 0.9))
    assert tokens.tolist() == [1, 2]
    p = logits[0].double().softmax(-1)[:3]
    np.testing.assert_allclose(logprobs, p[1].log(), atol=1e-6)
    np.testing.assert_allclose(entropies, -(p * p.log()).sum(), atol=1e-6)


def test_every_end_token_ends_and_is_kept(engine: TransformersEngine, make: Callable[..., TransformersEngine]) -> None:
    requests, sampling = [Request((5, 6), tuple(range(300)))], Sampling(max_new_tokens=50)
    (samples,) = engine.generate(requests, sampling)
    # Batches so large that the cache is moved in several parts when rows are dropped.
    assert_same(make(batch_size=15).generate(requests, sampling)[0], samples)
    ends = set()
    for completion in samples:
        ids = completion.token_ids.tolist()
        assert not {EOS, ALSO_EOS} & set(ids[:-1])
        assert (completion.finish_reason == "stop") == (ids[-1] in (EOS, ALSO_EOS))
        assert completion.finish_reason == "stop" or len(ids) == 50
        ends.add(ids[-1])
        assert len(ids) == len(completion.logprobs) == len(completion.entropies)
        assert (completion.token_ids.dtype, completion.logprobs.dtype) == (np.int32, np.float32)
        assert completion.entropies.dtype == np.float32
    assert {EOS, ALSO_EOS} <= ends


def limit_rows(engine: TransformersEngine, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the model run out of memory when more than `most` rows come at once."""
    forward = engine.model.forward

    def limited(*args: Any, **kwargs: Any) -> Any:
        if kwargs["input_ids"].shape[0] > most:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 byte")
        return forward(*args, **kwargs)

    monkeypatch.setattr(engine.model, "forward", limited)


def test_out_of_memory_halves_the_batch(
    make: Callable[..., TransformersEngine], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    requests, sampling, whole, engine = make_requests(), Sampling(max_new_tokens=20), make(), make()
    expected = flatten(whole.generate(requests, sampling))
    pairs = [(r.prompt_ids, [5, 6]) for r in requests]
    scores = whole.score(pairs)
    limit_rows(engine, 3, monkeypatch)
    assert_same(flatten(engine.generate(requests, sampling)), expected)
    assert "out of memory" in caplog.text
    assert engine.batch_size == 2  # of 22 rows: 11, 5, 2
    engine.batch_size = 512
    for ours, theirs in zip(engine.score(pairs), scores, strict=True):
        np.testing.assert_allclose(ours.logprobs, theirs.logprobs, atol=1e-4)
    assert engine.usage == whole.usage
    limit_rows(engine, 0, monkeypatch)
    with pytest.raises(HealError, match="does not fit"):
        engine.generate(requests, sampling)


def test_other_errors_are_not_taken_for_memory(engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(engine.model, "forward", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        engine.generate(make_requests(), Sampling())


@pytest.mark.parametrize("batch_size", [512, 2])
def test_usage_counts_a_shared_prompt_once(make: Callable[..., TransformersEngine], batch_size: int) -> None:
    engine = make(batch_size=batch_size)
    samples = engine.generate([Request((5, 6, 7), (1, 2, 3, 4, 5)), Request((5, 6), (1,))], Sampling())
    assert engine.usage.prefill_tokens == 5
    assert engine.usage.generated_tokens == sum(len(c.token_ids) for c in flatten(samples))
    engine.score([((5, 6), (7, 8, 9))])
    assert (engine.usage.prefill_tokens, engine.usage.scored_tokens) == (7, 3)


def test_ended_samples_cost_nothing(engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    forward, rows = engine.model.forward, []
    monkeypatch.setattr(engine.model, "forward", lambda **kw: (rows.append(kw["input_ids"].shape[0]), forward(**kw))[1])
    requests = [Request((5, 6, 7), tuple(range(99)), 2), Request((5, 6), (7,))]
    ((*_,), (long,)) = engine.generate(requests, Sampling(max_new_tokens=20))
    assert rows == [2, 100] + [1] * (len(long.token_ids) - 2)


def test_plain_cache_layers_are_replaced(engine: TransformersEngine) -> None:
    assert all(type(layer) is ReservedLayer for layer in make_reserved_cache(engine.model.config, 8).layers)


def test_sliding_window_model(tmp_path: Path, make: Callable[..., TransformersEngine]) -> None:
    torch.manual_seed(1)
    model = MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=8))
    engine, requests = make(save_model(tmp_path, model)), make_requests()
    samples = engine.generate(requests, Sampling(max_new_tokens=30))
    pairs = [(r.prompt_ids, c.token_ids) for r, row in zip(requests, samples, strict=True) for c in row]
    for completion, score in zip(flatten(samples), engine.score(pairs), strict=True):
        np.testing.assert_allclose(score.logprobs, completion.logprobs, atol=1e-4)


def test_bfloat16_measures_in_float32(make: Callable[..., TransformersEngine]) -> None:
    engine = make(dtype="bfloat16")
    assert engine.settings["dtype"] == "bfloat16"
    with torch.inference_mode():
        expected = engine.model(torch.tensor([[5, 6]])).logits[0, -1].double().log_softmax(-1)
    (samples,) = engine.generate([Request((5, 6), (1, 2, 3))], Sampling(max_new_tokens=1))
    for completion in samples:
        np.testing.assert_allclose(completion.logprobs, expected[completion.token_ids], atol=1e-5)
        np.testing.assert_allclose(completion.entropies, -(expected.exp() * expected).sum(), atol=1e-5)


def test_settings_are_json(engine: TransformersEngine, folder: str) -> None:
    settings = json.loads(json.dumps(engine.settings))
    assert settings == engine.settings
    assert (settings["engine"], settings["model"], settings["dtype"]) == ("transformers", folder, "float32")
    assert settings["eos_ids"] == [EOS, ALSO_EOS] and len(settings["template_sha256"]) == 64


def test_user_mistakes_are_told(
    tmp_path: Path, folder: str, make: Callable[..., TransformersEngine], engine: TransformersEngine
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(folder, bare)
    (bare / "chat_template.jinja").unlink()
    with pytest.raises(HealError, match="bare.*no chat template(.|\n)*Fix"):
        make(str(bare))
    weightless = tmp_path / "weightless"
    shutil.copytree(folder, weightless)
    (weightless / "model.safetensors").rename(weightless / "pytorch_model.bin")
    with pytest.raises(HealError, match="weightless(.|\n)*safetensors"):
        make(str(weightless))
    with pytest.raises(HealError, match="no such model folder"):
        make(str(tmp_path / "absent"))
    for options in ({"dtype": "int3"}, {"device": "tpu9x"}, {"device": "cuda:99"}):
        with pytest.raises(HealError):
            make(**options)
    fits = Request((5,) * 100, (0,), POSITIONS - 100)
    engine.generate([fits], Sampling())
    with pytest.raises(HealError, match="request 1: 100 prompt tokens and 301 new(.|\n)*max_new_tokens"):
        engine.generate([fits, dataclasses.replace(fits, max_new_tokens=301)], Sampling())
    for prompt, limit in (((), 5), ((VOCABULARY,), 5), ((-1,), 5), ((5,), 0)):
        with pytest.raises(HealError, match="request 0"):
            engine.generate([Request(prompt, (0,), limit)], Sampling())
    for pair in (([], [5]), ([5], [VOCABULARY]), ([5] * 100, [6] * 301)):
        with pytest.raises(HealError, match="sequence 0"):
            engine.score([pair])
    for wrong in ({"temperature": -1}, {"top_p": 0}, {"max_new_tokens": 0}):
        with pytest.raises(HealError):
            Sampling(**wrong)


def test_logits_that_are_not_numbers(tmp_path: Path, make: Callable[..., TransformersEngine]) -> None:
    model = LlamaForCausalLM(LlamaConfig(**SHAPE))
    model.lm_head.weight.data[7] = torch.nan
    engine = make(save_model(tmp_path, model))
    with pytest.raises(HealError, match="not numbers"):
        engine.generate([Request((5,), (0,))], Sampling())
    with pytest.raises(HealError, match="not numbers"):
        engine.score([((5,), (6,))])


def test_branches_score_as_whole_sequences_and_prefill_their_trunk_once(engine: TransformersEngine) -> None:
    rng = np.random.default_rng(0)
    tokens = lambda n: tuple(int(t) for t in rng.integers(3, VOCABULARY, n))  # noqa: E731
    trunks = [
        (tokens(size), [Branch(at, tokens(2), tokens(n)) for at, n in ((1, 1), (size // 2, 3), (size, 2))])
        for size in (4, 9, 17, 6)
    ]
    engine.usage = type(engine.usage)()
    quick = engine.score_branches(trunks)
    assert engine.usage.prefill_tokens == sum(len(trunk) + 6 for trunk, _ in trunks)
    for one, other in zip(quick, Engine.score_branches(engine, trunks), strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-4)
