"""`heal check` on the machine: driver, GPUs and their memory, main memory, disk."""

from dataclasses import replace

import pytest
import torch

from heal.config import experiment as config
from heal.config.models import Lora, Model, Train
from heal.config.run_config import RunConfig
from heal.errors import HealError
from heal.hardware import read_driver_version
from heal.planning import shapes
from heal.planning.costs import plan_costs
from heal.planning.inputs import collect_inputs
from heal.planning.memory import estimate_checkpoint_bytes, estimate_generation_memory, estimate_training_memory
from heal.planning.preflight import machine as machines
from heal.planning.preflight.check import Check, find_faults
from heal.planning.preflight.findings import Caution
from heal.planning.preflight.host import check_disk, check_host_memory
from heal.planning.preflight.machine import Machine, check_driver, check_gpu_count, describe_machine
from tests.support.planning import MINI, make_experiment

OPEN_MODULE = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {}  Release Build  (builder)\nGCC version: 12\n"
CLOSED_MODULE = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {}  Sun Jul 13 16:00:00 UTC 2025\nGCC version: 11\n"


def list_findings(change, machine):
    run_config = RunConfig(make_experiment(change), "config")
    return list(find_faults(run_config, machine))


@pytest.mark.parametrize("text", [OPEN_MODULE, CLOSED_MODULE])
def test_the_driver_is_read_from_the_kernel(text, tmp_path):
    path = tmp_path / "version"
    assert read_driver_version(path) is None
    path.write_text(text.format("570.133.20"))
    assert read_driver_version(path) == "570.133.20"


@pytest.fixture
def on_gpus(monkeypatch, tmp_path):
    """check_driver on a machine with a GPU that torch for CUDA 13 cannot use, with this driver."""

    def run(driver, cuda="13.0", usable=False, gpus=1):
        path = tmp_path / "version"
        path.write_text(OPEN_MODULE.format(driver))
        monkeypatch.setattr(torch.version, "cuda", cuda)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: usable)
        monkeypatch.setattr(machines, "list_visible_gpus", lambda: ["0"])
        return check_driver(make_experiment(lambda c: c["teachers"]["default"].update(gpus=gpus)), path)

    return run


def test_a_driver_that_is_too_old_is_named_with_the_one_that_is_needed(on_gpus):
    with pytest.raises(HealError, match="570.133.20 is too old: torch for CUDA 13.0 needs 580") as refused:
        on_gpus("570.133.20")
    assert "install driver 580" in refused.value.fix
    with pytest.raises(HealError, match="finds no GPU"):
        on_gpus("580.65.06")
    on_gpus("570.133.20", usable=True)  # NVIDIA's forward compatibility


def test_a_torch_without_cuda_next_to_a_gpu_says_which_lock_to_install(on_gpus):
    with pytest.raises(HealError, match="build without CUDA") as refused:
        on_gpus("580.65.06", cuda=None)
    assert "make env LOCK=gpu" in refused.value.fix


def test_models_on_the_cpu_need_no_driver(monkeypatch, tmp_path):
    path = tmp_path / "version"
    path.write_text(OPEN_MODULE.format("470.1.1"))
    monkeypatch.setattr(machines, "list_visible_gpus", lambda: ["0"])

    def on_cpu(content):
        for model in (*content["teachers"].values(), *content["students"].values()):
            model["gpus"] = 0

    check_driver(make_experiment(on_cpu), path)


def test_more_shards_than_run_at_once_cost_starts():
    def change(content):
        content["teachers"]["default"]["gpus"] = 2
        content["sampling"]["shards"] = 4

    def check(gpus):
        return [str(one) for one in check_gpu_count(make_experiment(change), describe_machine("H100", gpus))]

    assert not any("shards" in text for text in check(8))
    (text,) = check(4)
    assert "sampling.shards: 4 shards of teachers.default, of which 4 GPUs run 2 at once" in text
    assert "set it to 2" in text


