"""`heal check` on lengths: every stage's requests against the positions and engine.max_length, with the numbers."""

import json
import shutil

import pytest

from heal.config.run_config import RunConfig
from heal.planning.preflight.check import find_faults
from heal.planning.preflight.findings import Caution
from heal.planning.preflight.lengths import Limit, Stage, check_stage
from tests.support.paths import ROOT

TEACHER = ROOT / "heal/worlds/mini/models/teacher"


@pytest.fixture
def check(experiment, tmp_path):
    """(faults, cautions) of the mini experiment with changes; its teacher's positions can be set."""

    def run(change=lambda content: None, positions=None):
        def apply(content):
            if positions:
                folder = tmp_path / f"teacher_{positions}"
                shutil.copytree(TEACHER, folder, dirs_exist_ok=True)
                path = folder / "config.json"
                content_of_config = json.loads(path.read_text()) | {"max_position_embeddings": positions}
                path.write_text(json.dumps(content_of_config))
                content["teachers"]["default"]["path"] = str(folder)
            change(content)

        faults, cautions = [], []
        for finding in find_faults(RunConfig(experiment(apply), "config")):
            (cautions if isinstance(finding, Caution) else faults).append(str(finding))
        return "\n".join(faults), "\n".join(cautions)

    return run


def test_the_mini_experiment_fits(check):
    assert check() == ("", "")


@pytest.mark.parametrize(
    "stage", ["base samples", "guided samples", "repairs default", "scores", "benchmark mini_hard"]
)
def test_a_teacher_with_too_few_positions_fails_at_every_stage(check, stage):
    findings = "\n".join(check(positions=100))
    line = next(line for line in findings.splitlines() if f"{stage} of teachers.default" in line)
    assert "100 tokens (the positions of " in line and "160" in line


def test_repairs_that_are_shortened_are_a_caution_and_hints_without_room_a_fault():
    limit = Limit(100, "engine.max_length")
    stages = [
        Stage("repairs", "gear.hint", [30], 90, "a hint 20, new 70", "lower it", least=least) for least in (21, 71)
    ]
    (caution,), (fault,) = (list(check_stage(stage, limit, "teachers.big")) for stage in stages)
    assert isinstance(caution, Caution) and not isinstance(fault, Caution)


def test_a_limit_that_some_prompts_exceed_is_a_caution_and_one_that_all_exceed_a_fault():
    limit = Limit(100, "engine.max_length")

    def check_one(prompts, whole=False):
        stage = Stage("base samples", "sampling.max_new_tokens", prompts, 60, "new 60", "lower it", whole)
        return list(check_stage(stage, limit, "teachers.big"))

    assert check_one([10, 40]) == []
    (caution,) = check_one([10, 41])
    assert isinstance(caution, Caution) and "1 of 2 prompts" in caution.problem and "41" in caution.problem
    assert "lower it by 1" in caution.fix and "raise engine.max_length to 101" in caution.fix
    (fault,) = check_one([41, 50])
    assert not isinstance(fault, Caution) and "every request" in fault.problem
    (fault,) = check_one([10, 41], whole=True)
    assert not isinstance(fault, Caution)
    (fault,) = check_one([10, 120])
    assert not isinstance(fault, Caution)  # no room at all for the longest prompt


def test_max_length_beyond_the_positions_is_refused_as_vllm_would(check):
    def on_vllm(content):
        content["engine"] |= {"backend": "vllm", "max_length": 5000}

    faults, _ = check(on_vllm)
    assert "engine.max_length: 5000 tokens, but" in faults and "set it to at most" in faults


def test_max_length_counts_for_vllm_only(check):
    def change(content):
        content["engine"] |= {"max_length": 100}

    assert check(change) == ("", "")

    def on_vllm(content):
        change(content)
        content["engine"]["backend"] = "vllm"

    assert "exceed 100 tokens (engine.max_length)" in check(on_vllm)[0]


def test_a_benchmark_whose_answers_do_not_fit_the_student_is_found_before_its_training(check, tmp_path):
    def change(content):
        path = tmp_path / "student/config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"max_position_embeddings": 150}))

    faults, _ = check(change)
    assert "benchmark mini_hard of students.tiny" in faults and "max_gen_toks 160" in faults
    assert "use a task with a smaller max_gen_toks" in faults


def test_training_lengths_against_positions_and_traces(check):
    faults, _ = check(lambda content: content["train"].update(max_length=100_000))
    assert "train.max_length: 100000 tokens, but students.tiny has" in faults
    _, cautions = check(lambda content: content["train"].update(max_length=170))
    assert "train.max_length: 170 tokens: the longest prompt has" in cautions and "skipped and counted" in cautions
    faults, _ = check(lambda content: content["train"].update(max_length=3))
    assert "nothing is left" in faults


def test_the_hint_counts_in_the_repairs(check):
    def change(content):
        content["gear"]["hint"]["template"] = "Undo " * 400 + "{answer}"

    faults, _ = check(change, positions=400)
    assert "repairs default of teachers.default" in faults and "gear.hint" in faults
    assert "base samples" not in faults
