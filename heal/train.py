"""One student: supervised fine-tuning with TRL on a curriculum, exposure by exposure in the order that PACE gives.

Reads curriculum.jsonl (one training conversation per row) and a model folder or hub id. Writes to --out:
model/ (safetensors, tokenizer, chat template), loss.csv (every step), exposures.csv (how often each example was seen)
and training.json (tokens, what was left out, one masked example, options, versions; no times, so equal runs give equal
files). A killed training goes on from its last whole checkpoint, kept in a hidden folder beside --out.

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
import sys
import time
from collections.abc import Sequence
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import numpy as np

from heal import records
from heal.config import Pace, Train
from heal.errors import HealError, exit_with_errors
from heal.pace import exposures
from heal.provenance import package_versions, recorded
from heal.records import Row
from heal.stage import arguments_parser, read_options

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NOT_SUPERVISED = -100  # the label that the loss ignores
CHECKPOINTING_FROM = 50_000_000  # parameters from which activations are recomputed rather than kept
COMPLETE = "complete.json"  # written last into a checkpoint: its files and their sizes


class Example(NamedTuple):
    ids: list[int]
    labels: list[int]  # NOT_SUPERVISED on the prompt


def read_curriculum(path: str | Path) -> list[Row]:
    """The training conversations. Raises HealError naming row and field where one cannot be trained on."""
    rows = records.read_jsonl(path)
    if not rows:
        raise HealError("no training conversation", where=str(path), cure="did the method keep any trace? see its log")
    for number, row in enumerate(rows, 1):
        if problem := row_problem(row):
            raise HealError(problem, where=f"{path}, row {number}", cure="mend the row, or make the curriculum again")
    return rows


def row_problem(row: Row) -> str | None:
    """What is wrong with a curriculum row, field first; None where nothing is."""
    for field in ("id", "origin", "stage", "messages"):
        if field not in row:
            return f"{field}: missing"
    if not isinstance(row["id"], str) or not isinstance(row["origin"], str):
        return "id and origin: expected text"
    if type(row["stage"]) is not int or not 1 <= row["stage"] <= 3:
        return f"stage: expected 1, 2 or 3, found {row['stage']!r}"
    if row.get("weight", 1.0) != 1.0:
        return f"weight: only 1.0 can be trained (TRL's fused loss knows no weights), found {row['weight']!r}"
    messages = row["messages"]
    if not isinstance(messages, list) or len(messages) < 2:
        return "messages: expected a user's and an assistant's message"
    for message in messages:
        if not isinstance(message, dict) or not all(isinstance(message.get(key), str) for key in ("role", "content")):
            return f"messages: expected role and content as text, found {message!r:.60}"
    if messages[-1]["role"] != "assistant" or all(message["role"] != "user" for message in messages):
        return "messages: expected a user's message and the assistant's as the last"
    return None if messages[-1]["content"].strip() else "messages: the assistant's message is empty"


def optimizer_steps(options: Train, n_examples: int) -> int:
    """`steps`, or `epochs` passes over the whole set: the largest stage's, equal for every schedule."""
    return options.steps or max(1, math.ceil(options.epochs * n_examples / options.batch))


def end_of_turn(tokenizer: PreTrainedTokenizerBase, where: str) -> str:
    """The token that the chat template closes an assistant's turn with; it must serve as EOS and differ from padding.

    Base models often name another EOS (<|endoftext|>) than their template writes (<|im_end|>): the template's is taken,
    since a student that never sees its own EOS never stops. Raises HealError where there is no template, no such token,
    or it is the padding token.
    """
    if not tokenizer.chat_template:
        cure = "add a chat_template.jinja to that folder, or use the instruct variant of the model"
        raise HealError("the tokenizer has no chat template", where=where, cure=cure)
    turn = [{"role": "user", "content": "1"}, {"role": "assistant", "content": "1"}]
    ids = tokenizer(tokenizer.apply_chat_template(turn, tokenize=False), add_special_tokens=False)["input_ids"]
    known = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special} | {tokenizer.eos_token_id}
    special = [i for i in ids if i in known]
    text_after = tokenizer.decode(ids[len(ids) - ids[::-1].index(special[-1]) :]) if special else "1"
    if text_after.strip():
        cure = "end the assistant's turn with the EOS token in chat_template.jinja"
        raise HealError("the chat template closes the assistant's turn with no special token", where=where, cure=cure)
    if tokenizer.pad_token_id is None or special[-1] == tokenizer.pad_token_id:
        found = f"the padding token ({tokenizer.pad_token}) must exist and differ from the one that ends a turn"
        raise HealError(found, where=where, cure="set pad_token in tokenizer_config.json to another special token")
    return tokenizer.convert_ids_to_tokens(special[-1])


