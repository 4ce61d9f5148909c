"""The machine that a run is checked for: this one, or GPUs that are described (`--gpu H100 --gpus 8`).

Checks the driver and the number of GPUs.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from heal.config.experiment import Experiment
from heal.engines.gpu_lease import list_visible_gpus
from heal.errors import HealError
from heal.hardware import DRIVER_FILE, read_driver_version
from heal.planning.gpus import find_gpu
from heal.planning.inputs import list_models
from heal.planning.preflight.findings import Caution, Findings

MINIMUM_DRIVERS = {13: "580", 12: "525"}
"""Major version of CUDA → oldest NVIDIA driver that runs it (docs.nvidia.com/deploy/cuda-compatibility, table 1)."""


@dataclass(frozen=True)
class Machine:
    """What a run has."""

    gpus: int = 0
    gpu_bytes: float = 0.0
    """Memory of one GPU."""
    gpu_name: str = ""
    host_bytes: float | None = None
    """Main memory; None: not checked, the machine is only described."""
    disk_bytes: float | None = None
    """Free space below results/; None as for the main memory."""

    def count_job_gpus(self, wanted: int) -> int:
        """GPUs that a job gets: as many as it asks for, or as there are."""
        return min(wanted, self.gpus)


def describe_machine(gpu: str, gpus: int) -> Machine:
    """Another machine than this one. Raises HealError for an unknown GPU type."""
    return Machine(gpus if gpu != "cpu" else 0, find_gpu(gpu).memory_bytes, gpu)


def detect_machine(results: Path = Path("results")) -> Machine:
    """This machine."""
    import torch

    host_bytes = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    disk_bytes = float(shutil.disk_usage(results if results.exists() else Path.cwd()).free)
    if not torch.cuda.is_available():
        return Machine(host_bytes=host_bytes, disk_bytes=disk_bytes)
    first = torch.cuda.get_device_properties(0)
    return Machine(torch.cuda.device_count(), float(first.total_memory), first.name, host_bytes, disk_bytes)


def check_driver(experiment: Experiment, driver_file: Path = DRIVER_FILE) -> None:
    """Raises HealError where there are GPUs here that torch cannot use, because of the driver or of torch's build."""
    import torch

    wanted = experiment.engine.device != "cpu" and any(model.gpus for model in list_models(experiment).values())
    driver = read_driver_version(driver_file)
    if not wanted or driver is None or torch.cuda.is_available() or not list_visible_gpus():
        return
    if torch.version.cuda is None:
        fix = "make env LOCK=gpu; or set `gpus: 0` of the models to run them on the CPU"
        raise HealError(
            "there are GPUs, but torch is a build without CUDA", where=f"torch {torch.__version__}", fix=fix
        )
    minimum = MINIMUM_DRIVERS.get(int(torch.version.cuda.partition(".")[0]))
    problem = f"NVIDIA driver {driver}, with which torch for CUDA {torch.version.cuda} finds no GPU"
    if minimum and parse_version(driver) < parse_version(minimum):
        problem = f"NVIDIA driver {driver} is too old: torch for CUDA {torch.version.cuda} needs {minimum} or newer"
        raise HealError(problem, where=str(driver_file), fix=f"install driver {minimum} or newer, and start again")
    raise HealError(problem, where=str(driver_file), fix="see `nvidia-smi`, and `python -m torch.utils.collect_env`")


def parse_version(text: str) -> tuple[int, ...]:
    """580.65.06 → (580, 65, 6)."""
    return tuple(map(int, text.split(".")))


def check_gpu_count(experiment: Experiment, machine: Machine) -> Findings:
    """Cautions where models get fewer GPUs than they ask for, and where shards wait for each other."""
    if not machine.gpus or experiment.engine.device == "cpu":
        return
    for field, model in list_models(experiment).items():
        if not model.endpoint and model.gpus > machine.gpus:
            problem = f"{model.gpus} GPUs are asked for, there are {machine.gpus}: it gets these"
            yield Caution(problem, where=f"{field}.gpus", fix="use a larger machine, or set it to what there is")
    yield from check_shards(experiment, machine)


def check_shards(experiment: Experiment, machine: Machine) -> Findings:
    """A caution where more shards are asked for than teachers run at once: each start of an engine takes minutes."""
    for name, teacher in experiment.teachers.items():
        if teacher.endpoint or not teacher.gpus:
            continue
        at_once = max(1, machine.gpus // teacher.gpus)
        shards = experiment.sampling.shards
        if shards > at_once:
            problem = f"{shards} shards of teachers.{name}, of which {machine.gpus} GPUs run {at_once} at once"
            fix = f"set it to {at_once}: every further shard starts an engine of its own, one after the other"
            yield Caution(problem, where="sampling.shards", fix=fix)
