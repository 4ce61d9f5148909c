"""The presets of real models: complete, commented field by field, pinned, and as docs/fidelity.md reports the paper."""

import re

import pytest
import yaml
from tokenizers import Tokenizer

from heal.config import experiment as config
from heal.config.data import COMMIT
from heal.config.experiment import Experiment
from heal.grading.grader import Grader
from heal.method.hints import HINTS, HintContext
from heal.registry import TASKS, resolve_gear_variants
from tests.support.paths import ROOT

PRESETS = [ROOT / "config" / name for name in ("single_gpu.yaml", "paper.yaml")]
SECTIONS = ("sampling", "guided", "low_temperature", "cost", "gear", "scoring", "pure", "pace", "train")
each = pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)


def list_hub_sets(problems):
    """Every data set of the problems, parts of mixtures included."""
    sets = [problems.train, problems.dev, *problems.test.values()]
    return [part for one in sets for part in (one, *one.parts.values()) if part.source != "mixture"]


@each
@pytest.mark.parametrize("section", SECTIONS)
def test_every_field_is_given(path, section):
    cls = Experiment.model_fields[section].annotation
    fields = yaml.safe_load(path.read_text())[section]
    fix = f"add it to {path.name} with its source: # reported, or # ours"
    assert set(fields) == set(cls.model_fields), fix
    if section == "gear":
        assert set(fields["hint"]) == set(cls.model_fields["hint"].annotation.model_fields), fix


@each
def test_every_value_of_the_method_says_where_it_comes_from(path):
    text = path.read_text()
    for section in SECTIONS:
        lines = re.search(rf"^{section}:\n((?:  .*\n)+)", text, re.MULTILINE)[1].splitlines()
        values = [line for line in lines if re.match(r" +\w+: *[^ #]", line)]
        assert values and all(re.search(r" # (reported|ours)\b", line) for line in values), section


@each
def test_what_is_reported_of_the_paper_is_set(path):
    preset = config.load(path)
    assert (preset.sampling.n, preset.guided.pass_rate_below) == (30, 0.5)
    gear = preset.gear
    assert (gear.detector, gear.rewind, gear.traces_per_problem, gear.repairs_per_trace) == ("entropy_surge", 1, 10, 20)
    assert (gear.search_fraction, gear.max_pass_rate) == (1 / 3, 1 / 30)
    assert gear.hint.source == "answer"
    sources = {gear.hint.source} | {(one.get("hint") or {}).get("source") for one in preset.gear_variants.values()}
    assert {"answer", "teacher"} <= sources  # two readings are reported
    assert (preset.pure.drop_share, preset.pure.epsilon) == (0.2, 0.01)
    assert (preset.train.epochs, preset.train.learning_rate, preset.train.batch_size) == (5.0, 1e-5, 8)
    assert "aime25" in {name.partition("_")[0] for name in preset.benchmarks}


def test_the_paper_preset_trains_for_the_reported_epochs_with_the_reported_teacher():
    preset = config.load(ROOT / "config/paper.yaml")
    assert preset.train.max_steps is None and [model.path for model in preset.teachers.values()] == ["Qwen/Qwen3-32B"]


@each
def test_models_and_data_are_pinned(path):
    preset = config.load(path)
    for one in [*preset.teachers.values(), *preset.students.values(), *list_hub_sets(preset.problems)]:
        assert COMMIT.fullmatch(one.revision), one.path


@each
def test_training_problems_are_neither_tuned_on_nor_tested_on(path):
    problems = config.load(path).problems
    assert problems.decontaminated
    for part in problems.train.parts.values() or [problems.train]:
        assert part.path not in {test.path for test in problems.test.values()}
        if part.path == problems.dev.path:
            shared = {"n": None, "skip": 0}
            assert (
                part.model_copy(update=shared) == problems.dev.model_copy(update=shared) and part.skip >= problems.dev.n
            )
        if "aime" in part.path:
            assert part.drop == {"Year": [2024]}


@each
def test_the_cue_closes_a_thinking_block_where_the_teacher_thinks(path):
    preset = config.load(path)
    for teacher in preset.teachers.values():
        assert preset.scoring.cue.startswith("</think>") == teacher.template_options["enable_thinking"]
    assert preset.scoring.cue.endswith("\\boxed{") and preset.scoring.closing == "}"


@each
def test_no_trace_is_too_long_to_train_on_and_benchmarks_allow_as_much(path):
    preset = config.load(path)
    assert preset.sampling.max_new_tokens < preset.train.max_length
    for benchmark in set(preset.benchmarks) - {"gsm8k"}:
        task = next(file for file in TASKS.rglob("*.yaml") if f"task: {benchmark}\n" in file.read_text())
        assert f"max_gen_toks: {preset.sampling.max_new_tokens}\n" in task.read_text(), benchmark


@each
def test_models_are_asked_for_a_box_in_training_and_benchmarks(path):
    assert "\\boxed{}" in config.load(path).problems.instruction


def test_the_mini_teacher_knows_every_word_of_its_hints():
    variants = resolve_gear_variants(config.load(ROOT / "config/config.yaml"))
    tokenizer = Tokenizer.from_file(str(ROOT / "heal/worlds/mini/models/teacher/tokenizer.json"))
    with Grader() as grader:
        problems = {f"p{answer}": {"problem_id": f"p{answer}", "answer": str(answer)} for answer in (7, 60)}
        for name, gear in variants.items():
            if gear.hint.source in HINTS.keys() - {"solution"}:
                hint = HINTS[gear.hint.source]({}, problems["p7"], HintContext(gear, problems, grader))
                assert "<|unk|>" not in tokenizer.encode(hint).tokens, (name, hint)
