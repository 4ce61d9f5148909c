"""The vLLM engine against the reference engine, on the shipped teacher: one model, two engines, the same numbers.

vLLM's CPU build runs all of it but what only a GPU has (tensor parallel, CUDA graphs). One engine serves all tests.
Skipped where vLLM is not installed.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heal.config.experiment import Gear
from heal.config.experiment import Sampling as SamplingOptions
from heal.engines.base import Branch, Request, Sampling
from heal.engines.transformers import TransformersEngine
from heal.errors import HealError
from heal.method.gear import Cut, build_cut_row, measure_trace
from heal.pipeline.repair import Repairer
from heal.pipeline.runner import decode_tokens, get_token_texts
from heal.pipeline.sample import make_sampler
from heal.pipeline.verdict import build_trace_row, get_question
from heal.worlds.mini import puzzles
from tests.support import vllm_engines
from tests.support.near_tie import CLOSE, assert_agree_until_near_tie

pytestmark = [
    pytest.mark.workflow,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
]
TEACHER = "heal/worlds/mini/models/teacher"
TOP = 20


@pytest.fixture(scope="module")
def fast() -> Iterator[Any]:
    from heal.engines.vllm import VllmEngine

    with vllm_engines.run_in_process():
        engine = VllmEngine(TEACHER, dtype="float32", gpus=0, max_num_seqs=64, top_logprobs=TOP)
        yield engine
        vllm_engines.close(engine.llm)


@pytest.fixture(scope="module")
def exact() -> TransformersEngine:
    return TransformersEngine(TEACHER, device="cpu", threads=1)


@pytest.fixture(scope="module")
def requests(exact: TransformersEngine) -> list[Request]:
    return [Request(exact.tokenize_chat(p.question), (7 * i,)) for i, p in enumerate(puzzles.generate("dev", 12, 0))]


def test_greedy_gives_the_reference_engines_tokens_and_bounds_its_entropies(fast, exact, requests) -> None:
    greedy = Sampling(temperature=0.0, max_new_tokens=160)
    for request, (one,), (other,) in zip(
        requests, fast.generate(requests, greedy), exact.generate(requests, greedy), strict=True
    ):
        assert_agree_until_near_tie(one, other, exact, request.prompt_ids)
        assert other.entropies_upper is None  # exact


def test_a_sample_depends_on_its_seed_and_not_on_its_company(fast, requests) -> None:
    many = [Request(request.prompt_ids, tuple(range(4))) for request in requests]
    together, alone = fast.generate(many, Sampling()), fast.generate(many[3:4], Sampling())
    assert [c.token_ids.tolist() for c in together[3]] == [c.token_ids.tolist() for c in alone[0]]
    hard = [completion for row in together for completion in row]
    assert len({tuple(completion.token_ids) for completion in hard}) > len(many)  # seeds differ, so samples do


def test_scores_agree_with_the_reference_engine(fast, exact, requests) -> None:
    samples = exact.generate(requests, Sampling(max_new_tokens=160))
    sequences = [(r.prompt_ids, one.token_ids.tolist()) for r, (one,) in zip(requests, samples, strict=True)]
    for quick, true, (one,) in zip(fast.score(sequences), exact.score(sequences), samples, strict=True):
        np.testing.assert_allclose(quick.logprobs, true.logprobs, atol=CLOSE)
        np.testing.assert_allclose(true.logprobs, one.logprobs, atol=CLOSE)
        assert (quick.entropies <= true.entropies + CLOSE).all()


def test_branches_agree_with_the_reference_engine_and_prefill_a_trunk_once(fast, exact, requests) -> None:
    trunks = [(r.prompt_ids, [Branch(at, (5, 6), (7, 8, 9)) for at in (3, len(r.prompt_ids))]) for r in requests]
    before = fast.usage.prefill_tokens
    quick, true = fast.score_branches(trunks), exact.score_branches(trunks)
    assert fast.usage.prefill_tokens - before == sum(len(trunk) + 4 for trunk, _ in trunks)
    for one, other in zip(quick, true, strict=True):
        np.testing.assert_allclose(np.stack(one), np.stack(other), atol=CLOSE)


def test_a_repair_goes_on_from_the_same_prefix_with_the_same_words(fast, exact, requests) -> None:
    """GEAR's request, built from one cut, continued greedily by both engines."""
    puzzle = puzzles.generate("dev", 12, 0)[0]
    gear = Gear(min_step_tokens=1, repairs_per_trace=1)
    (trace,) = exact.generate(requests[:1], Sampling(max_new_tokens=160))[0]
    row = build_trace_row("p", "base", 0, "", trace) | {"problem_id": "p"}
    cut = Cut(measure_trace(row, puzzle.question, decode_tokens(exact, row["token_ids"]), gear, 0.0), 3, 2)
    repair_requests = []
    for engine in (fast, exact):
        repairer = Repairer(engine, {"p": {"question": puzzle.question}}, gear, SamplingOptions(), (0, 0))
        row = build_cut_row(cut, gear, get_token_texts(exact))
        repair_requests.append(repairer.build_request(row, f"Hint: the answer is {puzzle.answer}."))
    assert repair_requests[0] == repair_requests[1]
    greedy = Sampling(temperature=0.0, max_new_tokens=160)
    ((one,),), ((other,),) = fast.generate(repair_requests[:1], greedy), exact.generate(repair_requests[1:], greedy)
    assert_agree_until_near_tie(one, other, exact, repair_requests[0].prompt_ids)


