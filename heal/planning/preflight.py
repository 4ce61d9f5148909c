"""What `heal check` looks at beside the config's fields: models, data sets and endpoints, before anything is spent.

Reads tokenizers, lists of files and problems, not weights; writes nothing. All that is wrong is told at once.

    heal check --config config/single_gpu.yaml
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from heal import registry
from heal.config.experiment import Engine, Experiment, Model
from heal.data import load_problems as problems
from heal.engines.base import get_first_line, explain_hub_fix, load_tokenizer
from heal.errors import HealError
from heal.method.steps import THINKING_ENDS, THINKING_STARTS
from heal.planning.assumptions import size_of
from heal.training import tracking
from heal.training import unpack_gguf as packaged
from heal.training.conversations import check_vocabularies, encode, end_of_turn

TRAINING_BYTES = 16  # per parameter: weights, gradient and AdamW's two moments in float32
GENERATING_ROOM = 1.2  # times the weights: a little room for the cache


def faults(experiment: Experiment) -> Iterator[HealError]:
    """Everything that is wrong with the models and data of a run, one after the other."""
    if experiment.engine.backend == "vllm" and importlib.util.find_spec("vllm") is None:
        fix = "make env LOCK=gpu, or set engine.backend: transformers"
        yield HealError("vLLM is not installed", where="engine.backend", fix=fix)
    yield from caught(lambda: tracking.check(experiment.train.report_to, "report_to"), "train")
    for name, model in experiment.teachers.items():
        yield from caught(partial(check_teacher, model, experiment), f"teachers.{name}")
    for name, model in experiment.students.items():
        yield from caught(partial(check_student, model, experiment), f"students.{name}")
    if any(method.distillation for method in registry.resolve(experiment, where="methods").values()):
        for (name, teacher), (other, student) in product(experiment.teachers.items(), experiment.students.items()):
            yield from caught(partial(check_pair, teacher, student), f"teachers.{name}, students.{other}")
    sets = {"train": experiment.problems.train, "dev": experiment.problems.dev}
    for name, dataset in sets.items():
        yield from caught(partial(problems.load, dataset, experiment.seed), f"problems.{name}")
    for name, dataset in experiment.problems.test.items():
        yield from caught(partial(problems.load, dataset, experiment.seed), f"problems.test.{name}")


def check_pair(teacher: Model, student: Model) -> None:
    """Raises HealError where a student cannot be distilled from the teacher's probabilities."""
    check_vocabularies(tokenizer_of(teacher), tokenizer_of(student), "")


def caught(check: Callable[[], Any], field: str) -> Iterator[HealError]:
    """The check's error, with the config's field in front of its place."""
    try:
        check()
    except HealError as error:
        yield HealError(error.problem, where=f"{field}: {error.where}", fix=error.fix)


def check_teacher(model: Model, experiment: Experiment) -> None:
    tokenizer = tokenizer_of(model)
    check_round_trip(tokenizer, model)
    if model.traces:
        from heal.pipeline.import_traces import read_traces

        read_traces(model.traces)
    if model.endpoint:
        check_endpoint(model, word(tokenizer), experiment)
        return
    check_weights(model)
    check_heads(model, experiment.engine)
    bytes_each = 2 if experiment.engine.dtype == "bfloat16" else 4
    check_memory(model, bytes_each * GENERATING_ROOM, "use dtype bfloat16, more gpus, or a smaller model")


def check_student(model: Model, experiment: Experiment) -> None:
    tokenizer = tokenizer_of(model)
    tokenizer.eos_token = end_of_turn(tokenizer, model.path, model.template_options)
    said = answer = word(tokenizer)
    if THINKING_ENDS in experiment.scoring.cue:  # the teacher thinks, and so will the student
        answer = f"{THINKING_STARTS}{said}\n{THINKING_ENDS}\n\n{said}"
    messages = [{"role": "user", "content": said}, {"role": "assistant", "content": answer}]
    row = {"id": "check", "messages": messages}
    encode(tokenizer, [row], model.path, model.template_options)
    check_weights(model)
    check_heads(model, experiment.engine)
    each = 2 * GENERATING_ROOM if experiment.train.lora else TRAINING_BYTES
    check_memory(model, each, "more gpus, train.lora, or a smaller student")


def tokenizer_of(model: Model) -> Any:
    """Raises HealError where the model's package, folder or hub place has none."""
    if model.package:
        return packaged.tokenizer_of(packaged.gguf_file(model.package, model.revision or "", model.path))
    return load_tokenizer(model.path, model.revision)


