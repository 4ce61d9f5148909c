"""The plan: it follows what the workflow would run, its numbers follow from the config, and it says what it assumes."""

import json
import re
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from heal import registry
from heal.config import experiment as config
from heal.config.data import Dataset
from heal.config.experiment import Model
from heal.errors import HealError
from heal.planning import assumptions
from heal.planning import costs as plan
from tests.support.paths import ROOT
from tests.support.planning import MINI, run_cli, setting

CONFIGS = sorted([*ROOT.glob("config/*.yaml"), *ROOT.glob("tests/configs/*.yaml")])


def stages(change=lambda content: None, **options):
    """rule → its stage, of a config with one teacher and one student."""
    return {one.rule: one for one in plan.plan(setting(change, **options))}


def without(one, *fields):
    return replace(one, **dict.fromkeys(fields, 0))


READING = ("trace_scores", "student_ranks", "student", "warm_up")  # the stages that write no tokens


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
@pytest.mark.parametrize("ablations", [False, True])
def test_every_shipped_config_can_be_planned(path, ablations):
    found = plan.plan(plan.settings(config.load(path), where=str(path), ablations=ablations))
    assert {"base_samples", "repairs", "student", "evaluate_student", "evaluate_teacher"} <= {one.rule for one in found}
    for one in found:
        assert one.jobs > 0 and one.prompts > 0 and one.tokens_read > 0 and one.hours > 0 and one.disk_bytes > 0, one
        assert (one.tokens_written > 0) == (one.rule not in READING), one


def test_twice_the_samples_are_twice_the_base_tokens_and_the_same_prompts():
    once, twice = stages(), stages(lambda c: c["sampling"].update(n=16))
    assert twice["base_samples"].tokens_written == 2 * once["base_samples"].tokens_written > 0
    assert twice["base_samples"].prompts == once["base_samples"].prompts == 500
    assert twice["student"] == once["student"]


def test_twice_the_draws_are_twice_everything_but_the_models_own_answers():
    once, twice = stages(), stages(lambda c: c.update(draws=2))
    for rule, one in once.items():
        factor = 1 if rule in ("evaluate_teacher", "evaluate_untrained") else 2
        for field in ("jobs", "prompts", "tokens_read", "tokens_written", "hours"):
            assert getattr(twice[rule], field) == pytest.approx(factor * getattr(one, field)), (rule, field)


def test_a_method_that_needs_nothing_new_adds_students_and_their_answers_only():
    once = stages()
    more = stages(lambda c: c["methods"].update(mixed={"kind": "heal", "pace": {"schedule": "mixed"}}))
    assert more["student"].jobs == once["student"].jobs + 3
    assert more["evaluate_student"].jobs == once["evaluate_student"].jobs + 3
    for rule in once.keys() - {"student", "evaluate_student"}:
        assert more[rule] == once[rule], rule


def test_another_cut_adds_repairs_of_its_own():
    once, more = stages(), stages(lambda c: c["methods"].update(r={"kind": "heal", "gear": {"detector": "random"}}))
    for rule in ("repairs", "trace_scores"):
        assert more[rule].jobs == 2 * once[rule].jobs
        assert more[rule].prompts == pytest.approx(2 * once[rule].prompts)
    assert more["base_samples"] == once["base_samples"] and more["extra_samples"] == once["extra_samples"]


def test_extra_samples_spend_what_heal_spends_beyond_the_base_samples():
    for given in ({}, {"treated_share": 0.5, "guided_share": 0.9, "prompt_tokens": 1000}):
        found = stages(given=given)
        heal = [found[rule] for rule in ("guided_samples", "repairs", "trace_scores")]
        extra = found["extra_samples"]
        spent = sum(one.tokens_read + one.tokens_written for one in heal)
        assert extra.tokens_read + extra.tokens_written == pytest.approx(spent)


def test_no_treated_problem_is_no_repair():
    found = stages(given={"treated_share": 0})
    assert found["repairs"].tokens_written == found["repairs"].prompts == 0
    assert stages(given={"treated_share": 0.2})["repairs"].prompts == pytest.approx(500 * 0.2 * 2 * 0.9)


def test_hints_of_the_teacher_are_asked_for_before_the_repairs():
    once, asked = stages(), stages(lambda c: c["gear"]["hint"].update(source="teacher"))
    assert asked["repairs"].prompts == pytest.approx(2 * once["repairs"].prompts)
    assert asked["repairs"].tokens_written > once["repairs"].tokens_written