def test_more_prompts_than_one_step_takes_are_all_sampled(fast) -> None:
    """Unless told not to, vLLM takes the last prompt of a step in parts, and then rewinds its seeded generator."""
    many = [Request(tuple(5 + (number + place) % 7 for place in range(300)), (number,)) for number in range(60)]
    completions = fast.generate(many, Sampling(max_new_tokens=2))
    assert [len(samples) for samples in completions] == [1] * len(many)


def test_what_the_model_cannot_take_is_refused_before_anything_runs(fast) -> None:
    for wrong in (Request((), (0,)), Request((10**6,), (0,)), Request((5,) * 510, (0,), 100)):
        with pytest.raises(HealError, match="request 0"):
            fast.generate([wrong], Sampling())


def test_gpus_among_which_the_attention_heads_cannot_be_shared_out_are_told(fast) -> None:
    from heal.engines.vllm import VllmEngine

    with pytest.raises(HealError) as refused:
        VllmEngine(TEACHER, dtype="float32", gpus=3)
    assert "attention heads must divide by the number of GPUs" in str(refused.value)


def test_settings_say_how_entropies_were_read(fast) -> None:
    assert fast.settings["entropy"] == "lower bound" and fast.settings["top_logprobs"] == TOP
    json.dumps(fast.settings)


def test_a_stage_runs_on_vllm_to_its_file(tmp_path: Path, fast, monkeypatch: pytest.MonkeyPatch) -> None:
    """`heal sample base` with engine.backend vllm: rows with both bounds, and GEAR says which cuts are certain."""
    from heal import records
    from heal.config.data import Dataset
    from heal.data import load_problems as problems
    from heal.method import gear

    rows = problems.load(Dataset(source="mini", split="train", n=6), 0)
    sampling = SamplingOptions(n=2, max_new_tokens=160)
    sample_rows, usage = make_sampler(fast, sampling, (0, 0, "base"), range(2), get_question)(rows)
    records.write(tmp_path / "samples.parquet", "samples", sample_rows, usage=usage)
    samples = records.read(tmp_path / "samples.parquet", "samples")
    assert all(len(row["entropies_upper"]) == len(row["entropies"]) for row in samples)
    grades = [
        {"problem_id": r["problem_id"], "trace_id": r["trace_id"], "correct": False, "extracted": str(i)}
        for i, r in enumerate(samples)
    ]
    cuts = gear.select_cuts(rows, samples, grades, get_token_texts(fast), Gear(min_step_tokens=1), 0)
    assert cuts and all(cut.certain in (True, False) for cut in cuts)


@pytest.mark.parametrize("spread", [6.0, 1.0], ids=["within the candidates", "beyond them"])
def test_top_p_from_the_likeliest_tokens_masks_what_sorting_masks(spread) -> None:
    import torch

    from heal.engines.vllm_top_p import CANDIDATES, mask_by_candidates, sort_and_mask

    logits = spread * torch.randn(32, 20_000, generator=torch.Generator().manual_seed(0))
    p = torch.linspace(0.02, 0.97, 32)
    p[5] = 1.0  # a greedy request in the same batch
    masked = mask_by_candidates(logits.clone(), None, p)
    assert torch.equal(masked, sort_and_mask(logits.clone(), None, p))
    kept = masked.isfinite().sum(1).tolist()
    assert kept.pop(5) == 20_000
    assert kept[0] == 1 if spread > 1 else max(kept) > CANDIDATES
    assert torch.equal(masked[masked.isfinite()], logits[masked.isfinite()])


def test_top_k_is_left_to_vllm() -> None:
    import torch

    from heal.engines.vllm_top_p import mask_by_candidates, sort_and_mask

    logits = 6 * torch.randn(3, 20_000, generator=torch.Generator().manual_seed(0))
    k = torch.tensor([5, 9, 40])
    for p in (None, torch.full((3,), 0.9)):
        masked = mask_by_candidates(logits.clone(), k.clone(), p, allow_cpu_sync=True)
        assert torch.equal(masked, sort_and_mask(logits.clone(), k.clone(), p))
        assert masked.isfinite().sum(1).tolist() <= k.tolist()


def test_an_engine_on_a_cpu_masks_by_candidates(fast) -> None:
    from vllm.v1.sample.ops import topk_topp_sampler

    from heal.engines.vllm_top_p import mask_by_candidates

    assert topk_topp_sampler.apply_top_k_top_p_pytorch is mask_by_candidates
