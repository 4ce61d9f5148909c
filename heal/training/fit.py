"""Fit one student's weights with TRL, from the last complete checkpoint, and prepare the model for generation."""

from __future__ import annotations

import gc
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from heal.config.models import Train
from heal.errors import HealError
from heal.skip_sklearn import skip_sklearn
from heal.training.checkpoints import find_last_complete, make_callback
from heal.training.memory import TrainingMemory, estimate_training_memory, read_shape
from heal.training.packing import ATTENTION, register_attention
from heal.training.processes import IS_MAIN, PROCESSES, wait_for_all
from heal.training.trainers import Exposures, Teaching, build_trainer_settings, make_trainer

MAX_STORED_ACTIVATION_BYTES = 8 * 2**30
"""On a CPU, above this, activations are computed again in the backward pass instead of stored (ours)."""


@dataclass(frozen=True)
class FitSetup:
    """Everything that one fit depends on."""

    folder: Path
    """Of the model that it starts from."""
    tokenizer: Any
    exposures: Exposures
    stages: np.ndarray
    """int [optimizer steps], the PACE stage of each."""
    options: Train
    seed: int
    checkpoints: Path
    out: Path
    teaching: Teaching | None = None

    @property
    def label(self) -> str:
        """The student's name on stderr."""
        return f"{self.out.parent.name} {self.out.name}"


def fit(setup: FitSetup) -> tuple[Any, list[dict[str, float]]]:
    """The trained model and the log entry of every optimizer step; (None, []) in all processes but the main one."""
    import torch
    import transformers

    skip_sklearn()
    transformers.utils.logging.disable_progress_bar()
    gpu = torch.cuda.is_available()
    if torch.cuda.device_count() > 1 and PROCESSES == 1:
        raise HealError(f"{torch.cuda.device_count()} GPUs are visible to one process", fix="use `heal train --gpus N`")
    if gpu:
        use_deterministic_kernels()
        gc.collect()  # the student before, which its trainer's reference cycles hold
        torch.cuda.empty_cache()
    register_attention()
    transformers.set_seed(setup.seed)
    trainer = prepare_trainer(setup, load_model(setup), gpu=gpu)
    if IS_MAIN:
        find_last_complete(setup.checkpoints)  # alone, since it removes incomplete ones
    wait_for_all()
    checkpoint = find_last_complete(setup.checkpoints)
    if checkpoint and IS_MAIN:
        print(f"{setup.label}: resumes from {checkpoint.name}", file=sys.stderr, flush=True)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    model = trainer.model
    if PROCESSES > 1:
        trainer.save_model(str(setup.checkpoints / "gathered"))  # the shards of all processes
        wait_for_all()
        if not IS_MAIN:
            return None, []
        gathered = setup.checkpoints / "gathered"
        model = transformers.AutoModelForCausalLM.from_pretrained(gathered, dtype=torch.float32)
    model = merge_adapters(model, setup.options)
    prepare_generation(model, setup.tokenizer)
    return model, [entry for entry in trainer.state.log_history if "loss" in entry]


def use_deterministic_kernels() -> None:
    """Makes torch choose kernels that give the same bits again, where it has them."""
    import torch

    torch.use_deterministic_algorithms(True, warn_only=True)
    # Or every new tensor is filled first: that shows reads of unset memory, costs time, and changes no result.
    torch.utils.deterministic.fill_uninitialized_memory = False


def load_model(setup: FitSetup) -> Any:
    """The model in the number format that it is trained in. Raises HealError where it has fewer tokens than needed, or
    layers that cannot be packed."""
    import torch
    import transformers

    # Full training keeps float32 weights under autocast: bfloat16 rounds updates of 1e-5 away. Frozen weights need not.
    low = setup.options.dtype == "bfloat16" and setup.options.lora
    dtype = torch.bfloat16 if low else torch.float32
    options: dict[str, Any] = {"dtype": dtype, "local_files_only": True, "attn_implementation": ATTENTION}
    fix = "use a student that has attention in every layer, and that transformers runs with sdpa"
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(setup.folder, **options)
    except ValueError as error:
        if "attention implementation" not in str(error):
            raise
        problem = "transformers does not run it with PyTorch's attention, which packing needs"
        raise HealError(problem, where=str(setup.folder), fix=fix) from error
    if model._is_stateful:  # transformers' name for recurrent and state-space layers beside attention
        problem = "its recurrent layers would carry a state from one packed conversation to the next"
        raise HealError(problem, where=str(setup.folder), fix=fix)
    embeddings = model.get_input_embeddings().num_embeddings
    if len(setup.tokenizer) > embeddings:
        problem = f"{len(setup.tokenizer)} tokens, but the model has {embeddings} embeddings"
        raise HealError(problem, where=str(setup.folder), fix="put the model's own tokenizer into the folder")
    return model


