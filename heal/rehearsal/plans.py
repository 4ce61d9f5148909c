"""What each model's stand-in is made of, and the stand-ins themselves, in a cache folder.

`~/.cache/heal/rehearsal`, or $HEAL_REHEARSAL_CACHE; a stand-in is named by what it depends on.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from heal.config.experiment import Gear
from heal.config.models import Model
from heal.config.run_config import RunConfig
from heal.end_token import find_end_token_id
from heal.errors import HealError
from heal.records import hash_content
from heal.rehearsal import architectures, scale, stand_in
from heal.rehearsal.tokenizer import END_OF_TEXT, TURN_ENDS, build_tokenizer
from heal.rehearsal.traces import RehearsalProblem, TraceWriter, tokenize

CACHE_VARIABLE = "HEAL_REHEARSAL_CACHE"
STAND_IN_VERSION = 1
"""Raise it when stand-ins of the same texts come out different."""
SAMPLE_SIZE = 400
"""Conversations that lengths are measured on."""
SEED = 0


class StandIn:
    """What one model's stand-in is made of. field: `teachers.NAME` or `students.NAME`."""

    def __init__(self, field: str, model: Model, run_config: RunConfig, problems: Sequence[RehearsalProblem]) -> None:
        self.field = field
        self.model = model
        self.base = architectures.is_base(model.path)
        self.steps = stand_in.STEPS[field.partition(".")[0]]
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
        key = hash_content(
            STAND_IN_VERSION, self.config.to_json_string(), positions, texts, template, self.base, self.steps
        )
        self.folder = Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache/heal/rehearsal") / key[:16]

    def make(self) -> None:
        """Trains the stand-in and writes its folder; a killed rehearsal leaves none with its final name.

        Where another rehearsal has made the same one meanwhile, that one stays.
        """
        print(f"training the stand-in of {self.field} ({self.model.path})", flush=True)
        unfinished = self.folder.with_name(f"{self.folder.name}.{os.getpid()}")
        self.writer.restart(SEED)
        self.save(unfinished)
        try:
            unfinished.rename(self.folder)
        except OSError:
            if not self.folder.exists():
                raise
            shutil.rmtree(unfinished)

    def save(self, folder: Path) -> None:
        """Trains the stand-in and writes its folder."""
        import torch

        model = stand_in.train_stand_in(
            self.config, self.tokenizer, self.writer, self.end_id, self.base, self.small_positions, self.steps, SEED
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
    if cores == 1:  # without a fork, which stands still where the caller has computed with several threads
        for plan in missing.values():
            plan.make()
        return
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