@pytest.mark.parametrize(("preset", "gpus"), [("single_gpu", 1), ("paper", 8)])
def test_the_presets_fit_the_gpus_they_are_for_and_start_one_engine_each(preset, gpus):
    experiment = config.load(f"config/{preset}.yaml")
    machine = describe_machine("H100", gpus)
    assert list(check_gpu_count(experiment, machine)) == []
    inputs = collect_inputs(RunConfig(experiment, preset))
    for label, shape in inputs.shapes.items():
        size = inputs.sizes[label]
        role, name = label.split(".")
        model = getattr(experiment, role)[name]
        memory = estimate_generation_memory(size, shape, experiment.engine, model.gpus)
        room = memory.count_cached_tokens(machine.gpu_bytes, experiment.engine.gpu_memory_utilization)
        assert room > experiment.engine.max_length, label
        if role == "students":
            assert estimate_training_memory(size, shape, experiment.train, model.gpus) < 0.8 * machine.gpu_bytes, label


def test_full_training_needs_at_least_sixteen_bytes_per_parameter_and_gpus_share_them():
    model = Model(path="Qwen/Qwen3-4B-Base", revision="0" * 40)
    size = shapes.find_model_size(model, "students.s")
    shape = shapes.find_model_shape(model, size)
    train = Train(dtype="bfloat16", max_length=1024)
    one, two = (estimate_training_memory(size, shape, train, gpus) for gpus in (1, 2))
    assert one > 16 * 4e9 and two < 0.65 * one
    longer = estimate_training_memory(size, shape, train.model_copy(update={"max_length": 32768}), 1)
    assert longer > one + 1e9


def test_a_gpu_that_is_too_small_is_named_with_what_is_needed():
    small = Machine(1, 2**20, "Tiny", None, None)

    def change(content):
        content["teachers"]["default"]["gpus"] = 1
        content["students"]["tiny"]["gpus"] = 1

    faults = [str(one) for one in list_findings(change, small) if not isinstance(one, Caution)]
    text = "\n".join(faults)
    assert "teachers.default.gpus" in text and "students.tiny.gpus" in text
    assert "of 1 × Tiny can be used" in text and "of which 0.0 GiB can be used" in text
    assert "use dtype bfloat16, a lower engine.max_length" in text and "more gpus, train.lora" in text


def test_what_does_not_fit_one_gpu_may_fit_two():
    model = Model(path="Qwen/Qwen3-32B", revision="0" * 40)
    size = shapes.find_model_size(model, "teachers.t")
    shape = shapes.find_model_shape(model, size)
    engine = config.Engine(backend="vllm", dtype="bfloat16")
    rooms = {
        gpus: estimate_generation_memory(size, shape, engine, gpus).count_cached_tokens(80e9, 0.9) for gpus in (1, 2)
    }
    assert rooms[1] < 32768 < rooms[2]
    assert estimate_generation_memory(size, shape, engine, 1).cache_per_token == 64 * 2 * 8 * 128 * 2


def test_main_memory_and_disk_are_held_against_the_plan():
    inputs = collect_inputs(RunConfig(config.load("config/paper.yaml"), "paper"))
    tasks = plan_costs(inputs)
    machine = Machine(8, 80e9, "H100", 256e9, 500e9)
    (fault,) = check_host_memory(tasks, machine)
    assert fault.where == "models, qwen3_14b"
    assert "train_student" in fault.problem and "256 GB are there" in fault.problem
    *_, fault = check_host_memory(tasks, Machine(host_bytes=1e9))
    assert "there is no GPU here" in fault.problem and "--gpu" in fault.fix
    (fault,) = check_disk(inputs, tasks, machine)
    assert "500 GB are free" in fault.problem and fault.where == "results/"
    large = replace(machine, host_bytes=2e12, disk_bytes=1e13)
    described = replace(machine, host_bytes=None, disk_bytes=None)
    for other in (large, described):
        assert [*check_host_memory(tasks, other), *check_disk(inputs, tasks, other)] == []


def test_gpus_without_their_type_are_refused(monkeypatch):
    with pytest.raises(HealError, match="type is unknown"):
        Check(config=MINI, gpus=8).run()
    with pytest.raises(HealError, match="unknown GPU type"):
        Check(config=MINI, gpu="H1000", fields_only=True).run()


def test_a_checkpoint_holds_weights_and_both_moments_of_what_is_trained():
    size = shapes.ModelSize(596e6, 596e6, "test")
    assert estimate_checkpoint_bytes(size, Train()) == 12 * size.total
    assert estimate_checkpoint_bytes(size, Train(lora=Lora())) < 0.05 * 12 * size.total
