"""Check a config before any GPU time: fields, names, models, data sets and endpoints.

Reads the config, tokenizers, lists of files and problems, but no weights; writes nothing. Reports every fault at once.

    heal check --config config/single_gpu.yaml
    heal check --config config/single_gpu.yaml --fields-only    # without models, data sets and endpoints
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from heal.command import Command
from heal.config.experiment import Engine
from heal.config.models import Model
from heal.config.run_config import RunConfig, read_run_config
from heal.data.existing_traces import read_traces
from heal.data.load_problems import load
from heal.end_token import find_end_token
from heal.engines.base import explain_hub_fix, get_first_line, load_tokenizer
from heal.errors import HealError
from heal.method.steps import THINKING_ENDS, THINKING_STARTS
from heal.planning.assumptions import find_model_size
from heal.planning.report import DEFAULT_CONFIG
from heal.training import tracking
from heal.training.conversations import check_vocabularies, encode
from heal.training.unpack_gguf import find_gguf_file, load_gguf_tokenizer

TRAINING_BYTES_PER_PARAMETER = 16
"""Weights, gradient and AdamW's two moments, in float32."""
GENERATION_ROOM = 1.2
"""Memory for generation over that of the weights: room for a small cache."""


class Check(Command):
    fields_only: bool = False
    """Skip models, data sets and endpoints."""

    def run(self) -> None:
        path = self.config or DEFAULT_CONFIG
        run_config = read_run_config(path)
        print("\n".join(describe_run(run_config)), flush=True)
        if self.fields_only:
            return
        faults = list(find_faults(run_config))
        for fault in faults:
            print(fault, file=sys.stderr)
        if faults:
            problem = f"{len(faults)} faults in models and data"
            raise HealError(problem, where=str(path), fix="fix those above, and check again")
        print("  models and data sets: all present and usable")


def describe_run(run_config: RunConfig) -> list[str]:
    """What the config asks for: tables with their methods and students, and trace files."""
    experiment = run_config.experiment
    per_method = len(experiment.teachers) * len(experiment.students)
    per_method *= experiment.teacher_seeds * experiment.training_seeds
    lines = [f"{run_config.where}: run {experiment.run!r} is well-formed."]
    tables = {"main table": list(experiment.methods), "ablations": list(experiment.ablations)}
    every = run_config.comparisons["ablations"].methods
    for name in experiment.comparisons:
        tables[name] = [method for method in run_config.comparisons[name].methods if method not in every]
    for name, methods in tables.items():
        if methods or name in ("main table", "ablations"):
            students = f"{len(methods) * per_method} students to train"
            lines.append(f"  {name}: {len(methods)} methods, {students}: {', '.join(methods)}")
    paths: set[str] = set()
    for method in run_config.methods.values():
        paths |= {file.path for file in method.needs()}
    return [*lines, f"  trace files per teacher and teacher sampling seed: {', '.join(sorted(paths))}"]


def find_faults(run_config: RunConfig) -> Iterator[HealError]:
    """Everything that is wrong with the models and data of a run; `where` begins with the config's field."""
    for field, check in list_checks(run_config):
        try:
            check()
        except HealError as error:
            yield HealError(error.problem, where=f"{field}: {error.where}" if error.where else field, fix=error.fix)


def list_checks(run_config: RunConfig) -> Iterator[tuple[str, Callable[[], Any]]]:
    """(field of the config, function that raises HealError for a fault)."""
    experiment = run_config.experiment
    yield "engine.backend", partial(check_installed, experiment.engine)
    yield "train", partial(tracking.check, experiment.train.report_to, "report_to")
    for name, teacher in experiment.teachers.items():
        yield f"teachers.{name}", partial(check_teacher, teacher, run_config)
    for name, student in experiment.students.items():
        yield f"students.{name}", partial(check_student, student, run_config)
    if any(method.distillation for method in run_config.methods.values()):
        for teacher_name, teacher in experiment.teachers.items():
            for student_name, student in experiment.students.items():
                field = f"teachers.{teacher_name}, students.{student_name}"
                yield field, partial(check_pair, teacher, student)
    fields = {"train": "problems.train", "dev": "problems.dev"}
    fields |= {name: f"problems.test.{name}" for name in experiment.problems.test}
    for split, field in fields.items():
        yield field, partial(load, run_config.get_split(split), experiment.seed)


def check_installed(engine: Engine) -> None:
    """Raises HealError where the engine's package is missing."""
    if engine.backend == "vllm" and importlib.util.find_spec("vllm") is None:
        raise HealError("vLLM is not installed", fix="make env LOCK=gpu, or set engine.backend: transformers")


def check_teacher(model: Model, run_config: RunConfig) -> None:
    """Raises HealError where a teacher cannot be run."""
    experiment = run_config.experiment
    tokenizer = load_model_tokenizer(model)
    check_round_trip(tokenizer, model)
    if model.traces:
        read_traces(model.traces)
    if model.endpoint:
        check_endpoint(model, find_plain_word(tokenizer), run_config)
        return
    check_weights(model)
    check_heads(model, experiment.engine)
    bytes_per_parameter = GENERATION_ROOM * (2 if experiment.engine.dtype == "bfloat16" else 4)
    check_memory(model, bytes_per_parameter, "use dtype bfloat16, more gpus, or a smaller model")


