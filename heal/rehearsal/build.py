"""The working copy of a rehearsal: repository, scaled config, local data, stand-in models.

Stand-ins are kept in a cache folder (`~/.cache/heal/rehearsal`, or $HEAL_REHEARSAL_CACHE), named by what they depend
on.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heal.config.data import Problems
from heal.config.experiment import Experiment, Gear
from heal.config.layers import read_layers
from heal.config.models import Model
from heal.config.options import validate
from heal.config.run_config import RunConfig
from heal.end_token import find_end_token_id
from heal.errors import HealError
from heal.records import hash_content
from heal.rehearsal import architectures, scale, stand_in
from heal.rehearsal.data import DataWriter, list_problems
from heal.rehearsal.tokenizer import END_OF_TEXT, TURN_ENDS, build_tokenizer
from heal.rehearsal.traces import RehearsalProblem, TraceWriter, tokenize

ROOT = Path(__file__).parent.parent.parent
COPIED = ("Snakefile", "workflow", "profiles", "heal", "baselines", "evals", "config", "containers", "pyproject.toml")
COPIED_IF_THERE = ("environment.yml", "environment-gpu.yml", "requirements", "docs", "tools")
LEFT_OUT = shutil.ignore_patterns("__pycache__", ".*_cache")
CACHE_VARIABLE = "HEAL_REHEARSAL_CACHE"
STAND_IN_VERSION = 1
"""Raise it when stand-ins of the same texts come out different."""
SAMPLE_SIZE = 400
"""Conversations that lengths are measured on."""
SEED = 0


@dataclass(frozen=True)
class Rehearsal:
    """A working copy that is ready to run."""

    folder: Path
    """The copy of the repository; jobs start here."""
    config: Path
    """The scaled config, relative to the copy."""
    factor: float
    """What every length was multiplied by."""
    experiment: Experiment
    """The scaled config, validated."""
    notes: list[str]
    """What the rehearsal leaves out of the preset."""


def build(path: Path, out: Path, cores: int = 1) -> Rehearsal:
    """Makes the working copy below `out` for the config at `path`. Raises HealError where a part cannot be made.

    cores: processes that train stand-ins at once.
    """
    content = read_layers(Experiment, [path])
    original = RunConfig(validate(Experiment, content, where=str(path)), str(path))
    original.check()
    folder = copy_repository(out / "copy")
    notes = replace_models(content, original.experiment, folder)
    data = DataWriter(folder / "data", original.experiment.seed)
    data.replace(content["problems"])
    problems_options = validate(Problems, content["problems"], where=str(path))
    sets = {"train": problems_options.train, "dev": problems_options.dev, **problems_options.test}
    problems = list_problems(sets, problems_options.instruction, original.experiment.seed)
    models = {f"teachers.{name}": model for name, model in original.experiment.teachers.items()}
    models |= {f"students.{name}": model for name, model in original.experiment.students.items()}
    plans = {field: StandIn(field, model, original, problems) for field, model in models.items()}
    needs = measure_needs(list(plans.values()))
    positions = {field: plan.positions for field, plan in plans.items()}
    factor = scale.choose_factor(original.experiment, positions, needs)
    scale.scale_config(content, original.experiment, factor)
    scale.scale_tasks(folder / "evals/tasks", original.experiment.benchmarks, factor)
    for plan in plans.values():
        plan.name_folder(scale.scale_length(plan.positions, factor))
    make_stand_ins(list(plans.values()), cores)
    for field, plan in plans.items():
        role, name = field.split(".")
        shutil.copytree(plan.folder, folder / content[role][name]["path"])
    data.make_paths_relative(folder)
    relative = Path("config/rehearsal.yaml")
    note = f"{path}, rehearsed: every length times {factor:g}. Written by `heal rehearse`."
    scale.write_config(folder / relative, content, note)
    shutil.copy(folder / relative, out / "config.yaml")
    experiment = validate(Experiment, content, where=str(folder / relative))
    return Rehearsal(folder, relative, factor, experiment, notes)


def copy_repository(folder: Path) -> Path:
    """A fresh copy of what the workflow reads."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    for name in (*COPIED, *COPIED_IF_THERE):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=LEFT_OUT)
        elif source.is_file():
            shutil.copy(source, folder / name)
        elif name in COPIED:
            raise HealError(f"there is no {name}", where=str(ROOT), fix="rehearse in a checkout of the repository")
    return folder


def replace_models(content: dict[str, Any], experiment: Experiment, folder: Path) -> list[str]:
    """Points every model at its stand-in's folder, in place; returns what is left out."""
    notes = []
    for role in ("teachers", "students"):
        for name, model in content[role].items():
            for option in ("endpoint", "traces", "warm_up", "package"):
                if model.pop(option, None) is not None:
                    notes.append(f"{role}.{name}: `{option}` is replaced by the stand-in")
            model.pop("revision", None)
            base = architectures.BASE_SUFFIX if architectures.is_base(model["path"]) else ""
            model["path"] = f"models/{role}/{name}{base}"
    return notes


