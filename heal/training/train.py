"""One student: supervised fine-tuning with TRL on a curriculum, exposure by exposure in the order that PACE gives.

Reads curriculum.jsonl (one training conversation per row) and a model folder or hub id. Writes to --out:
model/ (safetensors, tokenizer, chat template), loss.csv (every step), exposures.csv (how often each example was seen)
and training.json (tokens, what was left out, one masked example, options, versions; no times, so equal runs give equal
files). A killed training goes on from its last whole checkpoint, kept in a hidden folder beside --out.
With more than one GPU it starts itself once per GPU (torchrun) and shards the student over them (FSDP, accelerate's).

    python -m heal.training.train --curriculum curriculum.jsonl --model PATH --options '{"steps": 300}' \\
        --schedule cumulative --seed 0 --out students/heal/seed0
    python -m heal.training.train … --distillation '{"beta": 0.5}' --teacher PATH     # GKD, with the teacher beside the student
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
from collections.abc import Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import Any, get_args

import numpy as np

from heal import records
from heal.config.experiment import Distillation, Pace, Train
from heal.engines import gpu_lease as devices
from heal.engines.open import model_of
from heal.errors import HealError, exit_with_errors
from heal.method.pace import exposures
from heal.pipeline.runner import arguments_parser, read_options
from heal.provenance import package_versions, recorded
from heal.records import Row
from heal.training import tracking
from heal.training.conversations import (
    NO_OPTIONS,
    NOT_SUPERVISED,
    Example,
    check_vocabularies,
    encode,
    end_of_turn,
    read_curriculum,
)
from heal.training.trainers import (
    MAIN,
    PROCESSES,
    Teaching,
    activation_bytes,
    last_whole,
    trainer_of,
    wait_for_all,
    watcher,
)

KEPT_ACTIVATIONS = 8 * 2**30  # bytes; beyond, activations are recomputed rather than kept (ours)


def optimizer_steps(options: Train, n_examples: int) -> int:
    """`steps`, or `epochs` passes over the whole set: the largest stage's, equal for every schedule."""
    return options.max_steps or max(1, math.ceil(options.epochs * n_examples / options.batch_size))


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
            raise HealError(found, where=model, fix="give a local folder, or check the id and the network") from None
    for wanted in ("config.json", "tokenizer_config.json", "*.safetensors"):
        if not any(folder.glob(wanted)):
            raise HealError(f"no {wanted} in it", where=str(folder), fix="give a complete model folder")
    return folder


