"""Laws of the other trainers: what a weight does to the loss, and what a student learns from beside its teacher."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback, set_seed

from heal.config.models import Distillation, ModelSource
from heal.errors import HealError
from heal.method.pace import order_exposures
from heal.training import fit, trainers
from heal.training.conversations import NOT_SUPERVISED, encode
from heal.training.train import train
from heal.training.trainers import Teaching
from heal.worlds.mini.tokenizer import build_tokenizer
from tests.support.tiny_training import OPTIONS, make_conversation, read_contents, read_csv_rows, write_curriculum

FEW = OPTIONS.model_copy(update={"max_steps": 4})
WEIGHTS = (3.0, 0.0, 1.0, 1.0, 2.0)


def write_weighted_curriculum(path: Path, weights: tuple[float, ...]) -> Path:
    return write_curriculum(path, [make_conversation(n) | {"weight": weight} for n, weight in enumerate(weights)])


@pytest.fixture(scope="module")
def teacher(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the same family with weights of its own."""
    folder = tmp_path_factory.mktemp("teacher")
    shutil.copytree(model, folder, dirs_exist_ok=True)
    set_seed(7)
    network = AutoModelForCausalLM.from_pretrained(model)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    network.save_pretrained(folder)
    return folder


def test_a_weight_multiplies_the_loss_of_its_tokens_whose_number_divides_it(teacher: Path, tmp_path: Path) -> None:
    rows = [make_conversation(n) for n in range(len(WEIGHTS))]
    stages = [row["stage"] for row in rows]
    order, _ = order_exposures(stages, schedule="mixed", max_steps=FEW.max_steps, batch_size=FEW.batch_size, seed=0)
    weights = np.array(WEIGHTS)[order] / np.array(WEIGHTS)[order].mean()
    network, tokenizer = AutoModelForCausalLM.from_pretrained(teacher), AutoTokenizer.from_pretrained(teacher)
    total, tokens = 0.0, 0
    for example, weight in zip(np.array(order)[: FEW.batch_size], weights, strict=False):
        ((ids, labels),) = encode(tokenizer, [rows[example]], "test")
        start = labels.count(NOT_SUPERVISED)
        logprobs = network(torch.tensor([ids])).logits[0].log_softmax(-1)
        total -= weight * sum(logprobs[place - 1, ids[place]].item() for place in range(start, len(ids)))
        tokens += len(ids) - start
    for micro in (None, 20):
        options = FEW.model_copy(update={"micro_batch_tokens": micro})
        train(
            write_weighted_curriculum(tmp_path / "c", WEIGHTS),
            ModelSource(path=str(teacher)),
            options,
            "mixed",
            0,
            tmp_path / f"s{micro}",
        )
        (first, *_) = read_csv_rows(tmp_path / f"s{micro}/loss.csv")
        assert float(first["loss"]) == pytest.approx(total / tokens, rel=1e-4)


def test_the_scale_of_the_weights_changes_nothing_and_equal_weights_are_none(model: Path, tmp_path: Path) -> None:
    for name, weights in (("a", WEIGHTS), ("b", tuple(4 * w for w in WEIGHTS)), ("c", (1.0,) * 5), ("d", (0.5,) * 5)):
        train(
            write_weighted_curriculum(tmp_path / "c.jsonl", weights),
            ModelSource(path=str(model)),
            FEW,
            "cumulative",
            0,
            tmp_path / name / "s",
        )
    assert read_contents(tmp_path / "a/s") == read_contents(tmp_path / "b/s")
    assert read_contents(tmp_path / "c/s") == read_contents(tmp_path / "d/s") != read_contents(tmp_path / "a/s")