def encode(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], where: str) -> list[Example]:
    """Conversations → token ids and labels, supervised from the assistant's first token to EOS.

    Prompt and completion are tokenized apart, as they are met when the student generates. What the template writes
    after EOS (a newline) is not trained on. Raises HealError, naming the example, where a mask would be silently wrong.
    """
    prompts = [
        tokenizer.apply_chat_template(r["messages"][:-1], tokenize=False, add_generation_prompt=True) for r in rows
    ]
    texts = [tokenizer.apply_chat_template(row["messages"], tokenize=False) for row in rows]
    for row, prompt, text in zip(rows, prompts, texts, strict=True):
        if found := rendering_problem(row, prompt, text):
            raise HealError(found, where=f"{where}, example {row['id']}", cure="use a chat template made for training")
    prompt_ids = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    completions = [text[len(prompt) :] for text, prompt in zip(texts, prompts, strict=True)]
    completion_ids = tokenizer(completions, add_special_tokens=False)["input_ids"]
    examples = []
    for row, text, before, after in zip(rows, texts, prompt_ids, completion_ids, strict=True):
        place = f"{where}, example {row['id']}"
        if tokenizer.decode(before + after, clean_up_tokenization_spaces=False) != text:
            cure = "look for words that the tokenizer does not know"
            raise HealError("tokenizing and decoding changes the text", where=place, cure=cure)
        if tokenizer.eos_token_id in after:
            after = after[: len(after) - after[::-1].index(tokenizer.eos_token_id)]
        examples.append(Example(before + after, [NOT_SUPERVISED] * len(before) + after))
        check_mask(examples[-1], tokenizer.eos_token_id, place)
    return examples


def rendering_problem(row: Row, prompt: str, text: str) -> str | None:
    """What the chat template does wrong with a conversation; None where nothing."""
    answer, completion = row["messages"][-1]["content"], text.removeprefix(prompt)
    if not text.startswith(prompt):
        return "the rendered prompt is no prefix of the rendered conversation"
    if " ".join(answer.split()) not in " ".join(completion.split()):
        return "the chat template changes the assistant's message (does it strip <think>?)"
    said = sum(message["content"].count("<think>") for message in row["messages"])
    return "the chat template adds a second <think>" if text.count("<think>") > max(1, said) else None


def check_mask(example: Example, eos: int, where: str) -> None:
    """Raises HealError unless part of the tokens, not all, is supervised and the last label is EOS."""
    supervised = sum(label != NOT_SUPERVISED for label in example.labels)
    if not 0 < supervised < len(example.labels):
        found = f"{supervised} of {len(example.labels)} tokens are supervised: expected some, not all"
        raise HealError(found, where=where, cure="look at what the chat template renders")
    if example.labels[-1] != eos:
        raise HealError(
            "the last supervised token is not EOS", where=where, cure="end the turn with EOS in the template"
        )


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