def prepare_trainer(setup: FitSetup, model: Any, *, gpu: bool) -> Any:
    """The trainer for the setup."""
    import torch
    import transformers

    options = setup.options
    peft_config = None
    if options.lora:
        from peft import LoraConfig

        peft_config = LoraConfig(r=options.lora.rank, lora_alpha=options.lora.alpha, target_modules="all-linear")
    gpu_bytes = torch.cuda.get_device_properties(0).total_memory if gpu else None
    passes = plan_passes(setup, model.config, gpu_bytes)
    settings = build_trainer_settings(
        options,
        len(setup.stages),
        setup.seed,
        setup.checkpoints,
        str(setup.out),
        gpu=gpu,
        recompute=passes.recompute,
    )
    trainer = make_trainer(
        model,
        setup.tokenizer,
        setup.exposures,
        settings,
        setup.teaching,
        micro_batch_tokens=passes.micro_batch_tokens,
        peft_config=peft_config,
        callbacks=[make_callback(setup.stages.tolist(), setup.label, options.save_minutes)],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer


@dataclass(frozen=True)
class Passes:
    """How the batches are passed through the model."""

    recompute: bool
    """Whether activations are computed again in the backward pass, because storing them takes too much memory."""
    micro_batch_tokens: int | None
    """Maximum tokens of a forward pass; None: the whole batch."""


def plan_passes(setup: FitSetup, config: Any, gpu_bytes: int | None) -> Passes:
    """The fastest passes that the memory holds: stored activations if the longest conversation allows it, then as many
    tokens as fit.

    config: of the student. gpu_bytes: memory of each GPU; None on a CPU, where the whole batch is one pass.
    """
    from transformers import AutoConfig

    options = setup.options
    teacher = None
    if setup.teaching:
        teacher = read_shape(AutoConfig.from_pretrained(setup.teaching.folder, local_files_only=True))
    lengths = np.array([len(example.ids) for example in setup.exposures.examples])[setup.exposures.order]
    longest = int(lengths.max())
    batch = int(lengths.reshape(-1, options.batch_size // PROCESSES).sum(1).max())
    least = max(longest, options.micro_batch_tokens or (batch if gpu_bytes is None else 0))

    def estimate(tokens: int, *, recompute: bool) -> TrainingMemory:
        return estimate_training_memory(
            read_shape(config), options, tokens, gpus=PROCESSES, recompute=recompute, teacher=teacher
        )

    stored = estimate(least, recompute=False)
    if gpu_bytes is None:
        return Passes(stored.activations > MAX_STORED_ACTIVATION_BYTES, options.micro_batch_tokens)
    recompute = not stored.fits(gpu_bytes)
    if options.micro_batch_tokens:
        return Passes(recompute, options.micro_batch_tokens)
    most = longest
    for tokens in range(longest, batch + longest, longest):
        if estimate(tokens, recompute=recompute).fits(gpu_bytes):
            most = tokens
    return Passes(recompute, most)


def merge_adapters(model: Any, options: Train) -> Any:
    """The model without adapters, in the number format of the output."""
    import torch

    if options.lora:
        model = model.float().merge_and_unload()  # merged in float32, then rounded once
    return model.to(torch.bfloat16 if options.dtype == "bfloat16" else torch.float32)


def prepare_generation(model: Any, tokenizer: Any) -> None:
    """Sets the end and padding tokens that generation needs, and switches the cache on."""
    ends = model.generation_config.eos_token_id or []
    ends = [tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])]
    model.generation_config.eos_token_id = list(dict.fromkeys(ends))
    model.generation_config.pad_token_id = model.config.pad_token_id = tokenizer.pad_token_id
    model.config.eos_token_id = tokenizer.eos_token_id
    model.config.use_cache = True  # the Trainer switches it off; generation without it takes quadratic time
