"""One student: supervised fine-tuning with TRL on a curriculum, exposure by exposure in the order that PACE gives.

Reads curriculum.jsonl (one training conversation per row) and a model folder or hub id. Writes to --out:
model/ (safetensors, tokenizer, chat template), loss.csv (every step), exposures.csv (how often each example was seen)
and training.json (tokens, what was left out, one masked example, options, versions; no times, so equal runs give equal
files). A killed training goes on from its last whole checkpoint, kept in a hidden folder beside --out.
With more than one GPU it starts itself once per GPU (torchrun) and shards the student over them (FSDP, accelerate's).

    python -m heal.train --curriculum curriculum.jsonl --model PATH --options '{"steps": 300}' \
        --schedule cumulative --seed 0 --out students/heal/seed0
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from heal import devices, records, tracking
from heal.config import Pace, Train
from heal.conversations import NO_OPTIONS, NOT_SUPERVISED, Example, encode, end_of_turn, read_curriculum
from heal.errors import HealError, exit_with_errors
from heal.pace import exposures
from heal.provenance import package_versions, recorded
from heal.records import Row
from heal.stage import arguments_parser, model_of, read_options

if TYPE_CHECKING:
    pass

MAIN, PROCESSES = int(os.environ.get("RANK", 0)) == 0, int(os.environ.get("WORLD_SIZE", 1))  # set by torchrun
KEPT_ACTIVATIONS = 8 * 2**30  # bytes; beyond, activations are recomputed rather than kept (ours)
COMPLETE = "complete.json"  # written last into a checkpoint: its files and their sizes


def optimizer_steps(options: Train, n_examples: int) -> int:
    """`steps`, or `epochs` passes over the whole set: the largest stage's, equal for every schedule."""
    return options.steps or max(1, math.ceil(options.epochs * n_examples / options.batch))


def model_folder(model: str, revision: str | None) -> Path:
    """The model's local folder, downloaded at `revision` for a hub id. Raises HealError where there is none."""
    folder = Path(model)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        try:
            patterns = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]
            folder = Path(snapshot_download(model, revision=revision, allow_patterns=patterns))
        except Exception as error:  # network, permission, unknown name: the hub's classes differ between versions
            found = f"neither a folder nor a model that can be fetched ({type(error).__name__})"
            raise HealError(found, where=model, cure="give a local folder, or check the id and the network") from None
    for wanted in ("config.json", "tokenizer_config.json", "*.safetensors"):
        if not any(folder.glob(wanted)):
            raise HealError(f"no {wanted} in it", where=str(folder), cure="give a complete model folder")
    return folder


