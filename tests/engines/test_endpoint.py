"""A served teacher: against a real vLLM server on the shipped teacher, and against one that misbehaves on purpose.

The first half is skipped where vLLM is not installed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from heal.config.models import Endpoint
from heal.engines.base import Request, Sampling
from heal.engines.endpoint import EndpointEngine
from heal.engines.transformers import TransformersEngine
from heal.errors import HealError
from heal.provenance import compute_price_usd
from heal.worlds.mini import puzzles
from tests.support.misbehaving_server import Misbehaving, list_models, make_answer
from tests.support.near_tie import CLOSE, assert_agree_until_near_tie

TEACHER = "heal/worlds/mini/models/teacher"
needs_vllm = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "log"
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", TEACHER, "--host", "127.0.0.1"]
    command += ["--port", str(port), "--dtype", "float32", "--enforce-eager", "--max-num-seqs", "64"]
    settings = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_DO_NOT_TRACK": "1"}
    with log.open("w") as stream:
        server = subprocess.Popen(command, stdout=stream, stderr=stream, env=os.environ | settings)
    try:
        while True:
            assert server.poll() is None, log.read_text()[-3000:]
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
                break
            except (urllib.error.URLError, TimeoutError):
                time.sleep(1)
        yield Endpoint(base_url=f"http://127.0.0.1:{port}/v1", retries=2, concurrency=8)
    finally:
        server.terminate()
        server.wait(60)


@pytest.fixture(scope="module")
def exact() -> TransformersEngine:
    return TransformersEngine(TEACHER, device="cpu", threads=1)


@pytest.fixture(scope="module")
def requests(exact: TransformersEngine) -> list[Request]:
    return [
        Request(exact.tokenize_chat(p.question), (7 * i, 7 * i + 1))
        for i, p in enumerate(puzzles.generate("dev", 6, 0))
    ]


@pytest.mark.workflow
@needs_vllm
def test_a_served_teacher_samples_and_scores_as_the_reference_engine(served, exact, requests) -> None:
    engine = EndpointEngine(TEACHER, endpoint=served, max_length=512)
    assert engine.settings["server"] == "vllm"
    greedy = Sampling(temperature=0.0, max_new_tokens=160)
    for request, (one, _), (other, _) in zip(
        requests, engine.generate(requests, greedy), exact.generate(requests, greedy), strict=True
    ):
        assert_agree_until_near_tie(one, other, exact, request.prompt_ids)
    sampled = exact.generate(requests, Sampling(max_new_tokens=160))
    sequences = [(r.prompt_ids, one.token_ids.tolist()) for r, (one, _) in zip(requests, sampled, strict=True)]
    for quick, true in zip(engine.score(sequences), exact.score(sequences), strict=True):
        np.testing.assert_allclose(quick.logprobs, true.logprobs, atol=CLOSE)


@pytest.mark.workflow
@needs_vllm
def test_a_served_teacher_goes_on_from_the_kept_tokens(served, exact, requests) -> None:
    engine = EndpointEngine(TEACHER, endpoint=served, max_length=512)
    (trace, _) = exact.generate(requests[:1], Sampling(max_new_tokens=160))[0]
    cut = Request((*requests[0].prompt_ids, *map(int, trace.token_ids[:24])), (0,))
    greedy = Sampling(temperature=0.0, max_new_tokens=160)
    ((one,),), ((other,),) = engine.generate([cut], greedy), exact.generate([cut], greedy)
    assert_agree_until_near_tie(one, other, exact, cut.prompt_ids)


@pytest.mark.workflow
@needs_vllm
def test_a_sample_depends_on_its_seed(served, requests) -> None:
    engine = EndpointEngine(TEACHER, endpoint=served, max_length=512)
    first, again = engine.generate(requests, Sampling()), engine.generate(requests, Sampling())
    ids = [[one.token_ids.tolist() for one in row] for row in first]
    assert ids == [[one.token_ids.tolist() for one in row] for row in again]
    assert any(one != other for one, other in ids)


@pytest.mark.workflow
@needs_vllm
def test_benchmarks_of_a_served_teacher_give_the_answers_of_the_local_one(served, tmp_path: Path) -> None:
    from evals.run import evaluate
    from heal import records
    from heal.config.data import Dataset
    from heal.config.experiment import Engine
    from heal.config.models import Model
    from heal.data import load_problems as problems

    for split in ("easy", "hard"):
        rows = problems.load(Dataset(source="mini", split=split, n=8), 0)
        records.write(tmp_path / f"{split}.parquet", "problems", rows)
    arguments = (str(tmp_path), ["mini_easy", "mini_hard_sampled"], Engine(max_num_seqs=64), 0)
    remote, local = (
        evaluate(Model(path=TEACHER, endpoint=served), *arguments),
        evaluate(Model(path=TEACHER), *arguments),
    )
    assert [row["text"].strip() for row in remote["mini_easy"][0]] == [
        row["text"].strip() for row in local["mini_easy"][0]
    ]
    assert remote["mini_easy"][1]["settings"]["engine"] == "endpoint"
    answers = [row["text"] for row in remote["mini_hard_sampled"][0]]
    assert len(set(answers)) > len(answers) / 2  # the repeats of a question are not one answer told four times


ONE = [Request((5, 6), (3,))]


def test_a_busy_server_is_asked_again_and_the_key_comes_from_the_environment(server, monkeypatch) -> None:
    monkeypatch.setenv("A_KEY", "secret")
    endpoint = server((429, {}), (503, {}), make_answer("x =", [-0.1, -0.2, -0.3]), api_key_env="A_KEY")
    engine = EndpointEngine(TEACHER, endpoint=endpoint)
    ((one,),) = engine.generate(ONE, Sampling(max_new_tokens=9))
    assert [key for key, _ in Misbehaving.sent] == ["Bearer secret"] * 3
    assert Misbehaving.sent[-1][1]["prompt"] == [5, 6] and Misbehaving.sent[-1][1]["seed"] == 3
    ids = engine.tokenizer.encode("x =", add_special_tokens=False)
    assert one.token_ids.tolist() == [*ids, engine.tokenizer.eos_token_id]  # the end token has a log-prob, but no text
    assert "secret" not in json.dumps(engine.settings)


def test_each_way_of_failing_names_what_to_do(server) -> None:
    for answers, message in (
        ([(500, {})] * 3, "retries included"),
        ([make_answer("x =", None)], "no log-probs"),
        ([make_answer("x =", [-0.1] * 9)], "9 log-probs, but the text has 2 tokens"),
        ([make_answer("x =", [-0.1] * 2, "content_filter")], "content_filter"),
    ):
        engine = EndpointEngine(TEACHER, endpoint=server(*answers))
        with pytest.raises(HealError, match=message):
            engine.generate(ONE, Sampling(max_new_tokens=9))
    with pytest.raises(HealError, match="no log-probs of a prompt"):
        engine.score([((5,), (6,))])
    with pytest.raises(HealError, match="does not serve"):
        EndpointEngine(TEACHER, endpoint=server(model_name="elsewhere"))
    with pytest.raises(HealError, match="no answer"):
        EndpointEngine(TEACHER, endpoint=Endpoint(base_url="http://127.0.0.1:1/v1", retries=0))


def change_choice(**changes):
    """The answer of a well-behaved server with another choice."""
    status, content = make_answer("x =", [-0.1, -0.2, -0.3])
    choice = content["choices"][0]
    logprobs = choice["logprobs"] | changes.pop("logprobs", {})
    return status, content | {"choices": [choice | {"logprobs": logprobs} | changes]}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((200, {"id": "1", "choices": []}), "without a completion: no choices"),
        ((200, {"error": {"message": "upstream failed"}}), "without a completion: .*upstream failed"),
        ((200, "<html>Sign in</html>"), "without a completion: <html>"),
        ((200, "upstream connect error", "application/json"), "no JSON"),
        (change_choice(text=None), "without text"),
        (change_choice(logprobs={"token_logprobs": [None, -0.2, -0.3]}), "log-probs of 3 tokens"),
        (change_choice(logprobs={"token_logprobs": [-0.2, -0.3]}), "log-probs of 2 tokens and 3 lists"),
        (change_choice(logprobs={"top_logprobs": [None, {"a": -0.2}, {"a": -0.3}]}), "log-probs of 3 tokens"),
        (change_choice(logprobs={"top_logprobs": [{}, {}, {}]}), "log-probs of 3 tokens"),
        (change_choice(token_ids=[1, 2, 3, 4]), "4 token ids with 3 log-probs"),
    ],
)
def test_an_answer_of_another_form_is_refused(server, answer, message) -> None:
    engine = EndpointEngine(TEACHER, endpoint=server(answer, retries=0))
    with pytest.raises(HealError, match=message) as refused:
        engine.generate(ONE, Sampling(max_new_tokens=9))
    assert engine.base_url in str(refused.value) and refused.value.fix


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 503])
def test_only_a_busy_server_is_to_be_asked_again(server, monkeypatch, status: int) -> None:
    endpoint = server((status, {"error": {"message": "refused"}}), retries=1, api_key_env="A_KEY")
    with pytest.raises(HealError, match="request failed") as refused:
        EndpointEngine(TEACHER, endpoint=endpoint).generate(ONE, Sampling(max_new_tokens=9))
    assert ("run again" in refused.value.fix) == (status in (429, 503))
    assert ("A_KEY" in refused.value.fix) == (status in (401, 403))


def test_a_list_of_models_that_is_a_page_is_refused(server) -> None:
    endpoint = server()
    Misbehaving.models = (200, "<html>Sign in</html>")
    with pytest.raises(HealError, match="no list of models"):
        EndpointEngine(TEACHER, endpoint=endpoint)


@pytest.mark.parametrize("entries", [None, [None, None], [None, None, {"9": {"logprob": -1.0}}], [None, None, None]])
def test_a_score_without_the_tokens_log_prob_is_refused(server, entries) -> None:
    endpoint = server(change_choice(prompt_logprobs=entries))
    Misbehaving.models = list_models("vllm")
    with pytest.raises(HealError, match="log-probs of"):
        EndpointEngine(TEACHER, endpoint=endpoint).score([((5, 6), (7,))])


def test_the_ledger_counts_money_by_the_configs_prices() -> None:
    price = {"usd_per_million_tokens": {"input": 1.0, "output": 4.0}}
    tokens = {"prefill": 500_000, "scored": 500_000, "generated": 250_000}
    assert compute_price_usd({"engine": price, "tokens": tokens}) == 2.0
    assert compute_price_usd({"engine": {}, "tokens": tokens}) == compute_price_usd({}) == 0.0
