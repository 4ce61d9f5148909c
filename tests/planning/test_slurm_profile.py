"""`heal check --workflow-profile`: limits below what the plan says are named, and the rules' own requests fit."""

import pytest

from heal.config.run_config import RunConfig, read_run_config
from heal.errors import HealError
from heal.planning.costs import Task, plan_costs
from heal.planning.inputs import collect_inputs
from heal.planning.preflight.findings import Caution
from heal.planning.preflight.lookup import Lookup
from heal.planning.preflight.slurm import check_profile, read_profile
from heal.planning.resources import derive_resources, estimate_job_resources
from tests.support.paths import ROOT
from tests.support.planning import make_experiment

PAPER = ROOT / "config/paper.yaml"


@pytest.fixture
def check(tmp_path):
    """Findings of a profile with these limits for every job of a rule."""

    def run(rule, retries=2, **limits):
        settings = "".join(f"\n    {name}: {value}" for name, value in limits.items())
        (tmp_path / "profile.yaml").write_text(
            f"__use_yte__: true\nretries: {retries}\nset-resources:\n  {rule}:{settings}\n"
        )
        return list(check_profile(Lookup(read_run_config(PAPER)), tmp_path))

    return run


def test_the_repositorys_profile_fits_every_preset():
    for preset in ("paper", "single_gpu", "smol"):
        lookup = Lookup(read_run_config(ROOT / f"config/{preset}.yaml"))
        assert list(check_profile(lookup, ROOT / "profiles/slurm")) == []


def test_too_little_memory_is_named_with_the_rule_and_what_it_needs(check):
    (fault,) = check("train_student", mem_mb=64000)
    assert "set-resources.train_student.mem_mb" in fault.where and "qwen3_14b" in fault.problem
    assert "leave it out" in fault.fix
    assert check("train_student", mem="900GB") == []


def test_a_time_limit_that_all_attempts_cannot_meet_is_a_fault_and_one_that_they_can_a_caution(check):
    faults = check("train_student", runtime=10)
    assert len(faults) == 2 and not any(isinstance(one, Caution) for one in faults)
    assert "10.0 minutes for a job with qwen3_4b_base" in faults[0].problem
    cautions = check("train_student", runtime=900)
    assert cautions and all(isinstance(one, Caution) for one in cautions)
    assert check("train_student", runtime="5d") == []


def test_an_evaluation_must_end_within_its_limit(check):
    faults = check("evaluate_teacher", retries=9, runtime="10h")
    assert len(faults) == 1 and not isinstance(faults[0], Caution)


def test_unreadable_limits_and_missing_profiles_are_refused(check, tmp_path):
    with pytest.raises(HealError, match="is no time"):
        check("train_student", runtime="soon")
    with pytest.raises(HealError, match="is no size"):
        check("train_student", mem="much")
    with pytest.raises(HealError, match="no workflow profile") as refused:
        read_profile(tmp_path / "nowhere")
    assert "profiles/slurm" in refused.value.fix


def test_a_job_asks_for_what_the_plan_says_with_a_margin():
    task = Task("train_student", "big", 2, 0.0, 0.0, 0.0, 10.0, 80.0, 0.0, gpus=8, host_bytes=480e9)
    resources = derive_resources([task])[("train_student", "big")]
    assert resources.mem_mb == 720_000 and resources.runtime == 900  # three times five hours
    short = Task("score_traces", "small", 1, 0.0, 0.0, 0.0, 0.01, 0.01, 0.0, gpus=1, host_bytes=1e9)
    assert derive_resources([short])[("score_traces", "small")] == type(resources)(16_000, 60)


def test_every_planned_job_of_the_paper_preset_has_resources_that_cover_it():
    run_config = read_run_config(PAPER)
    resources = estimate_job_resources(run_config)
    for task in plan_costs(collect_inputs(run_config)):
        own = resources[(task.rule, task.model)]
        assert 1e6 * own.mem_mb > task.host_bytes and own.runtime > 60 * task.hours / task.jobs


def test_a_plan_without_a_number_leaves_the_defaults():
    def nameless(content):
        content["teachers"]["default"] = {"path": "somebody/nameless", "revision": "a" * 40}

    assert estimate_job_resources(RunConfig(make_experiment(nameless), "config")) == {}