def watcher(stages: Sequence[int], name: str) -> Any:
    """A Trainer callback: marks checkpoints as whole, and tells on stderr how far training is, ten times.

    Raises HealError as soon as the loss is not finite.
    """
    from transformers import TrainerCallback

    began, total = time.monotonic(), len(stages)

    class Watcher(TrainerCallback):
        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            records.write_json(checkpoint / COMPLETE, sizes(checkpoint))

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
            step, loss = state.global_step, logs.get("loss")
            if loss is None:
                return
            if not math.isfinite(loss):
                raise HealError(f"the loss is {loss} at step {step}", where=name, cure="lower train.learning_rate")
            if step == total or step * 10 // total > (step - 1) * 10 // total:
                told = f"{name}: step {step}/{total}, stage {stages[step - 1]}, loss {loss:.4f}"
                print(f"{told}, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)

    return Watcher()


def training_arguments(options: Train, steps: int, seed: int, partial: Path, *, gpu: bool, large: bool) -> Any:
    """TRL's settings: one pass in the given order, one warm-up, constant rate, decay at the end, nothing extra."""
    from trl import SFTConfig

    micro = options.micro_batch or options.batch
    warmup = round(options.warmup_share * steps)
    decay = min(round(options.decay_share * steps), steps - warmup)
    return SFTConfig(
        output_dir=str(partial),
        max_steps=steps,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=options.batch // micro,
        train_sampling_strategy="sequential",  # the exposures' order is the schedule
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        lr_scheduler_type="warmup_stable_decay",
        lr_scheduler_kwargs={"num_decay_steps": decay, "decay_type": "linear"},
        warmup_steps=warmup,
        bf16=options.dtype == "bfloat16",
        gradient_checkpointing=large,
        save_steps=options.save_steps,
        save_total_limit=2,  # the one before the last must survive a kill while saving
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to=[],
        log_level="error",
        seed=seed,
        use_cpu=not gpu,
        dataloader_pin_memory=gpu,
    )


def fit(
    folder: Path, tokenizer: Any, data: Any, stages: np.ndarray, options: Train, seed: int, partial: Path
) -> tuple[Any, list[dict[str, float]]]:
    """Trains once through `data`, from the last whole checkpoint; returns the model and the log of every step."""
    import torch
    import transformers
    from trl import SFTTrainer

    low, peft_config = options.dtype == "bfloat16", None
    label = "-".join(partial.name.split("-")[1:-1])
    gpu = torch.cuda.is_available()
    if torch.cuda.device_count() > 1:
        cure = "set CUDA_VISIBLE_DEVICES to one of them"
        raise HealError(f"a student is trained on one GPU, {torch.cuda.device_count()} are visible", cure=cure)
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
    large = model.num_parameters() > CHECKPOINTING_FROM
    trainer = SFTTrainer(
        model=model,
        args=training_arguments(options, len(stages), seed, partial, gpu=gpu, large=large),
        train_dataset=data,
        processing_class=tokenizer,
        peft_config=peft_config,
        callbacks=[watcher(stages.tolist(), label)],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    checkpoint = last_whole(partial)
    if checkpoint:
        print(f"{label}: goes on from {checkpoint.name}", file=sys.stderr, flush=True)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    model = trainer.model
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
) -> Row:
    """Trains one student and writes `out`; returns the content of training.json.

    Raises HealError, before training, where curriculum, model or options cannot be trained with.
    """
    os.environ |= {"HF_HUB_DISABLE_TELEMETRY": "1", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    if options.batch % (options.micro_batch or 1):
        found = f"micro_batch {options.micro_batch} does not divide batch {options.batch}"
        raise HealError(found, where="--options", cure="choose one that does")
    everything, folder = read_curriculum(curriculum), model_folder(model, revision)
    import torch
    from datasets import Dataset
    from transformers import AutoTokenizer

    torch.set_num_threads(threads)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    tokenizer.eos_token = end_of_turn(tokenizer, str(folder))
    encoded = encode(tokenizer, everything, str(folder))
    fits = [len(example.ids) <= options.max_length for example in encoded]
    if not any(fits):
        found = f"every example is longer than max_length {options.max_length}"
        shortest = min(len(example.ids) for example in encoded)
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
        "versions": package_versions(),
    }
    # The name holds everything that decides the weights: other options never go on from these checkpoints.
    partial = out.parent / f".partial-{out.name}-{records.content_id(everything, settings)}"
    data = Dataset.from_dict({"input_ids": [e.ids for e in examples], "labels": [e.labels for e in examples]})
    student, log = fit(folder, tokenizer, data.select(order), step_stages, options, seed, partial)

    seen = np.bincount(order, minlength=len(rows))
    summary = settings | accounts(tokenizer, rows, examples, seen)
    summary |= {
        "steps": steps,
        "steps_per_stage": {str(stage): int((step_stages == stage).sum()) for stage in (1, 2, 3)},
        "left_out_too_long": [row["id"] for row, fit_in in zip(everything, fits, strict=True) if not fit_in],
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


def main() -> None:
    parser = arguments_parser(__doc__, "curriculum")
    parser.add_argument("--model", required=True, help="model folder or hub id")
    parser.add_argument("--revision", help="for a hub id: the commit")
    parser.add_argument("--schedule", default="cumulative", choices=get_args(Pace.model_fields["schedule"].annotation))
    parser.add_argument("--threads", type=int, default=1, help="threads on the CPU")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    options, out = read_options(Train, given.options), Path(given.out)
    with recorded(out, "heal.train", options=vars(given), seeds=[given.seed]) as facts:
        extra = {"revision": given.revision, "threads": given.threads}
        summary = train(given.curriculum, given.model, options, given.schedule, given.seed, out, **extra)
        facts["tokens"] = {"trained": summary["tokens"]["total"]}


if __name__ == "__main__":
    exit_with_errors(main)
