"""Laws of what a rehearsal builds: lengths in the preset's ratios, data in its columns, models of its architecture."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from heal.config.experiment import load
from heal.data.load_problems import collect
from heal.registry import read_tasks
from heal.rehearsal import build
from heal.rehearsal.build import Rehearsal
from heal.rehearsal.plans import StandIn, make_stand_ins, measure_needs
from heal.rehearsal.scale import choose_factor, scale_length
from heal.rehearsal.traces import FIRST, KINDS, STEP_END

pytestmark = pytest.mark.workflow  # the vocabulary and three models take half a minute
PRESET = "config/single_gpu.yaml"


def test_lengths_keep_their_ratios(rehearsal: Rehearsal) -> None:
    preset, small = load(PRESET), rehearsal.experiment
    lengths = [
        (preset.engine.max_length, small.engine.max_length),
        (preset.sampling.max_new_tokens, small.sampling.max_new_tokens),
        (preset.train.max_length, small.train.max_length),
    ]
    tasks, small_tasks = read_tasks(), read_tasks(rehearsal.folder / "evals/tasks")
    for benchmark in preset.benchmarks:
        pair = [fields[benchmark]["generation_kwargs"]["max_gen_toks"] for fields in (tasks, small_tasks)]
        lengths.append((pair[0], pair[1]))
    for length, scaled in lengths:
        assert scaled == round(length * rehearsal.factor)


def test_everything_else_that_is_no_count_is_the_presets_own(rehearsal: Rehearsal) -> None:
    preset, small = load(PRESET), rehearsal.experiment
    for section in ("pure", "pace", "premise"):
        assert getattr(small, section) == getattr(preset, section)
    assert preset.stop.enabled and not small.stop.enabled  # findings say what a stage lacks
    assert small.methods == preset.methods and small.benchmarks == preset.benchmarks
    assert small.gear.hint == preset.gear.hint and small.gear.min_step_tokens == preset.gear.min_step_tokens
    assert small.engine.backend == preset.engine.backend
    assert small.teachers["qwen3_8b"].template_options == preset.teachers["qwen3_8b"].template_options


def test_every_problem_set_loads_and_has_its_kinds(rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(rehearsal.folder)  # where its jobs start
    problems = rehearsal.experiment.problems
    train, left_out = collect(problems.train, 0, problems.instruction)
    assert not left_out
    assert {row["question"][1:].partition(")")[0] for row in train} == set(KINDS)
    questions = {row["question"] for row in train}
    dev, _ = collect(problems.dev, 0, problems.instruction)
    assert not questions & {row["question"] for row in dev}
    held_out = set()
    for dataset in problems.test.values():
        held_out |= {row["question"] for row in collect(dataset, 0, problems.instruction)[0]}
    assert len(questions & held_out) == 1  # what decontamination removes


def test_stand_ins_have_the_structure_of_the_originals(rehearsal: Rehearsal) -> None:
    expected = {"teachers/qwen3_8b": (4, False), "students/qwen3_0_6b_base-Base": (2, True)}
    for name, (heads_per_key, tied) in expected.items():
        config = json.loads((rehearsal.folder / "models" / name / "config.json").read_text())
        assert config["architectures"] == ["Qwen3ForCausalLM"] and config["vocab_size"] == 151936
        assert config["num_attention_heads"] == heads_per_key * config["num_key_value_heads"]
        assert config["tie_word_embeddings"] is tied


def test_a_base_stand_in_ends_texts_but_not_turns(rehearsal: Rehearsal) -> None:
    models = rehearsal.folder / "models"
    base = json.loads((models / "students/qwen3_0_6b_base-Base/generation_config.json").read_text())
    teacher = json.loads((models / "teachers/qwen3_8b/generation_config.json").read_text())
    assert base["eos_token_id"] == 151643 and teacher["eos_token_id"] == [151645, 151643]


def test_the_config_is_a_readable_file_that_names_nothing_outside_the_copy(rehearsal: Rehearsal) -> None:
    text = (rehearsal.folder / rehearsal.config).read_text()
    assert text.startswith("# config/single_gpu.yaml, rehearsed")
    assert str(rehearsal.folder) not in text
    assert yaml.safe_load(text)["run"] == "single_gpu"


class PlansMade(Exception):
    """Ends a build where its stand-ins would be trained."""


@pytest.mark.parametrize("preset", ["single_gpu", "paper"])
def test_a_repair_has_to_ask_for_fewer_tokens(preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[StandIn] = []

    def keep(plans: list[StandIn], cores: int) -> None:
        made.extend(plans)
        raise PlansMade

    monkeypatch.setattr(build, "make_stand_ins", keep)
    with pytest.raises(PlansMade):
        build.build(Path(f"config/{preset}.yaml"), tmp_path)
    teacher, experiment = made[0], made[0].writer.experiment
    factor = choose_factor(experiment, {plan.field: plan.positions for plan in made}, measure_needs(made))
    longest, new = experiment.engine.max_length, experiment.sampling.max_new_tokens
    room = scale_length(longest, factor) - scale_length(new, factor)
    for problem in teacher.writer.problems[:8]:
        hint = experiment.gear.hint.template.format(answer=problem.answer)
        context = teacher.render(problem.question) + FIRST + STEP_END + hint + STEP_END
        assert len(teacher.tokenizer.encode(context, add_special_tokens=False)) > room


def test_a_stand_in_that_another_rehearsal_has_made_stays(tmp_path: Path) -> None:
    plan = StandIn.__new__(StandIn)  # a stand-in without a model: only its folders matter
    plan.field, plan.folder = "students.tiny", tmp_path / "stand_in"
    plan.model, plan.writer = SimpleNamespace(path="tiny"), SimpleNamespace(restart=lambda seed: None)

    def save(folder: Path) -> None:
        for name in (folder, plan.folder):
            name.mkdir(exist_ok=True)
            (name / "weights").write_text(name.name)

    plan.save = save
    plan.make()
    assert [path.name for path in tmp_path.iterdir()] == ["stand_in"]
    assert (plan.folder / "weights").read_text() == "stand_in"


def test_on_one_core_no_process_is_forked_to_train_stand_ins(tmp_path: Path) -> None:
    """A fork stands still where its parent has computed with several threads, as a test's process has."""
    made: list[int] = []

    def make(folder: Path) -> None:
        made.append(os.getpid())
        folder.mkdir()

    plans = [SimpleNamespace(folder=tmp_path / name, field=name) for name in "ab"]
    for plan in plans:
        plan.make = partial(make, plan.folder)
    make_stand_ins(plans, cores=1)
    assert made == [os.getpid()] * 2
