"""The plan: it follows what the workflow would run, its numbers follow from the config, and it says what it assumes."""

from dataclasses import replace

import pytest

from heal.config import experiment as config
from heal.planning import costs as plan
from tests.support.paths import ROOT
from tests.support.planning import make_settings

CONFIGS = sorted([*ROOT.glob("config/*.yaml"), *ROOT.glob("tests/configs/*.yaml")])


def plan_stages(change=lambda content: None, **options):
    """rule → its stage, of a config with one teacher and one student."""
    return {one.rule: one for one in plan.plan(make_settings(change, **options))}


def set_to_zero(one, *fields):
    return replace(one, **dict.fromkeys(fields, 0))


READING = ("trace_scores", "student_ranks", "student", "warm_up")  # the stages that write no tokens


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
@pytest.mark.parametrize("ablations", [False, True])
def test_every_shipped_config_can_be_planned(path, ablations):
    stages = plan.plan(plan.settings(config.load(path), where=str(path), ablations=ablations))
    assert {"base_samples", "repairs", "student", "evaluate_student", "evaluate_teacher"} <= {
        one.rule for one in stages
    }
    for one in stages:
        assert one.jobs > 0 and one.prompts > 0 and one.tokens_read > 0 and one.hours > 0 and one.disk_bytes > 0, one
        assert (one.tokens_written > 0) == (one.rule not in READING), one


def test_twice_the_samples_are_twice_the_base_tokens_and_the_same_prompts():
    once, twice = plan_stages(), plan_stages(lambda c: c["sampling"].update(n=16))
    assert twice["base_samples"].tokens_written == 2 * once["base_samples"].tokens_written > 0
    assert twice["base_samples"].prompts == once["base_samples"].prompts == 500
    assert twice["student"] == once["student"]


def test_twice_the_draws_are_twice_everything_but_the_models_own_answers():
    once, twice = plan_stages(), plan_stages(lambda c: c.update(draws=2))
    for rule, one in once.items():
        factor = 1 if rule in ("evaluate_teacher", "evaluate_untrained") else 2
        for field in ("jobs", "prompts", "tokens_read", "tokens_written", "hours"):
            assert getattr(twice[rule], field) == pytest.approx(factor * getattr(one, field)), (rule, field)


def test_a_method_that_needs_nothing_new_adds_students_and_their_answers_only():
    once = plan_stages()
    more = plan_stages(lambda c: c["methods"].update(mixed={"kind": "heal", "pace": {"schedule": "mixed"}}))
    assert more["student"].jobs == once["student"].jobs + 3
    assert more["evaluate_student"].jobs == once["evaluate_student"].jobs + 3
    for rule in once.keys() - {"student", "evaluate_student"}:
        assert more[rule] == once[rule], rule


def test_another_cut_adds_repairs_of_its_own():
    once, more = (
        plan_stages(),
        plan_stages(lambda c: c["methods"].update(r={"kind": "heal", "gear": {"detector": "random"}})),
    )
    for rule in ("repairs", "trace_scores"):
        assert more[rule].jobs == 2 * once[rule].jobs
        assert more[rule].prompts == pytest.approx(2 * once[rule].prompts)
    assert more["base_samples"] == once["base_samples"] and more["extra_samples"] == once["extra_samples"]


def test_extra_samples_spend_what_heal_spends_beyond_the_base_samples():
    for assumed in ({}, {"treated_share": 0.5, "guided_share": 0.9, "prompt_tokens": 1000}):
        stages = plan_stages(given=assumed)
        heal = [stages[rule] for rule in ("guided_samples", "repairs", "trace_scores")]
        extra = stages["extra_samples"]
        spent = sum(one.tokens_read + one.tokens_written for one in heal)
        assert extra.tokens_read + extra.tokens_written == pytest.approx(spent)


def test_no_treated_problem_is_no_repair():
    stages = plan_stages(given={"treated_share": 0})
    assert stages["repairs"].tokens_written == stages["repairs"].prompts == 0
    assert plan_stages(given={"treated_share": 0.2})["repairs"].prompts == pytest.approx(500 * 0.2 * 2 * 0.9)


def test_hints_of_the_teacher_are_asked_for_before_the_repairs():
    once, with_hints = plan_stages(), plan_stages(lambda c: c["gear"]["hint"].update(source="teacher"))
    assert with_hints["repairs"].prompts == pytest.approx(2 * once["repairs"].prompts)
    assert with_hints["repairs"].tokens_written > once["repairs"].tokens_written


