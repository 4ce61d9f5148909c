"""The three TRL trainers of a student, and their settings.

`SFTTrainer` itself; one that weights the examples' losses; and GKDTrainer, with which the student learns from the
teacher's probabilities. heal.training.fit runs them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heal.config.models import Distillation, Train
from heal.training.conversations import NOT_SUPERVISED
from heal.training.processes import PROCESSES


@dataclass(frozen=True)
class Teaching:
    """The teacher whose probabilities a student learns from, and how."""

    folder: Path
    options: Distillation


def get_micro_batch_size(options: Train) -> int:
    """Conversations per forward pass and process."""
    return options.micro_batch_size or options.batch_size // PROCESSES


def build_trainer_settings(
    options: Train, max_steps: int, seed: int, folder: Path, name: str, *, gpu: bool, recompute: bool
) -> dict[str, Any]:
    """TRL's settings: the data once in the given order, linear warmup, constant rate, linear decay at the end.

    max_steps: optimizer steps. folder: of the checkpoints. name: of the run, for trackers. recompute: whether
    activations are computed again in the backward pass instead of stored.
    """
    micro_batch_size = get_micro_batch_size(options)
    warmup = round(options.warmup_ratio * max_steps)
    decay = min(round(options.decay_ratio * max_steps), max_steps - warmup)
    return dict(
        output_dir=str(folder),
        max_steps=max_steps,
        per_device_train_batch_size=micro_batch_size,
        gradient_accumulation_steps=options.batch_size // (micro_batch_size * PROCESSES),
        train_sampling_strategy="sequential",  # the exposures' order is the schedule
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        lr_scheduler_type="warmup_stable_decay",
        lr_scheduler_kwargs={"num_decay_steps": decay, "decay_type": "linear"},
        warmup_steps=warmup,
        bf16=options.dtype == "bfloat16",
        gradient_checkpointing=recompute and PROCESSES == 1,
        fsdp=PROCESSES > 1,  # accelerate shards on GPUs only: on CPUs each process keeps the whole model (DDP)
        fsdp_config={"activation_checkpointing": recompute},
        save_strategy="no",  # heal.training.checkpoints saves by minutes
        save_total_limit=2,  # the previous checkpoint must survive a kill while the next one is written
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to=list(options.report_to),
        run_name=name,
        log_level="error",
        seed=seed,
        use_cpu=not gpu,
        ddp_backend="gloo" if PROCESSES > 1 and not gpu else None,
        dataloader_pin_memory=gpu,
    )


def make_trainer(
    model: Any, tokenizer: Any, data: Any, settings: Mapping[str, Any], teaching: Teaching | None, **options: Any
) -> Any:
    """The trainer for this data: distilling with a teacher, weighted for data with a column `weight`, else plain.

    settings: of `build_trainer_settings`. options: further arguments of TRL's trainer.
    """
    from trl import SFTConfig, SFTTrainer

    options |= {"model": model, "train_dataset": data, "processing_class": tokenizer}
    if teaching:
        return make_distilling_trainer(settings, options, teaching)
    if "weight" in data.column_names:
        return make_weighted_trainer(settings, options)
    return SFTTrainer(args=SFTConfig(**settings), **options)


def make_weighted_trainer(settings: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    """An SFTTrainer that multiplies the loss of every token by its example's `weight`.

    The sum is divided by the number of tokens, not by the sum of weights: otherwise a batch of light examples would
    count as much as a batch of heavy ones.
    """
    import torch
    from trl import SFTConfig, SFTTrainer

    class Weighted(SFTTrainer):
        data_collator: Any

        def __init__(self, **arguments: Any) -> None:
            super().__init__(**arguments)
            pad_batch = self.data_collator

            def pad_with_weights(examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
                weights = torch.tensor([example["weight"] for example in examples])
                return {**pad_batch(examples), "weight": weights}

            self.data_collator = pad_with_weights

        def compute_loss(self, model: Any, inputs: dict[str, Any], **arguments: Any) -> Any:
            weight_B = inputs.pop("weight")

            def run_weighted(**model_inputs: Any) -> Any:
                outputs = model(**model_inputs)
                outputs.log_probs = outputs.log_probs * weight_B[:, None]
                return outputs

            return super().compute_loss(run_weighted, inputs, **arguments)

    return Weighted(args=SFTConfig(**settings, remove_unused_columns=False), **options)


def make_distilling_trainer(settings: Mapping[str, Any], options: Mapping[str, Any], teaching: Teaching) -> Any:
    """TRL's GKDTrainer with the teacher's model and the student's."""
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    import torch
    import transformers
    from trl.experimental.gkd import GKDConfig, GKDTrainer
    from trl.trainer.utils import pad

    tokenizer, model = options["processing_class"], options["model"]
    model.generation_config.eos_token_id = tokenizer.eos_token_id  # its on-policy answers end there
    dtype = torch.bfloat16 if settings["bf16"] else torch.float32
    teacher = transformers.AutoModelForCausalLM.from_pretrained(teaching.folder, dtype=dtype, local_files_only=True)

    def pad_batch(examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        ids, labels, prompts = [], [], []
        for example in examples:
            row = torch.tensor(example["input_ids"])
            row_labels = torch.tensor(example["labels"])
            ids.append(row)
            labels.append(row_labels)
            prompts.append(row[: int((row_labels == NOT_SUPERVISED).sum())])
        return {
            "input_ids": pad(ids, tokenizer.pad_token_id, "right"),
            "attention_mask": pad(list(map(torch.ones_like, ids)), 0, "right"),
            "labels": pad(labels, NOT_SUPERVISED, "right"),
            "prompts": pad(prompts, tokenizer.pad_token_id, "left"),
            "prompt_attention_mask": pad(list(map(torch.ones_like, prompts)), 0, "left"),
        }

    distillation = teaching.options
    config = GKDConfig(
        **settings,
        lmbda=distillation.on_policy_share,
        beta=distillation.beta,
        temperature=distillation.temperature,
        max_new_tokens=distillation.max_new_tokens,
    )
    trainer = GKDTrainer(args=config, teacher_model=teacher, data_collator=pad_batch, **options)
    # TRL would divide the loss of on-policy answers by the number of tokens of the curriculum's answers.
    trainer.model_accepts_loss_kwargs = False
    return trainer
