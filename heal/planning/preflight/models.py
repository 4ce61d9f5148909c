"""Check that teachers can be run and students can be trained: tokenizers, templates, endpoints, attention heads."""

from __future__ import annotations

import importlib.util
from typing import Any

from heal.config.experiment import Engine
from heal.config.models import Model
from heal.data.existing_traces import read_traces
from heal.end_token import find_end_token, find_end_token_id
from heal.engines.base import explain_hub_fix, get_first_line
from heal.errors import HealError
from heal.method.steps import THINKING_ENDS, THINKING_STARTS
from heal.planning.preflight.files import check_model_access, check_weights
from heal.planning.preflight.lookup import Lookup
from heal.training.conversations import check_vocabularies, encode


def check_installed(engine: Engine) -> None:
    """Raises HealError where the engine's package is missing."""
    if engine.backend == "vllm" and importlib.util.find_spec("vllm") is None:
        raise HealError("vLLM is not installed", fix="make env LOCK=gpu, or set engine.backend: transformers")


def check_teacher(model: Model, lookup: Lookup) -> None:
    """Raises HealError where a teacher cannot be run."""
    check_model_access(model)
    experiment, tokenizer = lookup.run_config.experiment, lookup.get_tokenizer(model)
    find_end_token_id(tokenizer, model.path, model.template_options)
    check_round_trip(tokenizer, model)
    if model.traces:
        read_traces(model.traces, columns=model.trace_columns)
    if model.endpoint:
        check_endpoint(model, find_plain_word(tokenizer), lookup)
        return
    check_weights(model)
    check_heads(model, experiment.engine)


def check_student(model: Model, lookup: Lookup) -> None:
    """Raises HealError where a student cannot be trained."""
    check_model_access(model)
    experiment, tokenizer = lookup.run_config.experiment, lookup.get_tokenizer(model)
    tokenizer.eos_token = find_end_token(tokenizer, model.path, model.template_options)
    question = answer = find_plain_word(tokenizer)
    if THINKING_ENDS in experiment.scoring.cue:  # the teacher thinks, and so will the student
        answer = f"{THINKING_STARTS}{question}\n{THINKING_ENDS}\n\n{question}"
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    encode(tokenizer, [{"id": "check", "messages": messages}], model.path, model.template_options)
    check_weights(model)
    check_heads(model, experiment.engine)


def check_pair(teacher: Model, student: Model, lookup: Lookup) -> None:
    """Raises HealError where a student cannot learn from the teacher's probabilities."""
    check_vocabularies(lookup.get_tokenizer(teacher), lookup.get_tokenizer(student), "")


def check_endpoint(model: Model, question: str, lookup: Lookup) -> None:
    """Raises HealError where the endpoint does not serve the model, or lacks log-probs that the methods need."""
    from heal.engines.base import Request, Sampling
    from heal.engines.open import open_engine

    engine = open_engine(model, lookup.run_config.experiment.engine, 0)
    prompt = engine.tokenize_chat(question)
    engine.generate([Request(prompt, (0,), 1)], Sampling())  # one token, for its log-probs
    for method in lookup.run_config.methods.values():
        if any(file.schema == "scores" for file in method.needs()):
            engine.score([(prompt, prompt[:1])])
            return


def find_plain_word(tokenizer: Any) -> str:
    """A word of the tokenizer's own vocabulary, which may lack every common word; `1` where it has none."""
    special_ids = set(tokenizer.all_special_ids)
    for token in range(len(tokenizer)):
        if token not in special_ids:
            text = tokenizer.decode([token])
            if text.strip() and text == text.strip():
                return text
    return "1"


def check_round_trip(tokenizer: Any, model: Model) -> None:
    """Raises HealError where the rendered template does not survive tokenizing: GEAR's cuts would be misplaced."""
    turn = [{"role": "user", "content": find_plain_word(tokenizer)}]
    text = tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False, **model.template_options)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    decoded = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    if decoded != text:
        problem = f"the chat template gives {text!r:.80}, its tokens {decoded!r:.80}"
        raise HealError(problem, where=model.path, fix="use the tokenizer that belongs to the model's chat template")


def check_heads(model: Model, engine: Engine) -> None:
    """Raises HealError where vLLM cannot distribute the attention heads over the model's GPUs."""
    counts = {model.gpus, model.evaluation_gpus or 0}
    if engine.backend != "vllm" or engine.device == "cpu" or max(counts) < 2:
        return
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(model.path, revision=model.revision).get_text_config()
    except Exception as error:  # network, or a config that transformers refuses: its classes share no base
        fix = explain_hub_fix(model.path, model.revision)
        raise HealError(f"config.json cannot be read ({get_first_line(error)})", where=model.path, fix=fix) from None
    heads = config.num_attention_heads
    key_heads = getattr(config, "num_key_value_heads", None) or heads  # GPUs may hold copies of one of these
    possible = [gpus for gpus in range(1, heads + 1) if can_share_heads(gpus, heads, key_heads)]
    for gpus in sorted(counts - {0, 1}):
        if gpus not in possible:
            problem = f"{heads} attention heads, {key_heads} for keys, cannot be distributed over {gpus} GPUs"
            raise HealError(problem, where=model.path, fix=f"set its gpus to one of {', '.join(map(str, possible))}")


def can_share_heads(gpus: int, heads: int, key_heads: int) -> bool:
    """Whether every GPU gets as many attention heads, and whole key heads or a copy of one."""
    return heads % gpus == 0 and (key_heads % gpus == 0 or gpus % key_heads == 0)
