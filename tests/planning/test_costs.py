"""The plan: it follows what the workflow would run, its numbers follow from the config, and it says what it assumes."""

from dataclasses import replace

import pytest

from heal.config.run_config import read_run_config
from heal.cost import price_tokens
from heal.planning.costs import plan_costs
from heal.planning.hours import estimate_read_price
from heal.planning.inputs import collect_inputs
from heal.planning.report import Plan
from heal.planning.tokens import estimate_greedy_samples, estimate_optimizer_steps
from tests.support.paths import ROOT
from tests.support.planning import make_inputs, write_config

CONFIGS = sorted([*ROOT.glob("config/*.yaml"), *ROOT.glob("tests/configs/*.yaml")])


def plan_tasks(change=lambda content: None, **options):
    """rule → its task, of a config with one teacher and one student."""
    return {one.rule: one for one in plan_costs(make_inputs(change, **options))}


def set_to_zero(one, *fields):
    return replace(one, **dict.fromkeys(fields, 0))


READING = (
    "score_traces",
    "score_guided",
    "rank_samples",
    "rank_repairs",
    "train_student",
    "warm_up_model",
    "plan_cuts",
)  # the rules that write no tokens


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
@pytest.mark.parametrize("ablations", [False, True])
def test_every_shipped_config_can_be_planned(path, ablations):
    tasks = plan_costs(collect_inputs(read_run_config(path), ablations=ablations))
    assert {"sample_base", "repair_traces", "train_student", "evaluate_student", "evaluate_teacher"} <= {
        one.rule for one in tasks
    }
    for one in tasks:
        assert one.jobs > 0 and one.prompts > 0 and one.tokens_read > 0 and one.hours > 0 and one.disk_bytes > 0, one
        assert (one.tokens_written > 0) == (one.rule not in READING), one


def test_twice_the_samples_are_twice_the_base_tokens_and_the_same_prompts():
    once, twice = plan_tasks(), plan_tasks(lambda c: c["sampling"].update(n=16))
    assert twice["sample_base"].tokens_written == 2 * once["sample_base"].tokens_written > 0
    assert twice["sample_base"].prompts == once["sample_base"].prompts == 500
    assert twice["train_student"] == once["train_student"]


def test_twice_the_teacher_seeds_are_twice_everything_but_the_models_own_answers():
    once, twice = plan_tasks(), plan_tasks(lambda c: c.update(teacher_seeds=2))
    for rule, one in once.items():
        factor = 1 if rule in ("evaluate_teacher", "evaluate_untrained") else 2
        for field in ("jobs", "prompts", "tokens_read", "tokens_written", "hours"):
            assert getattr(twice[rule], field) == pytest.approx(factor * getattr(one, field)), (rule, field)


def test_a_method_that_needs_nothing_new_adds_students_and_their_answers_only():
    once = plan_tasks()
    more = plan_tasks(lambda c: c["methods"].update(mixed={"method": "heal", "pace": {"schedule": "mixed"}}))
    assert more["train_student"].jobs == once["train_student"].jobs + 1
    assert more["evaluate_student"].jobs == once["evaluate_student"].jobs + 1
    for rule in once.keys() - {"train_student", "evaluate_student"}:
        assert more[rule] == once[rule], rule


def test_seeds_that_share_a_job_share_its_start_and_nothing_else():
    apart, together = (plan_tasks(lambda c, n=n: c.update(seeds_per_job=n), assume={"start_s": 60}) for n in (1, 2))
    for rule, one in apart.items():
        other = together[rule]
        groups = 2 / 3 if rule in ("train_student", "evaluate_student") else 1  # seeds 0 and 1; seed 2
        assert other.jobs == groups * one.jobs
        assert other.hours == pytest.approx(one.hours - (one.jobs - other.jobs) * 60 / 3600)
        for field in ("prompts", "tokens_read", "tokens_written", "disk_bytes", "host_bytes"):
            assert getattr(other, field) == getattr(one, field), (rule, field)


def test_another_cut_adds_repairs_of_its_own():
    once, more = (
        plan_tasks(),
        plan_tasks(lambda c: c["methods"].update(r={"method": "heal", "gear": "random_cut"})),
    )
    for rule in ("repair_traces", "score_traces"):
        assert more[rule].jobs == 2 * once[rule].jobs
        assert more[rule].prompts == pytest.approx(2 * once[rule].prompts)
    assert more["sample_base"] == once["sample_base"] and more["sample_extra"] == once["sample_extra"]


def test_extra_samples_spend_what_heal_spends_beyond_the_base_samples():
    for assumed in ({}, {"treated_share": 0.5, "guided_share": 0.9, "prompt_tokens": 1000}):
        tasks = plan_tasks(assume=assumed)
        heal = [tasks[rule] for rule in ("sample_guided", "score_guided", "repair_traces", "score_traces")]
        extra = tasks["sample_extra"]
        price = make_inputs().experiment.cost.read_price
        greedy = estimate_greedy_samples(make_inputs(assume=assumed)).scale(make_inputs().experiment.teacher_seeds)
        spent = sum(price_tokens(one.tokens_written, one.tokens_read, price) for one in heal)
        spent -= price_tokens(greedy.written, greedy.read, price)  # for the premise, not for HEAL
        assert price_tokens(extra.tokens_written, extra.tokens_read, price) == pytest.approx(spent)