def test_training_follows_the_steps_or_else_the_epochs_over_what_a_method_has():
    by_steps = plan_stages(lambda c: c["train"].update(steps=1200))["student"]
    assert by_steps.tokens_read == 2 * plan_stages()["student"].tokens_read == 12 * 1200 * 8 * (150 + 80)

    def of(kind, epochs):
        methods = {"methods": {"one": {"kind": kind}}, "comparisons": {}}
        s = make_settings(lambda c: (c["train"].update(steps=None, epochs=epochs), c.update(methods)))
        return plan.optimizer_steps("one", s)

    assert of("heal", 10.0) == pytest.approx(2 * of("heal", 5.0), abs=2)
    assert of("heal", 5.0) > of("rejection_sampling", 5.0) > of("reference_sft", 5.0)
    assert of("reference_sft", 5.0) == 313  # ceil(5 · 500 / 8)


def test_a_comparison_trained_otherwise_has_students_of_its_own():
    main, further = make_settings(), make_settings(comparisons=True)
    assert set(further.names) - set(main.names) == {f"{name}_epochs" for name in main.names} | {"rs_matched_treated"}
    assert further.training["heal_epochs"].steps is None and further.training["heal"].steps == 600
    apart = plan.optimizer_steps("heal_epochs", further)
    assert apart != 600 and plan.optimizer_steps("heal", further) == 600
    longer = make_settings(lambda c: c["comparisons"]["epochs"]["train"].update(epochs=10.0), comparisons=True)
    assert plan.optimizer_steps("heal_epochs", longer) == pytest.approx(2 * apart, abs=2)


def test_limit_shrinks_the_plan():
    assert (
        plan_stages(limit=40)["base_samples"].prompts
        == plan_stages(lambda c: c.update(limit=40))["base_samples"].prompts
        == 40
    )
    assert plan_stages(limit=40)["evaluate_teacher"].prompts == 40 + 40 + 4 * 40 + 40


def test_time_follows_from_flops_and_half_the_use_is_twice_the_time():
    def on_card(c):
        c["teachers"]["default"]["gpus"] = 2
        c["engine"]["dtype"] = "bfloat16"

    assumed = {"params.default": 32e9, "start_s": 0, "use_writing": 0.1, "use_reading": 0.5}
    one = plan_stages(on_card, given=assumed)["base_samples"]
    seconds = 2 * 32e9 * (one.tokens_written / 0.1 + one.tokens_read / 0.5) / (2 * 989e12)
    assert one.hours == pytest.approx(seconds / 3600) and one.gpu_hours == pytest.approx(2 * one.hours)
    slower = plan_stages(on_card, given=assumed | {"use_writing": 0.05, "use_reading": 0.25})["base_samples"]
    assert slower.hours == pytest.approx(2 * one.hours)
    assert plan_stages(on_card, given=assumed, card="A100")["base_samples"].hours == pytest.approx(
        one.hours * 989 / 312
    )
    assert plan_stages(on_card, card="cpu")["base_samples"].gpu_hours == 0
    student = plan_stages(given={"start_s": 0, "use_cpu": 0.5, "tflops_cpu": 1})["student"]
    assert student.hours == pytest.approx(6 * 242_016 * student.tokens_read / 0.5e12 / 3600)


def test_a_model_on_the_cpu_takes_no_gpu_hours():
    assert all(one.gpu_hours == 0 for one in plan_stages().values())


def test_a_teacher_that_is_served_elsewhere_costs_by_the_token():
    def served(c):
        c["teachers"]["default"]["endpoint"] = {"url": "http://localhost/v1", "input_price": 1.0, "output_price": 4.0}

    one = plan_stages(served)["base_samples"]
    assert one.gpu_hours == one.hours == 0
    assert one.fees == pytest.approx((one.tokens_read + 4 * one.tokens_written) / 1e6)


def test_traces_that_somebody_has_are_read_and_not_written():
    def imported(c):
        c["teachers"]["default"]["traces"] = "traces.jsonl"

    sampled, read = plan_stages(), plan_stages(imported)
    assert read["base_samples"].tokens_written == 0 and read["base_samples"].prompts == 500 * 8
    assert read["base_samples"].tokens_read == 500 * 8 * (150 + 80)
    assert read["repairs"] == sampled["repairs"]