def check_endpoint(model: Model, question: str, experiment: Experiment) -> None:
    """Raises HealError where the endpoint does not serve the model, or not the log-probs that the methods need."""
    from heal.engines.base import Request, Sampling
    from heal.engines.endpoint import EndpointEngine

    assert model.endpoint
    engine = EndpointEngine(
        model.path, endpoint=model.endpoint, revision=model.revision, template_options=model.template_options
    )
    prompt = engine.tokenize_chat(question)
    engine.generate([Request(prompt, (0,), 1)], Sampling())  # one token, for its log-probs
    methods = registry.resolve(experiment, where="methods").values()
    if any(file.startswith("scores/") for method in methods for file in method.needs()):
        engine.score([(prompt, prompt[:1])])


def word(tokenizer: Any) -> str:
    """A text that any tokenizer knows: of its own vocabulary, since a tiny one may not know words of ours."""
    special = set(tokenizer.all_special_ids)
    known = (tokenizer.decode([i]) for i in range(len(tokenizer)) if i not in special)
    return next((text for text in known if text.strip() and text == text.strip()), "1")


def check_round_trip(tokenizer: Any, model: Model) -> None:
    """Raises HealError where tokens of the rendered template are not its text: then cuts would fall elsewhere."""
    turn = [{"role": "user", "content": word(tokenizer)}]
    text = tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False, **model.template_options)
    back = tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"], clean_up_tokenization_spaces=False)
    if back != text:
        fix = "use the tokenizer that belongs to the model's chat template"
        raise HealError(f"the chat template gives {text!r:.80}, its tokens {back!r:.80}", where=model.path, fix=fix)


def check_weights(model: Model) -> None:
    """Raises HealError where there are no safetensors (pickled weights are not read)."""
    if model.package:  # its GGUF file was there when its tokenizer was read
        return
    if Path(model.path).is_dir():
        names = [path.name for path in Path(model.path).iterdir()]
    else:
        from huggingface_hub import HfApi

        try:
            names = HfApi().list_repo_files(model.path, revision=model.revision)
        except Exception as error:  # network, permission, unknown name: the hub's classes differ between versions
            fix = explain_hub_fix(model.path, model.revision)
            raise HealError(f"cannot be listed ({type(error).__name__})", where=model.path, fix=fix) from None
    for wanted in ("config.json", ".safetensors"):
        if not any(name.endswith(wanted) for name in names):
            found = f"no {wanted.removeprefix('.')} among its {len(names)} files"
            raise HealError(found, where=model.path, fix="give a model with weights as safetensors (no pickle)")


def check_heads(model: Model, engine: Engine) -> None:
    """Raises HealError where vLLM cannot share the attention heads out among the model's GPUs."""
    if engine.backend != "vllm" or engine.device == "cpu" or model.gpus < 2:
        return
    from transformers import AutoConfig

    try:
        read = AutoConfig.from_pretrained(model.path, revision=model.revision).get_text_config()
    except Exception as error:  # network, or a config that transformers refuses: its classes share no base
        fix = explain_hub_fix(model.path, model.revision)
        raise HealError(f"config.json cannot be read ({get_first_line(error)})", where=model.path, fix=fix) from None
    heads = read.num_attention_heads
    shared = getattr(read, "num_key_value_heads", None) or heads  # several cards may hold copies of one of these
    fit = [n for n in range(1, heads + 1) if heads % n == 0 and (shared % n == 0 or n % shared == 0)]
    if model.gpus not in fit:
        found = f"{heads} attention heads, {shared} for keys, cannot be shared out among {model.gpus} GPUs"
        raise HealError(found, where=model.path, fix=f"set its gpus to one of {', '.join(map(str, fit))}")


def check_memory(model: Model, bytes_per_parameter: float, fix: str) -> None:
    """Raises HealError where the model's GPUs are too small; a machine without GPUs is not judged."""
    import torch

    if not torch.cuda.is_available() or not model.gpus:
        return
    needed = size_of(model, f"models.{Path(model.path).name}").total * bytes_per_parameter
    there = model.gpus * torch.cuda.get_device_properties(0).total_memory
    if needed > there:
        found = f"about {needed / 2**30:.0f} GiB are needed, {model.gpus} GPU(s) here have {there / 2**30:.0f} GiB"
        raise HealError(found, where=model.path, fix=fix)