def check_student(model: Model, run_config: RunConfig) -> None:
    """Raises HealError where a student cannot be trained."""
    experiment = run_config.experiment
    tokenizer = load_model_tokenizer(model)
    tokenizer.eos_token = find_end_token(tokenizer, model.path, model.template_options)
    question = answer = find_plain_word(tokenizer)
    if THINKING_ENDS in experiment.scoring.cue:  # the teacher thinks, and so will the student
        answer = f"{THINKING_STARTS}{question}\n{THINKING_ENDS}\n\n{question}"
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    encode(tokenizer, [{"id": "check", "messages": messages}], model.path, model.template_options)
    check_weights(model)
    check_heads(model, experiment.engine)
    bytes_per_parameter = 2 * GENERATION_ROOM if experiment.train.lora else TRAINING_BYTES_PER_PARAMETER
    check_memory(model, bytes_per_parameter, "more gpus, train.lora, or a smaller student")


def check_pair(teacher: Model, student: Model) -> None:
    """Raises HealError where a student cannot learn from the teacher's probabilities."""
    check_vocabularies(load_model_tokenizer(teacher), load_model_tokenizer(student), "")


def load_model_tokenizer(model: Model) -> Any:
    """The tokenizer of the model's package, folder or hub repository. Raises HealError where there is none."""
    if model.package:
        return load_gguf_tokenizer(find_gguf_file(model.package, model.revision or "", model.path))
    return load_tokenizer(model.path, model.revision)


def check_endpoint(model: Model, question: str, run_config: RunConfig) -> None:
    """Raises HealError where the endpoint does not serve the model, or lacks log-probs that the methods need."""
    from heal.engines.base import Request, Sampling
    from heal.engines.open import open_engine

    engine = open_engine(model, run_config.experiment.engine, 0)
    prompt = engine.tokenize_chat(question)
    engine.generate([Request(prompt, (0,), 1)], Sampling())  # one token, for its log-probs
    for method in run_config.methods.values():
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


def check_weights(model: Model) -> None:
    """Raises HealError where there are no safetensors; pickled weights are not read."""
    if model.package:  # its GGUF file was there when its tokenizer was read
        return
    names = list_model_files(model)
    for suffix in ("config.json", ".safetensors"):
        if not any(name.endswith(suffix) for name in names):
            problem = f"no {suffix.removeprefix('.')} among its {len(names)} files"
            raise HealError(problem, where=model.path, fix="give a model with weights as safetensors (no pickle)")


def list_model_files(model: Model) -> list[str]:
    """Names of the files in the model's folder or hub repository. Raises HealError where it cannot be listed."""
    if Path(model.path).is_dir():
        return [path.name for path in Path(model.path).iterdir()]
    from huggingface_hub import HfApi

    try:
        return HfApi().list_repo_files(model.path, revision=model.revision)
    except Exception as error:  # network, permission, unknown name: the hub's classes differ between versions
        fix = explain_hub_fix(model.path, model.revision)
        raise HealError(f"cannot be listed ({type(error).__name__})", where=model.path, fix=fix) from None


def check_heads(model: Model, engine: Engine) -> None:
    """Raises HealError where vLLM cannot distribute the attention heads over the model's GPUs."""
    if engine.backend != "vllm" or engine.device == "cpu" or model.gpus < 2:
        return
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(model.path, revision=model.revision).get_text_config()
    except Exception as error:  # network, or a config that transformers refuses: its classes share no base
        fix = explain_hub_fix(model.path, model.revision)
        raise HealError(f"config.json cannot be read ({get_first_line(error)})", where=model.path, fix=fix) from None
    heads = config.num_attention_heads
    key_heads = getattr(config, "num_key_value_heads", None) or heads  # GPUs may hold copies of one of these
    possible = []
    for gpus in range(1, heads + 1):
        if heads % gpus == 0 and (key_heads % gpus == 0 or gpus % key_heads == 0):
            possible.append(gpus)
    if model.gpus not in possible:
        problem = f"{heads} attention heads, {key_heads} for keys, cannot be distributed over {model.gpus} GPUs"
        raise HealError(problem, where=model.path, fix=f"set its gpus to one of {', '.join(map(str, possible))}")


def check_memory(model: Model, bytes_per_parameter: float, fix: str) -> None:
    """Raises HealError where the model's GPUs are too small; passes on a machine without GPUs."""
    import torch

    if not torch.cuda.is_available() or not model.gpus:
        return
    needed = find_model_size(model, f"models.{Path(model.path).name}").total * bytes_per_parameter
    memory = model.gpus * torch.cuda.get_device_properties(0).total_memory
    if needed > memory:
        problem = f"about {needed / 2**30:.0f} GiB are needed, {model.gpus} GPU(s) have {memory / 2**30:.0f} GiB"
        raise HealError(problem, where=model.path, fix=fix)
