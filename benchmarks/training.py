"""Compare the speed of `heal train` with TRL's SFTTrainer as it comes, and with a bare torch loop.

Every way trains the same model on the same batches of random tokens, in float32 on one thread of a CPU; the ways of one
case run in turn (benchmarks/paired_rounds.py). Tokens are those of the conversations, without padding. Cases:

mini    optimizer steps of the mini student: SFTTrainer (the baseline), ours, a torch loop over padded batches
llama   the same of a random Llama of 135M parameters
job     whole jobs of the mini student, with imports and saving: three seeds in three processes with SFTTrainer and in
        one process with `heal train`

The settings below the table have the machine's rate of matrix products and the share of it that each way reaches: six
operations per token and weight of a linear map, attention left out.

    python -m benchmarks.training --out results/reference/benchmarks/training.csv
    python -m benchmarks.training --cases job --rounds 1 --out /tmp/job.csv     # ten minutes
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.paired_rounds import Table, Way
from benchmarks.random_llama import LLAMA_135M, save_llama
from heal import records
from heal.config.models import ModelSource, Train
from heal.provenance import record_run
from heal.training.conversations import NOT_SUPERVISED, Example
from heal.training.fit import FitSetup, load_model, prepare_trainer
from heal.training.packing import register_attention
from heal.training.trainers import Exposures
from heal.training.training import Training
from heal.worlds.mini.tokenizer import build_vocabulary

VERSION = 1
"""Raise it when what is measured changes."""
ROOT = Path(__file__).parent.parent
STUDENT = ROOT / "heal/worlds/mini/models/student"
SFT, OURS, LOOP = "SFTTrainer", "heal train", "torch loop"
LENGTHS = (60, 170)
"""Tokens of a conversation: with the mini run's mean, and a quarter of its padded batches is padding as there."""
PROMPT_SHARE = 0.38
JOB_SEEDS = (0, 1, 2)
JOB_EXAMPLES = 2000


@dataclass(frozen=True)
class Load:
    """What one run of a way trains. longer: factor of LENGTHS."""

    model: Path
    batch_size: int
    max_steps: int
    longer: int = 1

    @property
    def options(self) -> Train:
        return Train(max_steps=self.max_steps, batch_size=self.batch_size, learning_rate=0.00125)

    def make_examples(self, vocabulary: int) -> list[Example]:
        """Conversations of random tokens, one per exposure."""
        rng = np.random.default_rng(0)
        examples = []
        for _ in range(self.batch_size * self.max_steps):
            length = self.longer * int(rng.integers(*LENGTHS))
            ids = rng.integers(4, vocabulary, length).tolist()
            prompt = int(PROMPT_SHARE * length)
            examples.append(Example(ids, [NOT_SUPERVISED] * prompt + ids[prompt:]))
        return examples


def make_ways(load: Load, folder: Path) -> list[Way]:
    """The three ways of the optimizer steps."""
    from transformers import AutoConfig, AutoTokenizer

    examples = load.make_examples(AutoConfig.from_pretrained(load.model).vocab_size)
    tokenizer = AutoTokenizer.from_pretrained(load.model)
    tokens = sum(len(example.ids) for example in examples)
    register_attention()

    def run_sft() -> int:
        train_with_sft(load.model, load.options, examples, folder / "sft")
        return tokens

    def run_ours() -> int:
        exposures = Exposures(examples, [1.0] * len(examples), np.arange(len(examples)))
        stages = np.ones(load.max_steps, dtype=int)
        out = folder / "ours"
        setup = FitSetup(load.model, tokenizer, exposures, stages, load.options, 0, out / "checkpoints", out)
        prepare_trainer(setup, load_model(setup), gpu=False).train()
        return tokens

    def run_loop() -> int:
        train_with_torch(load, examples, tokenizer.pad_token_id)
        return tokens

    return [Way(SFT, SFT, run_sft), Way(OURS, SFT, run_ours), Way(LOOP, SFT, run_loop)]


