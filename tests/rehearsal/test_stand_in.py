"""A trained stand-in gives every kind of trace, as the run asks for them; a base one stops only at a turn's end."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from heal.method.gear import has_leak
from heal.rehearsal import traces
from heal.rehearsal.tokenizer import END_OF_TEXT, TURN_ENDS

pytestmark = pytest.mark.rehearsal  # trains two stand-ins, or finds them in the cache
SAMPLES = 6
LIMIT = 260  # longer than a trace that ends


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Field → plan of the single-GPU preset's stand-ins; their folders are made."""
    from heal.rehearsal import build

    kept: dict[str, Any] = {}
    make = build.make_stand_ins

    def keep_and_make(stand_ins: list[Any], cores: int) -> None:
        kept.update({plan.field: plan for plan in stand_ins})
        make(stand_ins, cores)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "make_stand_ins", keep_and_make)
        build.build(Path("config/single_gpu.yaml"), tmp_path_factory.mktemp("rehearsal"), cores=2)
    return kept


def sample(plan: Any, prompts: list[str], ends: list[str]) -> list[list[str]]:
    """Texts [prompt][sample], special tokens included, decoded as the preset samples."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(plan.folder, dtype=torch.float32)
    end_ids = plan.tokenizer.convert_tokens_to_ids(ends)
    options = {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 0, "pad_token_id": 151643}
    texts = []
    for prompt in prompts:
        ids = plan.tokenizer(prompt, return_tensors="pt", add_special_tokens=False)["input_ids"]
        output = model.generate(
            ids, max_new_tokens=LIMIT, eos_token_id=end_ids, num_return_sequences=SAMPLES, **options
        )
        texts.append([plan.tokenizer.decode(row[ids.shape[1] :]) for row in output])
    return texts


def find_problems(plan: Any) -> dict[str, traces.RehearsalProblem]:
    return {problem.kind: problem for problem in plan.writer.problems}


def test_the_teacher_is_right_wrong_or_endless_as_the_problem_says(plans) -> None:
    plan = plans["teachers.qwen3_8b"]
    problems = find_problems(plan)
    kinds: Counter[tuple[str, str]] = Counter()
    prompts = [plan.render(problem.question) for problem in problems.values()]
    for problem, texts in zip(problems.values(), sample(plan, prompts, [TURN_ENDS]), strict=True):
        for text in texts:
            right = traces.FINAL.format(problem.answer) in text
            kinds[problem.kind, "endless" if TURN_ENDS not in text else "right" if right else "wrong"] += 1
    for kind, answer in ((traces.EASY, "right"), (traces.HARD, "wrong"), (traces.ENDLESS, "endless")):
        assert kinds[kind, answer], kinds


def test_with_a_hint_the_teacher_solves_what_it_could_not_and_sometimes_speaks_of_it(plans) -> None:
    plan = plans["teachers.qwen3_8b"]
    problem = find_problems(plan)[traces.HARD]
    experiment = plan.writer.experiment
    kept = traces.FIRST + traces.STEP_END
    hint = experiment.gear.hint.template.format(answer=problem.answer) + traces.STEP_END
    guided = experiment.guided.template.format(question=problem.question, answer=problem.answer)
    prompts = [plan.render(problem.question) + kept + hint, plan.render(guided)]
    for texts in sample(plan, prompts, [TURN_ENDS]):
        assert any(traces.FINAL.format(problem.answer) in text for text in texts), texts
    leaks = []
    for texts in sample(plan, prompts * 2, [TURN_ENDS]):
        leaks += [has_leak(text, experiment.gear.leak_patterns) for text in texts]
    assert any(leaks) and not all(leaks)


def test_a_base_model_ends_its_turn_but_not_its_text(plans) -> None:
    plan = plans["students.qwen3_0_6b_base"]
    prompt = plan.render(find_problems(plan)[traces.EASY].question)
    (at_turn_end,), (at_text_end,) = sample(plan, [prompt], [TURN_ENDS]), sample(plan, [prompt], [END_OF_TEXT])
    assert any(TURN_ENDS in text for text in at_turn_end)
    assert not any(END_OF_TEXT in text for text in at_text_end)


def test_the_teacher_does_not_end_its_thoughts_where_the_config_wants_none(plans) -> None:
    plan = plans["teachers.qwen3_8b"]
    problem = find_problems(plan)[traces.EASY]
    (texts,) = sample(plan, [plan.render_with(problem.question, {})], [TURN_ENDS])
    assert not any(TURN_ENDS in text for text in texts)