def test_training_follows_the_steps_or_else_the_epochs_over_what_a_method_has():
    by_steps = stages(lambda c: c["train"].update(steps=1200))["student"]
    assert by_steps.tokens_read == 2 * stages()["student"].tokens_read == 12 * 1200 * 8 * (150 + 80)

    def of(kind, epochs):
        methods = {"methods": {"one": {"kind": kind}}, "comparisons": {}}
        s = setting(lambda c: (c["train"].update(steps=None, epochs=epochs), c.update(methods)))
        return plan.optimizer_steps("one", s)

    assert of("heal", 10.0) == pytest.approx(2 * of("heal", 5.0), abs=2)
    assert of("heal", 5.0) > of("rejection_sampling", 5.0) > of("reference_sft", 5.0)
    assert of("reference_sft", 5.0) == 313  # ceil(5 · 500 / 8)


def test_a_comparison_trained_otherwise_has_students_of_its_own():
    main, further = setting(), setting(comparisons=True)
    assert set(further.names) - set(main.names) == {f"{name}_epochs" for name in main.names} | {"rs_matched_treated"}
    assert further.training["heal_epochs"].steps is None and further.training["heal"].steps == 600
    apart = plan.optimizer_steps("heal_epochs", further)
    assert apart != 600 and plan.optimizer_steps("heal", further) == 600
    longer = setting(lambda c: c["comparisons"]["epochs"]["train"].update(epochs=10.0), comparisons=True)
    assert plan.optimizer_steps("heal_epochs", longer) == pytest.approx(2 * apart, abs=2)


def test_limit_shrinks_the_plan():
    assert (
        stages(limit=40)["base_samples"].prompts == stages(lambda c: c.update(limit=40))["base_samples"].prompts == 40
    )
    assert stages(limit=40)["evaluate_teacher"].prompts == 40 + 40 + 4 * 40 + 40


def test_time_follows_from_flops_and_half_the_use_is_twice_the_time():
    def on_card(c):
        c["teachers"]["default"]["gpus"] = 2
        c["engine"]["dtype"] = "bfloat16"

    given = {"params.default": 32e9, "start_s": 0, "use_writing": 0.1, "use_reading": 0.5}
    one = stages(on_card, given=given)["base_samples"]
    seconds = 2 * 32e9 * (one.tokens_written / 0.1 + one.tokens_read / 0.5) / (2 * 989e12)
    assert one.hours == pytest.approx(seconds / 3600) and one.gpu_hours == pytest.approx(2 * one.hours)
    slower = stages(on_card, given=given | {"use_writing": 0.05, "use_reading": 0.25})["base_samples"]
    assert slower.hours == pytest.approx(2 * one.hours)
    assert stages(on_card, given=given, card="A100")["base_samples"].hours == pytest.approx(one.hours * 989 / 312)
    assert stages(on_card, card="cpu")["base_samples"].gpu_hours == 0
    student = stages(given={"start_s": 0, "use_cpu": 0.5, "tflops_cpu": 1})["student"]
    assert student.hours == pytest.approx(6 * 242_016 * student.tokens_read / 0.5e12 / 3600)


def test_a_model_on_the_cpu_takes_no_gpu_hours():
    assert all(one.gpu_hours == 0 for one in stages().values())


def test_a_teacher_that_is_served_elsewhere_costs_by_the_token():
    def served(c):
        c["teachers"]["default"]["endpoint"] = {"url": "http://localhost/v1", "input_price": 1.0, "output_price": 4.0}

    one = stages(served)["base_samples"]
    assert one.gpu_hours == one.hours == 0
    assert one.fees == pytest.approx((one.tokens_read + 4 * one.tokens_written) / 1e6)


def test_traces_that_somebody_has_are_read_and_not_written():
    def imported(c):
        c["teachers"]["default"]["traces"] = "traces.jsonl"

    sampled, read = stages(), stages(imported)
    assert read["base_samples"].tokens_written == 0 and read["base_samples"].prompts == 500 * 8
    assert read["base_samples"].tokens_read == 500 * 8 * (150 + 80)
    assert read["repairs"] == sampled["repairs"]


def test_parameters_come_from_the_command_line_the_folder_or_the_name(tmp_path):
    def size(path, given=None):
        return sized(path, given).total

    def sized(path, given=None):
        revision = None if Path(path).is_dir() else "0" * 40
        return assumptions.size_of(Model(path=path, revision=revision), "teachers.big", given)

    assert size("Qwen/Qwen3-32B") == 32e9 and size("Qwen/Qwen3-0.6B-Base") == 0.6e9
    assert size("HuggingFaceTB/SmolLM2-135M-Instruct") == 135e6 and size("meta-llama/Llama-3.1-8B") == 8e9
    moe = sized("Qwen/Qwen3-30B-A3B")
    assert (moe.total, moe.active) == (30e9, 3e9)
    assert size("Qwen/Qwen3-32B", 7.0) == 7
    folder = tmp_path / "Model-70B"
    folder.mkdir()
    save_file({"w": np.zeros((3, 4)), "b": np.zeros(5)}, folder / "model.safetensors", metadata={"a": "b"})
    assert size(str(folder)) == 17
    for damaged in (b"", b"\xff" * 8, struct.pack("<Q", 5) + b"{]"):
        (folder / "model.safetensors").write_bytes(damaged)
        with pytest.raises(HealError, match="no safetensors header"):
            size(str(folder))