def files_hash(folder: Path) -> str:
    """Identity of a model: names and contents of its files."""
    total = hashlib.sha256()
    for file in sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")):
        with open(file, "rb") as stream:
            total.update(f"{file.name}:{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()[:16]


def csv_text(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([header, *rows])
    return stream.getvalue()


def fit(
    folder: Path,
    tokenizer: Any,
    data: Any,
    stages: np.ndarray,
    options: Train,
    seed: int,
    partial: Path,
    name: str,
    teaching: Teaching | None = None,
) -> tuple[Any, list[dict[str, float]]]:
    """Trains once through `data`, from the last whole checkpoint; returns the model and the log of every step, in the
    main process."""
    import torch
    import transformers

    low, peft_config = options.dtype == "bfloat16", None
    label = f"{partial.parent.name} {partial.name.split('-')[1]}"
    transformers.utils.logging.disable_progress_bar()
    gpu = torch.cuda.is_available()
    if torch.cuda.device_count() > 1 and PROCESSES == 1:
        fix = "start it with --gpus, not by itself"
        raise HealError(f"{torch.cuda.device_count()} GPUs are visible to one process", fix=fix)
    if gpu:
        torch.use_deterministic_algorithms(True, warn_only=True)
    transformers.set_seed(seed)
    # Full training keeps float32 weights under autocast: bfloat16 rounds updates of 1e-5 away. Frozen ones can be low.
    dtype = torch.bfloat16 if low and options.lora else torch.float32
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True)
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        found = f"{len(tokenizer)} tokens, but the model has {model.get_input_embeddings().num_embeddings} embeddings"
        raise HealError(found, where=str(folder), fix="put the model's own tokenizer into the folder")
    if options.lora:
        from peft import LoraConfig

        peft_config = LoraConfig(r=options.lora.rank, lora_alpha=options.lora.alpha, target_modules="all-linear")
    most = max(map(len, data["input_ids"])) * (
        options.micro_batch_size or options.batch_size // PROCESSES
    )  # tokens in one pass
    recompute = activation_bytes(model.config, most) > KEPT_ACTIVATIONS
    shown = {"options": options, "steps": len(stages), "seed": seed, "partial": partial, "name": name}
    trainer = trainer_of(
        model,
        tokenizer,
        data,
        shown | {"gpu": gpu, "recompute": recompute},
        teaching,
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
    teaching: Teaching | None = None,
) -> Row:
    """Trains one student and writes `out`; returns the content of training.json.

    Raises HealError, before training, where curriculum, model or options cannot be trained with.
    """
    os.environ |= {"HF_HUB_DISABLE_TELEMETRY": "1", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    if options.batch_size % (PROCESSES * (options.micro_batch_size or 1)):
        found = f"micro_batch_size {options.micro_batch_size or 1} times {PROCESSES} GPUs does not divide batch_size {options.batch_size}"
        raise HealError(found, where="--options", fix="choose numbers that do")
    tracking.check(options.report_to, "--options, report_to")
    tracking.keep_files_in(out)
    if options.lora and PROCESSES > 1:
        raise HealError("adapters are trained on one GPU", where="--options, lora", fix="set the student's gpus to 1")
    if teaching and PROCESSES > 1:
        raise HealError("a teacher is distilled on one GPU", where="--teacher", fix="set the student's gpus to 1")
    everything, folder = read_curriculum(curriculum), model_folder(model, revision)
    import torch
    from datasets import Dataset
    from transformers import AutoTokenizer

    torch.set_num_threads(threads)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    tokenizer.eos_token = end_of_turn(tokenizer, str(folder), template)
    if teaching:
        teacher = AutoTokenizer.from_pretrained(teaching.folder, local_files_only=True)
        check_vocabularies(teacher, tokenizer, f"{teaching.folder} and {folder}")
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
            found, where=str(curriculum), fix=f"raise train.max_length (the shortest has {shortest} tokens)"
        )
    rows, examples = list(compress(everything, fits)), [one for one in compress(encoded, fits) if one is not None]
    steps = optimizer_steps(options, len(rows))
    stages = [row["stage"] for row in rows]
    order, step_stages = exposures(stages, schedule=schedule, steps=steps, batch=options.batch_size, seed=seed)
    settings = {
        "options": options.model_dump(),
        "schedule": schedule,
        "seed": seed,
        "threads": threads,
        "model": files_hash(folder),
        **({"template_options": dict(template)} if template else {}),
        **({"distillation": teaching.options.model_dump(), "teacher": files_hash(teaching.folder)} if teaching else {}),
        "versions": package_versions(),
    }
    # The name holds everything that decides the weights: other options never go on from these checkpoints.
    partial = out.parent / f".partial-{out.name}-{records.content_id(everything, settings)}"
    columns = {"input_ids": [e.ids for e in examples], "labels": [e.labels for e in examples]}
    weights = np.array([row.get("weight", 1.0) for row in rows])
    if len(set(weights)) > 1:
        if teaching:
            raise HealError("distillation knows no weights", where=str(curriculum), fix="give every example weight 1")
        columns["weight"] = list(weights / weights[order].mean())  # 1 on average: a scale would be a learning rate
    data = Dataset.from_dict(columns)
    student, log = fit(folder, tokenizer, data.select(order), step_stages, options, seed, partial, str(out), teaching)
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
    losses = [
        [entry["step"], step_stages[int(entry["step"]) - 1], entry["loss"], entry["learning_rate"]] for entry in log
    ]
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
    ended = subprocess.run([*started, "-m", "heal.training.train", *sys.argv[1:]])
    if ended.returncode:
        raise HealError(f"{processes} processes of training failed", where=str(out), fix="see the messages above")
    return json.loads((out / "training.json").read_text())


def main() -> None:
    parser = arguments_parser(__doc__, "curriculum")
    parser.add_argument("--model", required=True, help="model folder or hub id")
    parser.add_argument("--revision", help="for a hub id: the commit")
    parser.add_argument("--template-options", default="{}", help="the chat template's arguments as JSON")
    schedules = get_args(Pace.model_fields["schedule"].annotation)
    parser.add_argument(
        "--schedule", default="cumulative", choices=schedules, help="how PACE's stages follow each other"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads on the CPU")
    parser.add_argument("--gpus", type=int, default=1, help="GPUs to take, where there are any")
    parser.add_argument("--distillation", help="how the student learns from a teacher's probabilities, as JSON")
    parser.add_argument("--teacher", help="for --distillation: the teacher's model folder or hub id")
    parser.add_argument("--teacher-revision", help="for a hub id: the commit")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    options, out = read_options(Train, given.options), Path(given.out)
    extra = {"revision": given.revision, "threads": given.threads, "template": model_of(given).template_options}
    if given.distillation:
        how = read_options(Distillation, given.distillation, "--distillation")
        extra["teaching"] = Teaching(model_folder(given.teacher, given.teacher_revision), how)
    if PROCESSES > 1:  # one of those that `launch` has started, which holds the GPUs for all
        train(given.curriculum, given.model, options, given.schedule, given.seed, out, **extra)
        return
    cards = devices.lease(given.gpus)
    with recorded(out, "heal.training.train", options=vars(given), seeds=[given.seed]) as facts:
        if len(cards) > 1:
            summary = launch(len(cards), out)
        else:
            summary = train(given.curriculum, given.model, options, given.schedule, given.seed, out, **extra)
        facts["tokens"] = {"trained": summary["tokens"]["total"]}


if __name__ == "__main__":
    exit_with_errors(main)