def files_hash(folder: Path) -> str:
    """Identity of a model: names and contents of its files."""
    total = hashlib.sha256()
    for file in sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")):
        with open(file, "rb") as stream:
            total.update(f"{file.name}:{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()[:16]


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


def csv_text(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([header, *rows])
    return stream.getvalue()


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
                raise HealError(f"the loss is {loss} at step {step}", where=name, cure="lower train.learning_rate")
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
) -> Any:
    """TRL's settings: one pass in the given order, one warm-up, constant rate, decay at the end, nothing extra."""
    from trl import SFTConfig

    micro = options.micro_batch or options.batch // PROCESSES
    warmup = round(options.warmup_share * steps)
    decay = min(round(options.decay_share * steps), steps - warmup)
    return SFTConfig(
        output_dir=str(partial),
        max_steps=steps,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=options.batch // (micro * PROCESSES),
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


def fit(
    folder: Path, tokenizer: Any, data: Any, stages: np.ndarray, options: Train, seed: int, partial: Path, name: str
) -> tuple[Any, list[dict[str, float]]]:
    """Trains once through `data`, from the last whole checkpoint; returns the model and the log of every step, in the
    main process."""
    import torch
    import transformers
    from trl import SFTTrainer

    low, peft_config = options.dtype == "bfloat16", None
    label = f"{partial.parent.name} {partial.name.split('-')[1]}"
    transformers.utils.logging.disable_progress_bar()
    gpu = torch.cuda.is_available()
    if torch.cuda.device_count() > 1 and PROCESSES == 1:
        cure = "start it with --gpus, not by itself"
        raise HealError(f"{torch.cuda.device_count()} GPUs are visible to one process", cure=cure)
    if gpu:
        torch.use_deterministic_algorithms(True, warn_only=True)
    transformers.set_seed(seed)
    # Full training keeps float32 weights under autocast: bfloat16 rounds updates of 1e-5 away. Frozen ones can be low.
    dtype = torch.bfloat16 if low and options.lora else torch.float32
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True)
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        found = f"{len(tokenizer)} tokens, but the model has {model.get_input_embeddings().num_embeddings} embeddings"
        raise HealError(found, where=str(folder), cure="put the model's own tokenizer into the folder")
    if options.lora:
        from peft import LoraConfig

        peft_config = LoraConfig(r=options.lora.rank, lora_alpha=options.lora.alpha, target_modules="all-linear")
    most = max(map(len, data["input_ids"])) * (options.micro_batch or options.batch // PROCESSES)  # tokens in one pass
    recompute = activation_bytes(model.config, most) > KEPT_ACTIVATIONS
    trainer = SFTTrainer(
        model=model,
        args=training_arguments(options, len(stages), seed, partial, name, gpu=gpu, recompute=recompute),
        train_dataset=data,
        processing_class=tokenizer,
        peft_config=peft_config,
        callbacks=[watcher(stages.tolist(), label)],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    if MAIN:
        last_whole(partial)  # alone, since it removes what is half-written
    wait_for_all()
    checkpoint = last_whole(partial)
    if checkpoint and MAIN:
        print(f"{label}: goes on from {checkpoint.name}", file=sys.stderr, flush=True)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    model = trainer.model
    if PROCESSES > 1:
        trainer.save_model(str(partial / "gathered"))  # the shards of all processes
        wait_for_all()
        if not MAIN:
            return None, []
        model = transformers.AutoModelForCausalLM.from_pretrained(partial / "gathered", dtype=torch.float32)
    if options.lora:
        model = model.float().merge_and_unload()  # merged in float32, then rounded once
    model.to(torch.bfloat16 if low else torch.float32)
    ends = model.generation_config.eos_token_id or []
    ends = [tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])]
    model.generation_config.eos_token_id = list(dict.fromkeys(ends))
    model.generation_config.pad_token_id = model.config.pad_token_id = tokenizer.pad_token_id
    model.config.eos_token_id = tokenizer.eos_token_id
    model.config.use_cache = True  # the Trainer switches it off; generating without is quadratically slow
    return model, [entry for entry in trainer.state.log_history if "loss" in entry]


def accounts(tokenizer: Any, rows: Sequence[Row], examples: Sequence[Example], seen: np.ndarray) -> Row:
    """What was trained on, in examples, tokens and one masked example. seen: exposures per example."""
    prompts = [example.labels.count(NOT_SUPERVISED) for example in examples]  # tokens
    total = int(seen @ np.array([len(example.ids) for example in examples]))
    first, cut = examples[0].ids, prompts[0]
    return {
        "examples": len(rows),
        "examples_per_stage": {str(stage): sum(row["stage"] == stage for row in rows) for stage in (1, 2, 3)},
        "tokens": {"total": total, "supervised": total - int(seen @ np.array(prompts))},
        "masked_example": {
            "id": rows[0]["id"],
            "not_supervised": tokenizer.decode(first[:cut]),
            "supervised": tokenizer.decode(first[cut:]),
        },
    }


def train(
    curriculum: str | Path,
    model: str,
    options: Train,
    schedule: str,
    seed: int,
    out: Path,
    revision: str | None = None,
    threads: int = 1,
    template: Mapping[str, Any] = NO_OPTIONS,
) -> Row:
    """Trains one student and writes `out`; returns the content of training.json.

    Raises HealError, before training, where curriculum, model or options cannot be trained with.
    """
    os.environ |= {"HF_HUB_DISABLE_TELEMETRY": "1", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    if options.batch % (PROCESSES * (options.micro_batch or 1)):
        found = f"micro_batch {options.micro_batch or 1} times {PROCESSES} GPUs does not divide batch {options.batch}"
        raise HealError(found, where="--options", cure="choose numbers that do")
    tracking.check(options.report_to, "--options, report_to")
    tracking.keep_files_in(out)
    if options.lora and PROCESSES > 1:
        raise HealError("adapters are trained on one GPU", where="--options, lora", cure="set the student's gpus to 1")
    everything, folder = read_curriculum(curriculum), model_folder(model, revision)
    import torch
    from datasets import Dataset
    from transformers import AutoTokenizer

    torch.set_num_threads(threads)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    tokenizer.eos_token = end_of_turn(tokenizer, str(folder), template)
    encoded = encode(tokenizer, everything, str(folder), template)
    unreadable = [row["id"] for row, example in zip(everything, encoded, strict=True) if example is None]
    if unreadable:
        told = (
            f"{len(unreadable)} of {len(everything)} examples are left out: the student's tokenizer does not know words"
        )
        print(f"{told} of {', '.join(unreadable[:5])}", file=sys.stderr, flush=True)
    lengths = [len(example.ids) if example else None for example in encoded]
    fits = [length is not None and length <= options.max_length for length in lengths]
    if not any(fits):
        found = f"every example is longer than max_length {options.max_length}"
        shortest = min(length for length in lengths if length is not None)
        raise HealError(
            found, where=str(curriculum), cure=f"raise train.max_length (the shortest has {shortest} tokens)"
        )
    rows, examples = list(compress(everything, fits)), list(compress(encoded, fits))
    steps = optimizer_steps(options, len(rows))
    stages = [row["stage"] for row in rows]
    order, step_stages = exposures(stages, schedule=schedule, steps=steps, batch=options.batch, seed=seed)
    settings = {
        "options": options.model_dump(),
        "schedule": schedule,
        "seed": seed,
        "threads": threads,
        "model": files_hash(folder),
        **({"template_options": dict(template)} if template else {}),
        "versions": package_versions(),
    }
    # The name holds everything that decides the weights: other options never go on from these checkpoints.
    partial = out.parent / f".partial-{out.name}-{records.content_id(everything, settings)}"
    data = Dataset.from_dict({"input_ids": [e.ids for e in examples], "labels": [e.labels for e in examples]})
    student, log = fit(folder, tokenizer, data.select(order), step_stages, options, seed, partial, str(out))
    if not MAIN:
        return {}
    seen = np.bincount(order, minlength=len(rows))
    summary = settings | accounts(tokenizer, rows, examples, seen)
    summary |= {
        "steps": steps,
        "steps_per_stage": {str(stage): int((step_stages == stage).sum()) for stage in (1, 2, 3)},
        "left_out_too_long": [
            row["id"] for row, length in zip(everything, lengths, strict=True) if length and length > options.max_length
        ],
        "left_out_unreadable": unreadable,
        "eos": tokenizer.eos_token,
    }
    losses = [[entry["step"], step_stages[entry["step"] - 1], entry["loss"], entry["learning_rate"]] for entry in log]
    uses = [[row["id"], row["stage"], row["origin"], count] for row, count in zip(rows, seen, strict=True)]
    finished = partial / "model"
    shutil.rmtree(finished, ignore_errors=True)
    student.save_pretrained(finished)
    tokenizer.save_pretrained(finished)
    out.mkdir(parents=True, exist_ok=True)
    (out / "training.json").unlink(missing_ok=True)  # written last: where it stands, all stands
    shutil.rmtree(out / "model", ignore_errors=True)
    finished.rename(out / "model")
    records.write_text(out / "loss.csv", csv_text(["step", "stage", "loss", "learning_rate"], losses))
    records.write_text(out / "exposures.csv", csv_text(["id", "stage", "origin", "exposures"], uses))
    records.write_json(out / "training.json", summary)
    for unfinished in out.parent.glob(f".partial-{out.name}-{'[0-9a-f]' * 16}"):  # this one and abandoned ones
        shutil.rmtree(unfinished)
    return summary


def launch(processes: int, out: Path) -> Row:
    """This command once per GPU; returns the content of training.json."""
    started = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    ended = subprocess.run([*started, "-m", "heal.train", *sys.argv[1:]])
    if ended.returncode:
        raise HealError(f"{processes} processes of training failed", where=str(out), cure="see the messages above")
    return json.loads((out / "training.json").read_text())


def main() -> None:
    parser = arguments_parser(__doc__, "curriculum")
    parser.add_argument("--model", required=True, help="model folder or hub id")
    parser.add_argument("--revision", help="for a hub id: the commit")
    parser.add_argument("--template-options", default="{}", help="the chat template's arguments as JSON")
    parser.add_argument("--schedule", default="cumulative", choices=get_args(Pace.model_fields["schedule"].annotation))
    parser.add_argument("--threads", type=int, default=1, help="threads on the CPU")
    parser.add_argument("--gpus", type=int, default=1, help="GPUs to take, where there are any")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    options, out = read_options(Train, given.options), Path(given.out)
    extra = {"revision": given.revision, "threads": given.threads, "template": model_of(given).template_options}
    if PROCESSES > 1:  # one of those that `launch` has started, which holds the GPUs for all
        train(given.curriculum, given.model, options, given.schedule, given.seed, out, **extra)
        return
    cards = devices.lease(given.gpus)
    with recorded(out, "heal.train", options=vars(given), seeds=[given.seed]) as facts:
        if len(cards) > 1:
            summary = launch(len(cards), out)
        else:
            summary = train(given.curriculum, given.model, options, given.schedule, given.seed, out, **extra)
        facts["tokens"] = {"trained": summary["tokens"]["total"]}


if __name__ == "__main__":
    exit_with_errors(main)