def test_an_unknown_model_size_is_refused_with_the_cure(capsys, tmp_path):
    path = tmp_path / "config.yaml"
    hub = f"somebody/nameless, revision: {'a' * 40}"
    path.write_text(MINI.read_text().replace("heal/worlds/mini/models/teacher", hub))
    status, output, said = run_cli(capsys, "plan", "--config", path)
    assert status == 2 and output == ""
    for part in (str(path), "teachers.default.path", "somebody/nameless", "--assume params.default="):
        assert part in said
    assert run_cli(capsys, "plan", "--config", path, "--assume", "params.default=8e9")[0] == 0


def test_problems_of_a_file_are_counted_and_an_absent_one_is_refused_with_the_cure(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps({"question": f"q{i}", "answer": "1", "kind": i % 2}) + "\n" for i in range(10)))

    def count(limit=None, **options):
        return assumptions.problem_count(Dataset(source="file", **{"path": str(path)} | options), "train", limit)

    assert count() == 10 and count(n=4) == 4 and count(n=40) == 10 and count(limit=3) == 3 and count(skip=8) == 2
    assert count(keep={"kind": [1]}) == 5
    absent = str(tmp_path / "absent.jsonl")
    with pytest.raises(HealError, match="--assume problems.train=") as refused:
        count(path=absent)
    assert absent in str(refused.value) and "not there" in str(refused.value)
    assert count(path=absent, n=7) == 7 and count(path=absent, limit=7) == 7
    parts = {"a": Dataset(source="file", path=str(path)), "b": Dataset(source="file", path=absent, n=7)}
    assert assumptions.problem_count(Dataset(source="mixture", parts=parts), "train") == 17
    assert assumptions.problem_count(Dataset(source="mixture", parts=parts, n=12, skip=2), "train") == 12


def test_benchmarks_are_read_as_lm_eval_reads_them():
    found = assumptions.benchmarks(["mini_hard", "mini_hard_sampled"])
    assert found["mini_hard"] == assumptions.Benchmark("hard", 1, 160)
    assert found["mini_hard_sampled"] == assumptions.Benchmark("hard", 4, 160)
    assert assumptions.benchmarks(registry.benchmarks()).keys() == registry.benchmarks().keys()


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("treated_shar=0.3", "did you mean 'treated_share'?"),
        ("problems.trian=3", "did you mean 'problems.train'?"),
        ("params.tinny=3", "did you mean 'params.tiny'?"),
        ("treated_share=1.5", "from 0 to 1"),
        ("use_writing=0", "above 0"),
        ("treated_share", "KEY=VALUE"),
        ("treated_share=much", "KEY=VALUE"),
        ("treated_share=-1", "KEY=VALUE"),
        ("treated_share=nan", "KEY=VALUE"),
    ],
)
def test_a_wrong_assumption_is_refused(capsys, word, said):
    status, output, error = run_cli(capsys, "plan", "--config", MINI, "--assume", word)
    assert status == 2 and output == "" and "--assume" in error and said in error


def test_an_unknown_card_is_refused(capsys):
    status, _, error = run_cli(capsys, "plan", "--config", MINI, "--card", "H1000")
    assert status == 2 and "H1000" in error and "H100" in error


def test_the_table_fits_a_terminal_adds_up_and_names_every_assumption(capsys, tmp_path):
    table = tmp_path / "plan.csv"
    words = ["plan", "--config", ROOT / "config/paper.yaml", "--price", 2, "--cards", 8, "--csv", table]
    if not (ROOT / "config/paper.yaml").exists():
        words[2] = MINI
    status, output, _ = run_cli(capsys, *words)
    assert status == 0 and max(map(len, output.splitlines())) <= 120
    frame = pd.read_csv(table)
    assert (frame["money"] == 2 * frame["gpu_hours"] + frame["fees"]).all()
    total = re.search(r"^total +([\d,]+) +([\d,]+) +([\d,]+) +([\d,]+)", output, re.MULTILINE)
    shown = [int(number.replace(",", "")) for number in total.groups()]
    fields = ["jobs", "prompts", "tokens_read", "tokens_written"]
    assert shown == pytest.approx([frame[field].sum() for field in fields], abs=1)
    assert "A plan, not a measurement" in output
    for key in assumptions.defaults(config.load(MINI), "H100"):
        assert re.search(rf"^{key} ", output, re.MULTILINE), key