def test_a_cheaper_read_token_makes_scoring_buy_fewer_samples():
    counts = [
        plan_tasks(lambda c, price=price: c["cost"].update(read_price=price))["sample_extra"].tokens_written
        for price in (0.1, 0.4, 1.0)
    ]
    assert counts == sorted(counts) and counts[0] < counts[2]


@pytest.mark.parametrize("preset", ["single_gpu", "paper"])
def test_the_price_of_a_read_token_is_what_the_plan_estimates(preset):
    run_config = read_run_config(ROOT / f"config/{preset}.yaml")
    inputs = collect_inputs(run_config)
    (teacher,) = run_config.experiment.teachers
    price = estimate_read_price(inputs, f"teachers.{teacher}")
    assert price / 1.5 < run_config.experiment.cost.read_price < 1.5 * price
    faster = collect_inputs(run_config, assume={"use_reading": 0.8})
    assert estimate_read_price(faster, f"teachers.{teacher}") == pytest.approx(price / 2, rel=0.05)


def test_no_treated_problem_is_no_repair():
    tasks = plan_tasks(assume={"treated_share": 0})
    assert tasks["repair_traces"].tokens_written == tasks["repair_traces"].prompts == 0
    assert plan_tasks(assume={"treated_share": 0.2})["repair_traces"].prompts == pytest.approx(500 * 0.2 * 2 * 0.9)


def test_hints_of_the_teacher_are_asked_for_before_the_repairs():
    once, with_hints = plan_tasks(), plan_tasks(lambda c: c["gear"]["hint"].update(source="teacher"))
    assert with_hints["repair_traces"].prompts == pytest.approx(2 * once["repair_traces"].prompts)
    assert with_hints["repair_traces"].tokens_written > once["repair_traces"].tokens_written


def test_training_follows_the_steps_or_else_the_epochs_over_what_a_method_has():
    by_steps = plan_tasks(lambda c: c["train"].update(max_steps=1200))["train_student"]
    assert by_steps.tokens_read == 2 * plan_tasks()["train_student"].tokens_read == 12 * 1200 * 8 * (150 + 80)

    def of(method, epochs):
        changed = {"methods": {"one": {"method": method}}, "comparisons": {}, "pace": {"max_per_problem": 4}}
        inputs = make_inputs(lambda c: (c["train"].update(max_steps=None, epochs=epochs), c.update(changed)))
        return estimate_optimizer_steps(inputs, "one")

    assert of("heal", 10.0) == pytest.approx(2 * of("heal", 5.0), abs=2)
    assert of("heal", 5.0) > of("rejection_sampling", 5.0) > of("reference_sft", 5.0)
    assert of("reference_sft", 5.0) == 313  # ceil(5 · 500 / 8)


def test_a_comparison_trained_otherwise_has_students_of_its_own():
    main, further = make_inputs(), make_inputs(comparisons=True)
    own = {f"{name}_epochs" for name in main.methods}
    assert set(further.methods) - set(main.methods) == own | {"rs_matched_treated"}
    apart = estimate_optimizer_steps(further, "heal_epochs")
    assert apart != 600 and estimate_optimizer_steps(further, "heal") == 600
    longer = make_inputs(lambda c: c["comparisons"]["epochs"]["train"].update(epochs=10.0), comparisons=True)
    assert estimate_optimizer_steps(longer, "heal_epochs") == pytest.approx(2 * apart, abs=2)


def test_limit_shrinks_the_plan(tmp_path):
    tasks = plan_tasks(lambda c: c.update(limit=40))
    assert tasks["sample_base"].prompts == 40
    assert tasks["evaluate_teacher"].prompts == 40 + 40 + 4 * 40 + 40
    table, _ = Plan(config=write_config(tmp_path / "config.yaml"), limit=40).estimate()
    assert table.set_index("rule")["prompts"].to_dict() == {rule: task.prompts for rule, task in tasks.items()}


def on_two_gpus(content):
    content["teachers"]["default"]["gpus"] = 2
    content["engine"]["dtype"] = "bfloat16"
    content["engine"]["max_num_seqs"] = 64


BIG = {"params.default": 32e9, "start_s": 0.0, "step_s": 0.0}


def test_generation_takes_as_long_as_the_memory_delivers_weights_and_cache():
    inputs = make_inputs(on_two_gpus, assume=BIG | {"use_bandwidth": 0.5})
    one = {task.rule: task for task in plan_costs(inputs)}["sample_base"]
    shape, context = inputs.shapes["teachers.default"], 150 + 80 / 2
    cache = 64 * context * shape.cache_values_per_token * 2 / 2
    step = (64e9 / 2 + cache) / (3350e9 * 0.5)
    reading = 2 * 32e9 * one.tokens_read + shape.attention_flops_per_pair * 500 * 150 * 150 / 2
    tail = 8 * (160 - 80) / 2 * (64e9 / 2 + cache / 64) / (3350e9 * 0.5)  # of eight batches of 64 problems
    seconds = one.tokens_written / 64 * step + reading / (2 * 989e12 * 0.4) + tail
    assert one.hours == pytest.approx(seconds / 3600) and one.gpu_hours == pytest.approx(2 * one.hours)