class StandIn:
    """What one model's stand-in is made of. field: `teachers.NAME` or `students.NAME`."""

    def __init__(self, field: str, model: Model, run_config: RunConfig, problems: Sequence[RehearsalProblem]) -> None:
        self.field = field
        self.model = model
        self.base = architectures.is_base(model.path)
        self.tokenizer = self.load_tokenizer()
        self.config = architectures.read_architecture(model)
        self.positions = int(self.config.max_position_embeddings)
        self.end_id = find_end_token_id(self.tokenizer, field, model.template_options)
        self.writer = TraceWriter(
            problems, run_config.experiment, self.list_gears(run_config), self.render, SEED, self.list_stray_prompts
        )

    def load_tokenizer(self) -> Any:
        """A Qwen3 tokenizer for Qwen3's hub models, the model's own for a folder or another hub model."""
        from heal.engines.base import load_tokenizer
        from heal.training.unpack_gguf import find_gguf_file, load_gguf_tokenizer

        if self.model.package:
            return load_gguf_tokenizer(find_gguf_file(self.model.package, self.model.revision or "", self.model.path))
        if architectures.is_qwen3(self.model.path):
            return build_tokenizer(self.base)
        return load_tokenizer(self.model.path, self.model.revision)

    def render(self, question: str) -> str:
        return self.render_with(question, self.model.template_options)

    def render_with(self, question: str, options: Mapping[str, Any]) -> str:
        turn = [{"role": "user", "content": question}]
        return str(self.tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False, **options))

    def list_stray_prompts(self, question: str) -> list[str]:
        """The prompt as a template without the config's options renders it, where that is another one."""
        stray = self.render_with(question, {})
        return [stray] if stray != self.render(question) else []

    @staticmethod
    def list_gears(run_config: RunConfig) -> list[Gear]:
        """GEAR's variants that a method uses."""
        names = {method.variant for method in run_config.methods.values() if method.variant}
        return [gear for name, gear in run_config.gear_variants.items() if name in names] or [
            run_config.experiment.gear
        ]

    def name_folder(self, positions: int) -> None:
        """Sets the folder in the cache. positions: the stand-in's longest sequence."""
        self.small_positions = positions
        self.writer.restart(SEED)
        texts = [tokenize(item, self.tokenizer, self.end_id, self.base) for item in self.writer.write(24, 0.5)]
        template = str(self.tokenizer.chat_template)
        key = hash_content(STAND_IN_VERSION, self.config.to_json_string(), positions, texts, template, self.base)
        self.folder = Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache/heal/rehearsal") / key[:16]

    def make(self) -> None:
        """Trains the stand-in and writes its folder; a killed rehearsal leaves none with its final name."""
        print(f"training the stand-in of {self.field} ({self.model.path})", flush=True)
        unfinished = self.folder.with_name(f"{self.folder.name}.{os.getpid()}")
        self.writer.restart(SEED)
        self.save(unfinished)
        unfinished.rename(self.folder)

    def save(self, folder: Path) -> None:
        """Trains the stand-in and writes its folder."""
        import torch

        model = stand_in.train_stand_in(
            self.config, self.tokenizer, self.writer, self.end_id, self.base, self.small_positions, SEED
        )
        model.to(torch.bfloat16).save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        ends = [self.tokenizer.convert_tokens_to_ids(END_OF_TEXT)] if self.base else [self.end_id]
        generation: dict[str, Any] = {"eos_token_id": ends[0] if self.base else ends}
        if not self.base and architectures.is_qwen3(self.model.path):
            stop = self.tokenizer.convert_tokens_to_ids([TURN_ENDS, END_OF_TEXT])
            generation = {"eos_token_id": stop, "do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95}
        (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")


def make_stand_ins(plans: Sequence[StandIn], cores: int) -> None:
    """Makes the stand-ins that the cache lacks, each once, as many at a time as there are cores."""
    missing = {plan.folder: plan for plan in plans if not plan.folder.exists()}
    context = multiprocessing.get_context("fork")  # a plan cannot be sent to another process
    processes: list[Any] = []
    for plan in missing.values():
        while len([process for process in processes if process.is_alive()]) >= cores:
            time.sleep(0.1)
        processes.append(context.Process(target=plan.make))
        processes[-1].start()
    for process in processes:
        process.join()
    failed = [plan.field for plan in missing.values() if not plan.folder.exists()]
    if failed:
        raise HealError("the stand-in could not be trained", where=failed[0], fix="see the message above")


def measure_needs(plans: Sequence[StandIn]) -> scale.Needs:
    """The longest prompt with its context, and the longest trace that ends, over a sample of conversations."""
    prompt = trace = 0
    for plan in plans:
        for conversation in plan.writer.write(SAMPLE_SIZE // len(plans), 0.3):
            question = plan.tokenizer.encode(conversation.prompt, add_special_tokens=False)
            ids, _ = tokenize(conversation, plan.tokenizer, plan.end_id, base=False)
            if conversation.is_request_for_hint:
                continue
            prompt = max(prompt, len(question))
            if conversation.ends:
                trace = max(trace, len(ids) - len(question))
    return scale.Needs(prompt, trace)
