"""The trainers of a student: TRL's, with what the suite needs of them.

`SFTTrainer` as it is; weighted, where the examples' losses weigh differently; distilling, where the student learns from
the teacher's probabilities. heal.training.train gives them their data.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heal import records
from heal.config.experiment import Distillation, Train
from heal.errors import HealError
from heal.training.conversations import NOT_SUPERVISED

MAIN, PROCESSES = int(os.environ.get("RANK", 0)) == 0, int(os.environ.get("WORLD_SIZE", 1))  # set by torchrun
COMPLETE = "complete.json"  # written last into a checkpoint: its files and their sizes


@dataclass(frozen=True)
class Teaching:
    """The teacher whose probabilities a student learns from, and how."""

    folder: Path
    options: Distillation


def sizes(checkpoint: Path) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in sorted(checkpoint.iterdir()) if file.name != COMPLETE}


def last_whole(partial: Path) -> Path | None:
    """The newest checkpoint that was written to its end; half-written ones are removed."""
    found = sorted(partial.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    whole = []
    for checkpoint in found:
        try:
            complete = json.loads((checkpoint / COMPLETE).read_text()) == sizes(checkpoint)
        except (OSError, ValueError):
            complete = False
        if complete:
            whole.append(checkpoint)
        else:
            shutil.rmtree(checkpoint)
    return whole[-1] if whole else None


def activation_bytes(config: Any, tokens: int) -> int:
    """Of one forward pass: 34 per token, layer and width at 16 bits (Korthikanti et al. 2022, arXiv 2205.05198, eq. 2),
    without its attention term, which fused attention does not keep; and the logits, with their gradient, in float32."""
    return tokens * (34 * config.num_hidden_layers * config.hidden_size + 8 * config.vocab_size)


def watcher(stages: Sequence[int], name: str) -> Any:
    """A Trainer callback: marks checkpoints as whole, and tells on stderr how far training is, ten times.

    Raises HealError as soon as the loss is not finite.
    """
    from transformers import TrainerCallback

    began, total = time.monotonic(), len(stages)

    class Watcher(TrainerCallback):
        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            wait_for_all()  # each process has written its own files
            if not MAIN:
                return
            checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            records.write_json(checkpoint / COMPLETE, sizes(checkpoint))

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
            step, loss = state.global_step, logs.get("loss")
            if loss is None:
                return
            if not math.isfinite(loss):
                raise HealError(f"the loss is {loss} at step {step}", where=name, fix="lower train.learning_rate")
            if MAIN and (step == total or step * 10 // total > (step - 1) * 10 // total):
                told = f"{name}: step {step}/{total}, stage {stages[step - 1]}, loss {loss:.4f}"
                print(f"{told}, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)

    return Watcher()


def wait_for_all() -> None:
    """Until every process of this training is here."""
    import torch.distributed

    if PROCESSES > 1 and torch.distributed.is_initialized():
        torch.distributed.barrier()


def training_arguments(
    options: Train, steps: int, seed: int, partial: Path, name: str, *, gpu: bool, recompute: bool
) -> dict[str, Any]:
    """TRL's settings: one pass in the given order, one warm-up, constant rate, decay at the end, nothing extra."""
    micro = options.micro_batch_size or options.batch_size // PROCESSES
    warmup = round(options.warmup_ratio * steps)
    decay = min(round(options.decay_ratio * steps), steps - warmup)
    return dict(
        output_dir=str(partial),
        max_steps=steps,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=options.batch_size // (micro * PROCESSES),
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
        save_steps=options.save_steps,
        save_total_limit=2,  # the one before the last must survive a kill while saving
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


def trainer_of(
    model: Any, tokenizer: Any, data: Any, arguments: Mapping[str, Any], teaching: Teaching | None, **options: Any
) -> Any:
    """The trainer for this data: plain, weighted where it has a column `weight`, or beside a teacher.

    arguments: those of `training_arguments`; options: further ones of TRL's trainer.
    """
    from trl import SFTConfig, SFTTrainer

    settings = training_arguments(**arguments)
    options |= {"model": model, "train_dataset": data, "processing_class": tokenizer}
    if teaching:
        return distilling(settings, options, teaching)
    if "weight" in data.column_names:
        return weighted()(args=SFTConfig(**settings, remove_unused_columns=False), **options)
    return SFTTrainer(args=SFTConfig(**settings), **options)


def weighted() -> type:
    """An SFTTrainer that multiplies the loss of every token by its example's `weight`.

    The sum is divided by the number of tokens, not of weights: else a batch of light examples would weigh as much as
    one of heavy ones.
    """
    import torch
    from trl import SFTTrainer

    class Weighted(SFTTrainer):
        data_collator: Any

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            collate = self.data_collator
            self.data_collator = lambda examples: {
                **collate(examples),
                "weight": torch.tensor([example["weight"] for example in examples]),
            }

        def compute_loss(self, model: Any, inputs: dict[str, Any], **options: Any) -> Any:
            weight_B = inputs.pop("weight")

            def weighing(**given: Any) -> Any:
                outputs = model(**given)
                outputs.log_probs = outputs.log_probs * weight_B[:, None]
                return outputs

            return super().compute_loss(weighing, inputs, **options)

    return Weighted


def distilling(settings: Mapping[str, Any], options: Mapping[str, Any], teaching: Teaching) -> Any:
    """TRL's GKDTrainer with the teacher beside the student."""
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    import torch
    import transformers
    from trl.experimental.gkd import GKDConfig, GKDTrainer
    from trl.trainer.utils import pad

    how, tokenizer, model = teaching.options, options["processing_class"], options["model"]
    model.generation_config.eos_token_id = tokenizer.eos_token_id  # where the student's own answers end
    dtype = torch.bfloat16 if settings["bf16"] else torch.float32
    teacher = transformers.AutoModelForCausalLM.from_pretrained(teaching.folder, dtype=dtype, local_files_only=True)

    def collate(examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        ids, labels = ([torch.tensor(e[name]) for e in examples] for name in ("input_ids", "labels"))
        prompts = [row[: int((label == NOT_SUPERVISED).sum())] for row, label in zip(ids, labels, strict=True)]
        batch = {"input_ids": ids, "attention_mask": [torch.ones_like(row) for row in ids], "labels": labels}
        asked = {"prompts": prompts, "prompt_attention_mask": [torch.ones_like(row) for row in prompts]}
        fill = {"input_ids": tokenizer.pad_token_id, "labels": NOT_SUPERVISED, "prompts": tokenizer.pad_token_id}
        right = {name: pad(rows, fill.get(name, 0), "right") for name, rows in batch.items()}
        return right | {name: pad(rows, fill.get(name, 0), "left") for name, rows in asked.items()}

    mixed = {"lmbda": how.on_policy_share, "beta": how.beta, "temperature": how.temperature}
    arguments = GKDConfig(**settings, **mixed, max_new_tokens=how.max_new_tokens)
    trainer = GKDTrainer(args=arguments, teacher_model=teacher, data_collator=collate, **options)
    # TRL would divide the loss of the student's own answers by the number of tokens of those that they replace.
    trainer.model_accepts_loss_kwargs = False
    return trainer