def test_slower_memory_takes_longer_and_more_sequences_at_once_less():
    def hours(change=on_two_gpus, **options):
        return plan_tasks(change, assume=BIG | options.pop("assume", {}), **options)["sample_base"].hours

    assert hours(assume={"use_bandwidth": 0.125}) == pytest.approx(2 * hours(), rel=0.05)  # the default is 0.25
    assert hours(gpu="A100") == pytest.approx(3350 / 2039 * hours(), rel=0.05)  # reading depends on its FLOPs

    def more(content):
        on_two_gpus(content)
        content["engine"]["max_num_seqs"] = 128

    assert hours(more) < 0.6 * hours()
    assert hours(assume={"step_s": 0.05}) > hours()


def test_a_cache_that_is_full_bounds_the_batch():
    """A model of 150 GB leaves two GPUs of 80 GB no room: one sequence at a time."""
    narrow = plan_tasks(on_two_gpus, assume=BIG | {"params.default": 75e9})["sample_base"]
    wide = plan_tasks(on_two_gpus, assume=BIG | {"params.default": 60e9})["sample_base"]
    assert narrow.hours > 20 * wide.hours


def test_training_counts_attention_and_checkpoints():
    def train_hours(change=lambda content: None, **assumed):
        def with_gpu(content):
            content["students"]["tiny"]["gpus"] = 1
            change(content)

        return plan_tasks(with_gpu, assume={"start_s": 0.0} | assumed)["train_student"].hours

    inputs = make_inputs(assume={"start_s": 0.0})
    shape, tokens = inputs.shapes["students.tiny"], 57600 * 230
    flops = 6 * inputs.sizes["students.tiny"].active * tokens + 3 * shape.attention_flops_per_pair * tokens * 230 / 2
    assert train_hours(disk_gb_s=1e9) == pytest.approx(flops / (67e12 * 0.17) / 3600)

    def often(content):
        content["train"]["save_minutes"] = 0.001

    slow_disk = {"disk_gb_s": 0.001}
    assert train_hours(often, **slow_disk) > 2 * train_hours(**slow_disk)
    assert train_hours(use_training=0.085, disk_gb_s=1e9) == pytest.approx(2 * train_hours(disk_gb_s=1e9))


@pytest.mark.parametrize("preset", ["single_gpu", "paper"])
def test_small_students_of_the_presets_train_at_public_shares_of_the_peak(preset):
    """10 to 15 % of it in 6 FLOPs per parameter and token: what prime-rl's and TRL's users report, attention apart."""
    inputs = collect_inputs(read_run_config(ROOT / f"config/{preset}.yaml"))
    checked = 0
    for task in plan_costs(inputs):
        size = inputs.sizes.get(f"students.{task.model}")
        if task.rule == "train_student" and size.active < 5e9:
            share = 6 * size.active * task.tokens_read / (3600 * task.gpu_hours * 989e12)
            assert 0.09 < share < 0.15, (task.model, share)
            checked += 1
    assert checked


def test_cuts_are_planned_on_the_cpu():
    cuts = plan_tasks(assume={"cut_s_per_token": 1e-3})["plan_cuts"]
    assert cuts.gpu_hours == 0 and cuts.gpus == 0
    assert cuts.hours == pytest.approx(500 * 8 * 80 * 1e-3 / 3600)


def test_host_memory_of_training_grows_with_the_processes_that_load_the_model():
    def with_gpus(count):
        def change(content):
            content["students"]["tiny"]["gpus"] = count

        return plan_tasks(change, assume={"params.tiny": 14e9})["train_student"].host_bytes

    assert with_gpus(8) == pytest.approx(8 * with_gpus(1)) and with_gpus(1) > 4 * 14e9


def test_a_model_on_the_cpu_takes_no_gpu_hours():
    assert all(one.gpu_hours == 0 for one in plan_tasks().values())


def test_a_teacher_that_is_served_elsewhere_costs_by_the_token():
    def served(c):
        c["teachers"]["default"]["endpoint"] = {
            "base_url": "http://localhost/v1",
            "input_price": 1.0,
            "output_price": 4.0,
        }

    one = plan_tasks(served)["sample_base"]
    assert one.gpu_hours == one.hours == 0
    assert one.fees == pytest.approx((one.tokens_read + 4 * one.tokens_written) / 1e6)


def test_traces_that_somebody_has_are_read_and_not_written():
    def imported(c):
        c["teachers"]["default"]["traces"] = "traces.jsonl"

    sampled, read = plan_tasks(), plan_tasks(imported)
    assert read["sample_base"].tokens_written == 0 and read["sample_base"].prompts == 500 * 8
    assert read["sample_base"].tokens_read == 500 * 8 * (150 + 80)
    assert read["repair_traces"] == sampled["repair_traces"]
