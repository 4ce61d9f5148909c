"""Laws of training: the order that reaches the model, the mask, equal steps, resume = no interruption, plain errors."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, MambaConfig, MambaForCausalLM

from heal.command import parse_command
from heal.config.models import Distillation, Lora, ModelSource, Train
from heal.config.run_config import read_run_config
from heal.errors import HealError
from heal.method.pace import order_exposures
from heal.training import training
from heal.training.conversations import encode
from heal.training.fit import use_deterministic_kernels
from heal.training.train import Train as TrainCommand
from heal.training.train import launch, train
from heal.worlds.mini.tokenizer import build_tokenizer
from tests.support.paths import ROOT
from tests.support.tiny_training import (
    OPTIONS,
    make_conversation,
    read_contents,
    read_csv_rows,
    watch_forward_passes,
    write_curriculum,
)


def source(folder: Path) -> ModelSource:
    return ModelSource(path=str(folder))


def list_tokens(batches: list[torch.Tensor]) -> list[int]:
    """All tokens that the model has seen, in their order."""
    return [token for batch in batches for token in batch.flatten().tolist()]


def compute_expected_exposures(model: Path, curriculum: Path, options: Train, first_step: int = 1) -> list[list[int]]:
    rows = [json.loads(line) for line in curriculum.read_text().splitlines()]
    stages = [row["stage"] for row in rows]
    sizes = {"max_steps": options.max_steps, "batch_size": options.batch_size}
    order, _ = order_exposures(stages, schedule="cumulative", **sizes, seed=0)
    examples = encode(AutoTokenizer.from_pretrained(model), rows, "test")
    return [examples[number].ids for number in order[(first_step - 1) * options.batch_size :]]


def test_the_order_of_exposures_reaches_the_model_without_padding(model: Path, curriculum: Path, trained: Any) -> None:
    assert list_tokens(trained[1]) == sum(compute_expected_exposures(model, curriculum, OPTIONS), [])
    assert len(trained[1]) == OPTIONS.max_steps


def test_micro_batches_keep_to_their_tokens_the_order_and_the_loss(
    model: Path, curriculum: Path, trained: Any, tmp_path: Path
) -> None:
    options = OPTIONS.model_copy(update={"micro_batch_tokens": 30})
    with watch_forward_passes() as batches:
        train(curriculum, source(model), options, "cumulative", 0, tmp_path / "s")
    assert all(batch.numel() <= 30 for batch in batches) and len(batches) > OPTIONS.max_steps
    assert list_tokens(batches) == list_tokens(trained[1])
    whole, parts = read_csv_rows(trained[0] / "loss.csv"), read_csv_rows(tmp_path / "s" / "loss.csv")
    assert [float(row["loss"]) for row in parts] == pytest.approx([float(row["loss"]) for row in whole], rel=1e-4)


def test_the_loss_is_the_mean_over_completion_tokens(model: Path, curriculum: Path, trained: Any) -> None:
    network, tokenizer = AutoModelForCausalLM.from_pretrained(model), AutoTokenizer.from_pretrained(model)
    nll = []
    for ids in compute_expected_exposures(model, curriculum, OPTIONS)[: OPTIONS.batch_size]:
        start = ids.index(tokenizer.convert_tokens_to_ids("<|assistant|>")) + 1
        logprobs = network(torch.tensor([ids])).logits[0].log_softmax(-1)
        nll += [-logprobs[place - 1, ids[place]].item() for place in range(start, len(ids))]
    assert float(read_csv_rows(trained[0] / "loss.csv")[0]["loss"]) == pytest.approx(sum(nll) / len(nll), rel=1e-4)


def test_the_number_of_steps_does_not_depend_on_the_curriculum(model: Path, trained: Any, tmp_path: Path) -> None:
    small = write_curriculum(tmp_path / "small.jsonl", [make_conversation(0)])
    summary = train(small, source(model), OPTIONS, "cumulative", 0, tmp_path / "s")
    losses = read_csv_rows(tmp_path / "s" / "loss.csv")
    assert summary["steps"] == len(losses) == len(read_csv_rows(trained[0] / "loss.csv")) == 20


def test_the_rate_warms_up_stays_and_decays(trained: Any) -> None:
    rates = [float(row["learning_rate"]) for row in read_csv_rows(trained[0] / "loss.csv")]
    assert rates[0] == 0 and rates[1:19] == [1e-2] * 18 and 0 < rates[19] < 1e-2


def test_exposures_are_counted(trained: Any) -> None:
    counts = [int(row["exposures"]) for row in read_csv_rows(trained[0] / "exposures.csv")]
    assert len(counts) == 9 and sum(counts) == OPTIONS.max_steps * OPTIONS.batch_size
    summary = json.loads((trained[0] / "training.json").read_text())
    assert 0 < summary["tokens"]["supervised"] < summary["tokens"]["total"]
    assert summary["masked_example"]["not_supervised"].endswith("<|assistant|>")


def test_two_runs_are_byte_identical(model: Path, curriculum: Path, trained: Any, tmp_path: Path) -> None:
    train(curriculum, source(model), OPTIONS, "cumulative", 0, tmp_path / "seed0")
    assert read_contents(tmp_path / "seed0") == read_contents(trained[0])


@pytest.mark.workflow
def test_resume_equals_no_interruption(
    model: Path, curriculum: Path, trained: Any, killed: Path, tmp_path: Path
) -> None:
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    with watch_forward_passes() as batches:
        train(curriculum, source(model), OPTIONS, "cumulative", 0, tmp_path / "seed0")
    expected = compute_expected_exposures(model, curriculum, OPTIONS, first_step=15)
    assert list_tokens(batches) == sum(expected, [])
    assert read_contents(tmp_path / "seed0") == read_contents(trained[0])
    assert [path.name for path in tmp_path.iterdir()] == ["seed0"]  # no checkpoint is left


@pytest.mark.workflow
def test_a_new_option_with_a_default_resumes(model: Path, curriculum: Path, killed: Path, tmp_path: Path) -> None:
    class LaterTrain(Train):
        new_option: int = 3

    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    options = LaterTrain(**OPTIONS.model_dump())
    with watch_forward_passes() as batches:
        summary = train(curriculum, source(model), options, "cumulative", 0, tmp_path / "seed0")
    assert len(batches) == OPTIONS.max_steps - 14
    assert summary["options"]["new_option"] == 3


@pytest.mark.workflow
def test_other_minutes_between_checkpoints_resume(model: Path, curriculum: Path, killed: Path, tmp_path: Path) -> None:
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    options = OPTIONS.model_copy(update={"save_minutes": 15.0})
    with watch_forward_passes() as batches:
        train(curriculum, source(model), options, "cumulative", 0, tmp_path / "seed0")
    assert len(batches) == OPTIONS.max_steps - 14


@pytest.mark.workflow
def test_another_learning_rate_does_not_resume(model: Path, curriculum: Path, killed: Path, tmp_path: Path) -> None:
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    with watch_forward_passes() as batches:
        options = OPTIONS.model_copy(update={"learning_rate": 2e-2})
        train(curriculum, source(model), options, "cumulative", 0, tmp_path / "seed0")
    assert len(batches) == OPTIONS.max_steps


def test_a_small_task_is_memorized(model: Path, tmp_path: Path) -> None:
    few = write_curriculum(tmp_path / "few.jsonl", [make_conversation(n) | {"stage": 1} for n in range(4)])
    options = OPTIONS.model_copy(update={"max_steps": 60})
    train(few, source(model), options, "cumulative", 0, tmp_path / "s")
    losses = [float(row["loss"]) for row in read_csv_rows(tmp_path / "s" / "loss.csv")]
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_lora_gives_a_whole_model(model: Path, curriculum: Path, tmp_path: Path, dtype: str) -> None:
    options = OPTIONS.model_copy(update={"lora": Lora(rank=4, alpha=8), "dtype": dtype})
    train(curriculum, source(model), options, "cumulative", 0, tmp_path / "s")
    before = AutoModelForCausalLM.from_pretrained(model).state_dict()
    after = AutoModelForCausalLM.from_pretrained(tmp_path / "s" / "model")
    assert str(after.dtype) == f"torch.{dtype}"
    assert before.keys() == after.state_dict().keys()
    changed = "model.layers.0.self_attn.q_proj.weight"
    assert (before[changed] - after.state_dict()[changed]).abs().max() > 1e-3
    assert torch.equal(before["model.norm.weight"], after.state_dict()["model.norm.weight"].float())


def test_the_model_knows_how_to_end(model: Path, trained: Any) -> None:
    tokenizer = AutoTokenizer.from_pretrained(trained[0] / "model")
    settings = json.loads((trained[0] / "model" / "generation_config.json").read_text())
    assert settings["pad_token_id"] == tokenizer.pad_token_id
    assert settings["eos_token_id"][0] == tokenizer.eos_token_id
    assert tokenizer.chat_template == build_tokenizer().chat_template
    assert json.loads((trained[0] / "model" / "config.json").read_text())["use_cache"]


def test_long_conversations_are_left_out_and_counted(model: Path, tmp_path: Path) -> None:
    rows = [make_conversation(0), make_conversation(1, length=40), make_conversation(2)]
    options = OPTIONS.model_copy(update={"max_length": 20, "max_steps": 2})
    summary = train(write_curriculum(tmp_path / "c", rows), source(model), options, "mixed", 0, tmp_path / "s")
    assert summary["left_out_too_long"] == ["e1"] and summary["examples"] == 2
    with pytest.raises(HealError, match="longer than max_length 3"):
        options = OPTIONS.model_copy(update={"max_length": 3})
        train(tmp_path / "c", source(model), options, "mixed", 0, tmp_path / "none")


def test_a_text_without_tokens_is_left_out_and_many_are_refused(model: Path, tmp_path: Path) -> None:
    """One slip of a teacher with another vocabulary costs one example, not the student."""
    rows = [make_conversation(number) for number in range(30)]
    rows[4]["messages"][1]["content"] = "Donaudampfschiff"
    options = OPTIONS.model_copy(update={"max_steps": 2})
    summary = train(write_curriculum(tmp_path / "c", rows), source(model), options, "mixed", 0, tmp_path / "s")
    assert summary["left_out_unreadable"] == ["e4"] and summary["examples"] == 29
    for row in rows[:3]:
        row["messages"][1]["content"] = "Donaudampfschiff"
    with pytest.raises(HealError, match="changes the text"):
        train(write_curriculum(tmp_path / "c", rows), source(model), options, "mixed", 0, tmp_path / "none")


def test_the_provenance_counts_examples_and_skipped_ones_by_reason(model: Path, tmp_path: Path) -> None:
    rows = [make_conversation(number) for number in range(30)]
    rows[3] = make_conversation(3, length=40)
    rows[4]["messages"][1]["content"] = "Donaudampfschiff"
    curriculum = write_curriculum(tmp_path / "c", rows)
    flags = ["--model.path", str(model), "--curriculum", str(curriculum), "--out", str(tmp_path / "s")]
    few = ["--options.max-steps", "2", "--options.max-length", "25"]
    parse_command(TrainCommand, "train", [*flags, *few]).run()
    record = json.loads((tmp_path / "s.provenance.json").read_text())
    summary = json.loads((tmp_path / "s/training.json").read_text())
    assert record["requests"] == summary["examples"] == 28
    assert record["skipped"] == {"too_long": 1, "unreadable": 1}
    assert record["tokens"] == {"trained": summary["tokens"]["total"]}


def make_broken_curriculum(**changes: Any) -> str:
    return "\n".join(json.dumps(row) for row in [make_conversation(0), make_conversation(1) | changes])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("", "no training conversation"),
        (make_broken_curriculum()[:-20], "line 2: not valid JSON"),
        (make_broken_curriculum(stage=4), "row 2: stage"),
        (make_broken_curriculum(stage=None), "row 2: stage"),
        (make_broken_curriculum(weight=-0.5), "row 2: weight"),
        (make_broken_curriculum(weight=float("nan")), "row 2: weight"),
        (json.dumps(make_conversation(0) | {"weight": 0}), "every weight is 0"),
        (make_broken_curriculum(id=7), "row 2: id"),
        (make_broken_curriculum(messages=[]), "row 2: messages"),
        (make_broken_curriculum(messages=[{"role": "user", "content": "x"}, {"role": "assistant"}]), "row 2: messages"),
        (
            make_broken_curriculum(messages=[{"role": "user", "content": "x"}, {"role": "assistant", "content": " "}]),
            "row 2.*empty",
        ),
        (make_broken_curriculum(prefix="not its beginning"), "row 2: prefix"),
        (make_broken_curriculum(prefix=make_conversation(1)["messages"][1]["content"]), "row 2: prefix"),
        ('{"id": "a"}', "row 1: origin: missing"),
    ],
)
def test_a_bad_curriculum_is_told(model: Path, tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "c.jsonl").write_text(content)
    with pytest.raises(HealError, match=message):
        train(tmp_path / "c.jsonl", source(model), OPTIONS, "cumulative", 0, tmp_path / "s")


def test_a_model_that_cannot_be_trained_is_told(model: Path, curriculum: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(model, tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    with pytest.raises(HealError, match=f"{bare}: .*no chat template"):
        train(curriculum, source(bare), OPTIONS, "cumulative", 0, tmp_path / "s")
    (bare / "model.safetensors").unlink()
    with pytest.raises(HealError, match="safetensors"):
        train(curriculum, source(bare), OPTIONS, "cumulative", 0, tmp_path / "s")


def test_layers_that_cannot_be_packed_are_refused(
    model: Path, curriculum: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mamba = shutil.copytree(model, tmp_path / "mamba")
    vocabulary = json.loads((model / "config.json").read_text())["vocab_size"]
    MambaForCausalLM(
        MambaConfig(vocab_size=vocabulary, hidden_size=16, state_size=4, num_hidden_layers=1)
    ).save_pretrained(mamba)
    with pytest.raises(HealError, match="does not run it with PyTorch's attention"):
        train(curriculum, source(mamba), OPTIONS, "cumulative", 0, tmp_path / "s")
    monkeypatch.setattr(LlamaForCausalLM, "_is_stateful", True)  # as that of a model with both kinds of layers
    with pytest.raises(HealError, match="recurrent layers"):
        train(curriculum, source(model), OPTIONS, "cumulative", 0, tmp_path / "s")


def test_the_batch_is_shared_equally_by_the_gpus(
    model: Path, curriculum: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "PROCESSES", 3)
    with pytest.raises(HealError, match="batch_size 4 is no multiple of 3 GPUs"):
        train(curriculum, source(model), OPTIONS, "cumulative", 0, tmp_path / "s")


def test_deterministic_kernels_fill_no_new_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """With filling, a new tensor is NaN; it then costs as much as writing it."""
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    try:
        use_deterministic_kernels()
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory
    finally:
        torch.use_deterministic_algorithms(False)


def test_the_command_reads_model_options_and_schedule_from_the_config() -> None:
    names = ["--config", str(ROOT / "config/config.yaml"), "--student", "tiny", "--method", "heal"]
    flags = ["--curriculum", "c.jsonl", "--out", "s", "--options.learning-rate", "0.5"]
    command = parse_command(TrainCommand, "train", [*names, *flags])
    run_config = read_run_config(ROOT / "config/config.yaml")
    assert command.options == run_config.get_training("heal").model_copy(update={"learning_rate": 0.5})
    assert command.model == run_config.get_model_source("students", "tiny")
    assert command.schedule == run_config.methods["heal"].schedule and command.distillation is None


def test_a_distilled_student_needs_its_teacher(model: Path, curriculum: Path, tmp_path: Path) -> None:
    flags = ["--model.path", str(model), "--curriculum", str(curriculum), "--out", str(tmp_path / "s")]
    command = parse_command(TrainCommand, "train", [*flags, "--distillation.beta", "0.25"])
    assert command.distillation == Distillation(beta=0.25)
    with pytest.raises(HealError, match="needs a teacher"):
        command.run()


@pytest.mark.parametrize("argv", [["heal", "train", "--seed", "1"], ["train.py", "--seed", "1"]])
def test_every_process_of_a_sharded_training_gets_the_flags(argv: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def record(command: list[str]) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(subprocess, "run", record)
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(HealError, match="2 processes of training failed"):
        launch(2)
    assert commands[0][-4:] == ["-m", "heal.training.train", "--seed", "1"]