def test_the_fused_head_of_a_large_vocabulary_gives_the_loss_of_stored_logits(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_weighted_curriculum(tmp_path / "c.jsonl", WEIGHTS)
    losses = []
    for name, vocabulary in (("stored", trainers.SMALL_VOCABULARY), ("fused", 0)):
        monkeypatch.setattr(trainers, "SMALL_VOCABULARY", vocabulary)
        train(path, ModelSource(path=str(model)), FEW, "mixed", 0, tmp_path / name)
        losses.append([float(row["loss"]) for row in read_csv_rows(tmp_path / name / "loss.csv")])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def distill(model: Path, teacher: Path, path: Path, out: Path, steps: int = 4, **how: Any) -> Path:
    options = FEW.model_copy(update={"max_steps": steps})
    teaching = Teaching(teacher, Distillation(max_new_tokens=6, **how))
    train(path, ModelSource(path=str(model)), options, "mixed", 0, out, teaching=teaching)
    return out


def test_a_distilled_student_comes_nearer_to_its_teacher(model: Path, teacher: Path, tmp_path: Path) -> None:
    path = write_curriculum(tmp_path / "c.jsonl", [make_conversation(n) for n in range(6)])
    out = distill(model, teacher, path, tmp_path / "s", steps=30, on_policy_share=0.0, beta=0.0)
    losses = [float(row["loss"]) for row in read_csv_rows(out / "loss.csv")]
    assert len(losses) == 30 and losses[-1] < 0.7 * losses[0]
    summary = json.loads((out / "training.json").read_text())
    assert summary["distillation"]["beta"] == 0 and summary["steps"] == 30 and summary["teacher"] != summary["model"]


def test_micro_batches_change_no_loss_of_a_distillation(model: Path, teacher: Path, tmp_path: Path) -> None:
    path = write_curriculum(tmp_path / "c.jsonl", [make_conversation(n) for n in range(6)])
    losses = []
    for micro in (None, 20):
        options = FEW.model_copy(update={"micro_batch_tokens": micro})
        teaching = Teaching(teacher, Distillation(max_new_tokens=6, on_policy_share=0.5))
        out = tmp_path / f"s{micro}"
        train(path, ModelSource(path=str(model)), options, "mixed", 0, out, teaching=teaching)
        losses.append([float(row["loss"]) for row in read_csv_rows(out / "loss.csv")])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_fully_on_policy_the_answers_of_the_curriculum_are_not_read(model: Path, teacher: Path, tmp_path: Path) -> None:
    """And half on policy they are: the law is not empty."""
    questions = [make_conversation(n)["messages"][0] for n in range(4)]
    replies = [make_conversation(n + shift)["messages"][1] for shift in (0, 40) for n in range(4)]
    weights = {}
    for share in (1.0, 0.5):
        for name, answers in (("a", replies[:4]), ("b", replies[4:])):
            rows = [
                make_conversation(n) | {"messages": [q, a]}
                for n, (q, a) in enumerate(zip(questions, answers, strict=True))
            ]
            out = distill(
                model,
                teacher,
                write_curriculum(tmp_path / name, rows),
                tmp_path / f"{name}{share}/s",
                on_policy_share=share,
            )
            weights[name, share] = load_file(out / "model/model.safetensors")
    same = lambda share: all(torch.equal(weights["a", share][n], weights["b", share][n]) for n in weights["a", share])  # noqa: E731
    assert same(1.0) and not same(0.5)


def test_a_distillation_that_stopped_goes_on_as_if_it_had_not(
    model: Path,
    teacher: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, whole = write_curriculum(tmp_path / "c.jsonl", [make_conversation(n) for n in range(6)]), fit.make_callback

    class Stop(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 2:  # the number of finished steps
                raise KeyboardInterrupt

    distill(model, teacher, path, tmp_path / "a/s")
    # on_save of the usual callback has marked checkpoint-2 as complete by then
    monkeypatch.setattr(fit, "make_callback", lambda *arguments: type("Both", (type(whole(*arguments)), Stop), {})())
    with pytest.raises(KeyboardInterrupt):
        distill(model, teacher, path, tmp_path / "b/s")
    assert list((tmp_path / "b").glob(".partial-*/checkpoint-2/complete.json"))
    monkeypatch.setattr(fit, "make_callback", whole)
    distill(model, teacher, path, tmp_path / "b/s")
    assert read_contents(tmp_path / "a/s") == read_contents(tmp_path / "b/s")


def test_what_cannot_be_distilled_is_told_before_training(model: Path, teacher: Path, tmp_path: Path) -> None:
    other, tokenizer = shutil.copytree(teacher, tmp_path / "other"), build_tokenizer()
    tokenizer.add_tokens(["Schadenfreude"])
    tokenizer.save_pretrained(other)
    path = write_curriculum(tmp_path / "c.jsonl", [make_conversation(n) for n in range(2)])
    with pytest.raises(HealError, match="different vocabularies: 1 tokens .* differ, as 'Schadenfreude'"):
        distill(model, other, path, tmp_path / "s")
    with pytest.raises(HealError, match="does not support weights"):
        distill(model, teacher, write_weighted_curriculum(tmp_path / "w.jsonl", WEIGHTS), tmp_path / "s")
    assert not (tmp_path / "s").exists() and not list(tmp_path.glob(".partial*"))


def test_the_training_options_are_the_run_s_in_every_trainer(model: Path, teacher: Path, tmp_path: Path) -> None:
    path = write_curriculum(tmp_path / "c.jsonl", [make_conversation(n) for n in range(6)])
    distill(model, teacher, path, tmp_path / "a")
    train(path, ModelSource(path=str(model)), FEW, "mixed", 0, tmp_path / "b")
    rates = [[row["learning_rate"] for row in read_csv_rows(tmp_path / name / "loss.csv")] for name in "ab"]
    assert rates[0] == rates[1]
    assert (tmp_path / "a/exposures.csv").read_bytes() == (tmp_path / "b/exposures.csv").read_bytes()