def train_with_sft(model: Path, options: Train, examples: Sequence[Example], out: Path, seed: int = 0) -> Any:
    """The trainer after training, with SFTTrainer's defaults for all but batch size, steps, learning rate and order."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    columns = {"input_ids": [example.ids for example in examples], "labels": [example.labels for example in examples]}
    config = SFTConfig(
        output_dir=str(out),
        max_steps=options.max_steps,
        per_device_train_batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        train_sampling_strategy="sequential",
        dataset_kwargs={"skip_prepare_dataset": True},
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        seed=seed,
        save_strategy="no",
        disable_tqdm=True,
        report_to=[],
    )
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(model, dtype="float32"),
        args=config,
        train_dataset=Dataset.from_dict(columns),
        processing_class=AutoTokenizer.from_pretrained(model),
    )
    trainer.train()
    return trainer


def train_with_torch(load: Load, examples: Sequence[Example], pad_token_id: int) -> None:
    """Forward, backward, gradient clipping and AdamW over padded batches."""
    import torch
    from torch.nn.utils.rnn import pad_sequence
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(load.model, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=load.options.learning_rate, weight_decay=0.0, fused=True)
    for start in range(0, len(examples), load.batch_size):
        batch = examples[start : start + load.batch_size]
        rows = [torch.tensor(example.ids) for example in batch]
        targets = [torch.tensor(example.labels) for example in batch]
        ids = pad_sequence(rows, batch_first=True, padding_value=pad_token_id)
        labels = pad_sequence(targets, batch_first=True, padding_value=NOT_SUPERVISED)
        mask = pad_sequence(list(map(torch.ones_like, rows)), batch_first=True)
        model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def make_job_ways(folder: Path) -> list[Way]:
    """Whole jobs, each process with its imports."""
    curriculum = write_curriculum(folder / "curriculum.jsonl")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    environment.pop("HEAL_LOG", None)
    tokens = sum(read_job(curriculum, seed)[1] for seed in JOB_SEEDS)
    config = ["--config", str(ROOT / "config/config.yaml"), "--curriculum", str(curriculum)]

    def run_process(*command: str) -> None:
        subprocess.run([sys.executable, "-m", *command], cwd=ROOT, env=environment, check=True, capture_output=True)

    def run_sft() -> int:
        for seed in JOB_SEEDS:
            run_process("benchmarks.training", "--sft-job", str(curriculum), str(seed), str(folder / f"sft{seed}"))
        return tokens

    def run_ours() -> int:
        students = []
        for seed in JOB_SEEDS:
            students += ["--seed", str(seed), "--out", str(folder / f"ours{seed}")]
        run_process("heal", "train", *config, "--student", "tiny", "--method", "heal", *students)
        return tokens

    return [Way(SFT, SFT, run_sft), Way(OURS, SFT, run_ours)]


def write_curriculum(path: Path) -> Path:
    """Conversations of words of the mini world."""
    words = [word for word in build_vocabulary() if word.startswith(" ") and word[1:].isalpha()]
    draw = random.Random(0)
    rows = []
    for number in range(JOB_EXAMPLES):
        length = draw.randint(*LENGTHS)
        prompt = int(PROMPT_SHARE * length)
        messages = []
        for role, count in (("user", prompt), ("assistant", length - prompt)):
            messages.append({"role": role, "content": "".join(draw.choices(words, k=count))})
        rows.append({"id": str(number), "origin": "sample", "stage": number % 3 + 1, "messages": messages})
    records.write_jsonl(path, rows)
    return path


def read_job(curriculum: Path, seed: int) -> tuple[list[Example], int]:
    """The examples of a job in the order of their exposures, and their tokens."""
    from heal.config.run_config import read_run_config
    from heal.method.pace import order_exposures

    run_config = read_run_config(ROOT / "config/config.yaml")
    training = Training(curriculum, ModelSource(path=str(STUDENT)), run_config.get_training("heal"), "cumulative")
    stages = [row["stage"] for row in training.training_set.rows]
    options = training.options
    sizes = {"max_steps": options.max_steps, "epochs": options.epochs, "batch_size": options.batch_size}
    order, _ = order_exposures(stages, schedule="cumulative", **sizes, seed=seed)
    examples = [training.training_set.examples[number] for number in order]
    return examples, sum(len(example.ids) for example in examples)


def run_sft_job(curriculum: Path, seed: int, out: Path) -> None:
    """One student with SFTTrainer, in this process."""
    from heal.config.run_config import read_run_config

    examples, _ = read_job(curriculum, seed)
    options = read_run_config(ROOT / "config/config.yaml").get_training("heal")
    train_with_sft(STUDENT, options, examples, out, seed).save_model(str(out / "model"))


def measure_matrix_rate(size: int = 1024, repeats: int = 20) -> float:
    """Operations per CPU second of float32 matrix products on one thread."""
    import torch

    left, right = torch.randn(size, size), torch.randn(size, size)
    left @ right
    rates = []
    for _ in range(repeats):
        began = time.process_time()
        left @ right
        rates.append(2 * size**3 / (time.process_time() - began))
    return statistics.median(rates)


def count_linear_weights(model: Path) -> int:
    """Weights of the linear maps that a token passes, the language model head included."""
    from transformers import AutoConfig

    from heal.training.memory import read_shape

    shape = read_shape(AutoConfig.from_pretrained(model))
    return shape.layers * shape.layer_parameters + shape.head_parameters


def describe_shares(table: Table, case: str, model: Path, rate: float) -> Iterator[tuple[str, str]]:
    """Way → share of the matrix rate, by CPU seconds: median, minimum and maximum over rounds."""
    operations = 6 * count_linear_weights(model)
    shares: dict[str, list[float]] = {}
    for item in table.measurements:
        if item.case == case:
            shares.setdefault(item.way, []).append(100 * operations * item.tokens / item.cpu_seconds / rate)
    for way, values in shares.items():
        spread = f"{statistics.median(values):.0f} % ({min(values):.0f}–{max(values):.0f} %)"
        yield f"share of the matrix rate, {case}, {way}", spread


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=["mini", "llama", "job"], default=["mini", "llama"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60, help="optimizer steps of the mini student per round")
    parser.add_argument("--out", type=Path, default=ROOT / "results/reference/benchmarks/training.csv")
    parser.add_argument("--sft-job", nargs=3, metavar=("CURRICULUM", "SEED", "OUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    if arguments.sft_job:
        curriculum, seed, out = arguments.sft_job
        run_sft_job(Path(curriculum), int(seed), Path(out))
        return
    rate = measure_matrix_rate()
    settings: dict[str, Any] = {"threads": 1, "rounds": arguments.rounds, "matrix rate": f"{rate / 1e9:.0f} GFLOP/s"}
    table = Table("Training: heal train, SFTTrainer and a bare torch loop, float32 on a CPU", settings)
    options = {"cases": arguments.cases, "rounds": arguments.rounds, "steps": arguments.steps}
    with (
        tempfile.TemporaryDirectory() as name,
        record_run(arguments.out, "benchmarks/training.py", VERSION, {"options": options}),
    ):
        folder = Path(name)
        for case in arguments.cases:
            model = STUDENT
            if case == "job":
                ways = make_job_ways(folder)
            elif case == "mini":
                ways = make_ways(Load(model, batch_size=8, max_steps=arguments.steps), folder)
            else:
                model = Path(save_llama(folder / "llama", LLAMA_135M))
                ways = make_ways(Load(model, batch_size=4, max_steps=1, longer=2), folder)
            table.measure(case, ways, arguments.rounds)
            settings |= dict(describe_shares(table, case, model, rate))
            table.write(arguments.out)


if __name__ == "__main__":
    main()
