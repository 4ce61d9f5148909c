"""The two TRL trainers of a student, and their settings.

SFTTrainer, and GKDTrainer, with which the student learns from the teacher's probabilities; both pack their batches
without padding and weight the examples. heal.training.fit runs them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from heal.config.models import Distillation, Train
from heal.errors import HealError
from heal.training.conversations import NOT_SUPERVISED, Example
from heal.training.packing import ATTENTION, group_by_tokens, pack, pad_batch, split_groups
from heal.training.processes import PROCESSES, find_maximum

SMALL_VOCABULARY = 4096
"""Vocabulary up to which logits are stored (ours): a world's own tokenizer, not a language's."""


@dataclass(frozen=True)
class Teaching:
    """The teacher whose probabilities a student learns from, and how."""

    folder: Path
    options: Distillation


@dataclass(frozen=True)
class Exposures:
    """The examples of a training and the order in which the student sees them."""

    examples: Sequence[Example]
    weights: Sequence[float]
    """Weight of each example in the loss, 1 on average over the exposures."""
    order: np.ndarray
    """int [exposures], the example of each."""


def build_trainer_settings(
    options: Train, max_steps: int, seed: int, folder: Path, name: str, *, gpu: bool, recompute: bool
) -> dict[str, Any]:
    """TRL's settings: the data once in the given order, linear warmup, constant rate, linear decay at the end.

    max_steps: optimizer steps. folder: of the checkpoints. name: of the run, for trackers. recompute: whether
    activations are computed again in the backward pass instead of stored.
    """
    warmup = round(options.warmup_ratio * max_steps)
    decay = min(round(options.decay_ratio * max_steps), max_steps - warmup)
    return dict(
        output_dir=str(folder),
        max_steps=max_steps,
        per_device_train_batch_size=options.batch_size // PROCESSES,
        train_sampling_strategy="sequential",  # the exposures' order is the schedule
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
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
    model: Any,
    tokenizer: Any,
    exposures: Exposures,
    settings: Mapping[str, Any],
    teaching: Teaching | None,
    *,
    micro_batch_tokens: int | None,
    **options: Any,
) -> Any:
    """The trainer, distilling with a teacher.

    settings: of `build_trainer_settings`. micro_batch_tokens: maximum of a forward pass; None: the whole batch of the
    process. options: further arguments of TRL's trainer. Raises HealError for a mixture of experts.
    """
    from datasets import Dataset

    def collate(rows: Sequence[Mapping[str, int]]) -> dict[str, Any]:
        numbers = [row["example"] for row in rows]
        examples = [exposures.examples[number] for number in numbers]
        batch = pad_batch(examples, [exposures.weights[number] for number in numbers], tokenizer.pad_token_id)
        return batch | (pad_prompts(examples, tokenizer.pad_token_id) if teaching else {})

    options |= {
        "model": model,
        "processing_class": tokenizer,
        "train_dataset": Dataset.from_dict({"example": exposures.order}),
        "data_collator": collate,
    }
    if teaching:
        trainer = make_distilling_trainer(settings, options, teaching)
    else:
        trainer = make_packing_trainer(settings, options)
    if trainer.aux_loss_enabled:
        problem = "a mixture of experts, whose balancing loss is not trained"
        raise HealError(problem, where=settings["run_name"], fix="use a dense student")
    trainer.micro_batch_tokens = micro_batch_tokens
    return trainer


def make_packing_trainer(settings: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    """TRL's SFTTrainer with `define_packing_trainer`'s changes."""
    from trl import SFTConfig

    return define_packing_trainer()(args=SFTConfig(**settings), **options)


def define_packing_trainer() -> Any:
    """The class, made here because TRL takes seconds to import.

    An SFTTrainer whose batches reach the model as packed micro-batches. The loss of every token is multiplied by its
    example's weight and divided by the number of supervised tokens of the whole batch, not by the sum of weights:
    otherwise a batch of light examples would count as much as a batch of heavy ones. Entropy and accuracy, which TRL
    computes at every optimizer step, are left out. Logits of a small vocabulary are stored: TRL's fused head would
    compute those of the prompts as well, and all twice.
    """
    import torch
    from peft import PeftModel
    from trl import SFTTrainer
    from trl.trainer.utils import add_fused_lm_head

    class Packing(SFTTrainer):
        micro_batch_tokens: int | None = None

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            base = self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model
            self.stores_logits = base.config.get_text_config().vocab_size <= SMALL_VOCABULARY
            add_fused_lm_head(base, outputs=("log_probs",))

        def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Any:
            if num_items_in_batch is None:  # GKDTrainer replaces the labels whose number the Trainer would give
                num_items_in_batch = (inputs["labels"][:, 1:] != NOT_SUPERVISED).sum()
            groups = group_by_tokens(inputs["attention_mask"].sum(1).tolist(), self.micro_batch_tokens)
            groups = split_groups(groups, find_maximum(len(groups)))  # every forward pass of a shard needs all shards
            loss = 0.0
            for rows in groups:
                loss += super().training_step(model, pack(inputs, rows), num_items_in_batch)
            return loss

        def compute_loss(
            self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            weight_T = inputs.pop("weight")[0, 1:]
            if self.stores_logits:
                labels_T = inputs.pop("labels")[0, 1:]
                places = (labels_T != NOT_SUPERVISED).nonzero()[:, 0]
                logits = model(**inputs, logits_to_keep=places, use_cache=False).logits[0]
                losses = torch.nn.functional.cross_entropy(logits.float(), labels_T[places], reduction="none")
                loss = (losses * weight_T[places]).sum()
            else:
                loss = -(model(**inputs, fused_lm_head=True).log_probs[0] * weight_T).sum()
            return loss / num_items_in_batch * PROCESSES  # gradients are averaged over the processes

        def floating_point_ops(self, inputs: dict[str, Any]) -> int:
            return 0  # nobody reads it

    return Packing


def make_distilling_trainer(settings: Mapping[str, Any], options: Mapping[str, Any], teaching: Teaching) -> Any:
    """TRL's GKDTrainer with the teacher's model and the student's."""
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    import torch
    import transformers
    from trl.experimental.gkd import GKDConfig, GKDTrainer

    class Distilling(GKDTrainer, define_packing_trainer()):  # type: ignore[misc]
        def compute_loss(
            self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            del inputs["weight"]
            places = (inputs.pop("labels")[0, 1:] != NOT_SUPERVISED).nonzero()[:, 0]
            with torch.no_grad():
                teacher_logits = self.teacher_model(**inputs, logits_to_keep=places, use_cache=False).logits
            student_logits = model(**inputs, logits_to_keep=places, use_cache=False).logits
            return self.generalized_jsd_loss(
                student_logits, teacher_logits, beta=self.beta, num_items_in_batch=num_items_in_batch
            )

    tokenizer, model = options["processing_class"], options["model"]
    model.generation_config.eos_token_id = tokenizer.eos_token_id  # its on-policy answers end there
    dtype = torch.bfloat16 if settings["bf16"] else torch.float32
    teacher = transformers.AutoModelForCausalLM.from_pretrained(
        teaching.folder, dtype=dtype, local_files_only=True, attn_implementation=ATTENTION
    )
    distillation = teaching.options
    config = GKDConfig(
        **settings,
        lmbda=distillation.on_policy_share,
        beta=distillation.beta,
        temperature=distillation.temperature,
        max_new_tokens=distillation.max_new_tokens,
    )
    trainer = Distilling(args=config, teacher_model=teacher, **options)
    # TRL would divide the loss of on-policy answers by the number of tokens of the curriculum's answers.
    trainer.model_accepts_loss_kwargs = False
    return trainer


def pad_prompts(examples: Sequence[Example], pad_token_id: int) -> dict[str, Any]:
    """The prompts alone, padded on the left for generation."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    prompts = []
    for example in examples:
        prompts.append(torch.tensor(example.ids[: example.labels.count(NOT_SUPERVISED)]))
    options: dict[str, Any] = {"batch_first": True, "padding_side": "left"}
    return {
        "prompts": pad_sequence(prompts, padding_value=pad_token_id, **options),
        "prompt_attention_mask": pad_sequence(list(map(torch.ones_like, prompts)), **options),
    }
