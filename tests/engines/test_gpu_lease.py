"""Laws of the GPU lease, with fake devices: two processes never share a GPU, none is lost, nobody waits forever."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from heal import records
from heal.config.experiment import load
from heal.config.models import ModelSource
from heal.engines import gpu_lease
from heal.engines.show_gpus import ShowGpus
from heal.errors import HealError
from heal.pipeline.sample import SampleBase
from tests.support.paths import ROOT

# Leases GPUs, marks each by a file that must not exist yet, holds them, and frees them by ending.
HOLDER = """
import os, sys, time
from pathlib import Path
from heal.engines.gpu_lease import lease
count, seconds, marks = int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])
gpus = lease(count, dev=Path(sys.argv[4]), folder=Path(sys.argv[5]))
assert os.environ["CUDA_VISIBLE_DEVICES"] == ",".join(gpus) and len(gpus) == count, gpus
for gpu in gpus:
    (marks / gpu).touch(exist_ok=False)
print(*gpus, flush=True)
time.sleep(seconds)
for gpu in gpus:
    (marks / gpu).unlink()
"""


@pytest.fixture
def machine(tmp_path):
    """Folders of a machine with two GPUs: devices, locks, marks."""
    for name in ("dev", "marks"):
        (tmp_path / name).mkdir()
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / "dev" / name).touch()
    return tmp_path


@pytest.fixture
def clean_process(monkeypatch):
    """This process without GPUs in its environment or in its hands."""
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", "SLURM_STEP_ID"):
        monkeypatch.setenv(name, "")  # so that it is put back at the end
        monkeypatch.delenv(name)
    monkeypatch.setattr(gpu_lease, "_held", {})
    return monkeypatch


def start_holder(machine, count, seconds, cwd=ROOT, **extra):
    clean = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES" and not k.startswith("SLURM_")}
    arguments = [str(count), str(seconds), *(str(machine / name) for name in ("marks", "dev", "locks"))]
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, *arguments],
        cwd=cwd,
        env=clean | {"PYTHONPATH": str(ROOT)} | extra,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_end(process):
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.split(), err


# Another user's process: it drops root's rights after its imports. Says whether the GPU is free, then leases it.
OTHER = """
import os, sys
from pathlib import Path
from heal.engines.gpu_lease import is_free, lease, make_lock_folder
user, shared = int(sys.argv[1]), Path(sys.argv[2])
os.umask(int(sys.argv[3]))
os.setuid(user)
folder = make_lock_folder(shared / f"heal-gpus-{user}")
print("free" if is_free("0", folder) else "taken", flush=True)
print(*lease(1, dev=shared / "dev", folder=folder), flush=True)
sys.stdin.read()
"""


needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can start a process of another user")


@pytest.fixture
def shared():
    """A folder like /tmp, for the locks of several users, and a device file of one GPU."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o1777)
        os.mkdir(f"{folder}/dev")
        open(f"{folder}/dev/nvidia0", "w").close()
        yield folder


def start_as(user, shared, umask=0o022):
    clean = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES" and not k.startswith("SLURM_")}
    return subprocess.Popen(
        [sys.executable, "-c", OTHER, str(user), shared, str(umask)],
        cwd=ROOT,
        env=clean | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@needs_root
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_two_users_see_each_other_s_leases(shared, umask):
    """The first that leases the only GPU keeps it from the second until it ends."""
    first = start_as(65533, shared, umask)
    assert [first.stdout.readline(), first.stdout.readline()] == ["free\n", "0\n"], first.communicate("")[1]
    second = start_as(65534, shared, umask)
    assert second.stdout.readline() == "taken\n"
    assert "waiting for 1 of 1" in second.stderr.readline()
    first.communicate("")
    assert second.stdout.readline() == "0\n", "freed by the first user's end"
    third = start_as(65533, shared, umask)
    assert third.stdout.readline() == "taken\n", "also where that user's own file is free"
    for process in (second, third):
        process.kill()
        process.communicate()


@needs_root
def test_locks_that_another_user_has_closed_keep_nobody_from_a_gpu(shared):
    closed = Path(shared) / "heal-gpus-65533"
    closed.mkdir(mode=0o700)
    os.chown(closed, 65533, 65533)
    out, err = start_as(65534, shared).communicate("", timeout=60)
    assert out.split() == ["free", "0"], err


def test_gpus_are_counted_by_their_device_files_or_named_by_the_environment(machine):
    assert gpu_lease.list_visible_gpus(machine / "dev", {}) == ["0", "1"]
    assert gpu_lease.list_visible_gpus(machine, {}) == []
    for named, gpus in {
        "": [],
        "-1": [],
        "NoDevFiles": [],
        "3": ["3"],
        "2, 0,2": ["2", "0"],
        "0,-1,1": ["0"],
        "GPU-1f,MIG-2a": ["GPU-1f", "MIG-2a"],
    }.items():
        assert gpu_lease.list_visible_gpus(machine / "dev", {"CUDA_VISIBLE_DEVICES": named}) == gpus, named


def test_without_a_gpu_nothing_happens(clean_process, tmp_path):
    assert gpu_lease.lease(1, dev=tmp_path, folder=tmp_path / "locks") == []
    assert "CUDA_VISIBLE_DEVICES" not in os.environ and not (tmp_path / "locks").exists()


def test_a_job_that_wants_no_gpu_sees_none(clean_process, machine):
    clean_process.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert gpu_lease.lease(0, folder=machine / "locks") == []
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_a_second_lease_of_one_process_is_the_first_and_a_wish_beyond_the_machine_is_capped(
    clean_process, machine, capsys
):
    clean_process.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert gpu_lease.lease(3, folder=machine / "locks") == ["5", "7"] == gpu_lease.lease(1) == gpu_lease.leased()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5,7"
    assert "3 GPUs requested, 2 visible" in capsys.readouterr().err


def test_two_clones_never_share_a_gpu_and_every_job_gets_its_turn(machine):
    """Eight jobs of one or two gpus from two folders on two gpus; a shared gpu would fail on its mark."""
    clones = [machine / "a", machine / "b"]
    for clone in clones:
        clone.mkdir()
    jobs = [
        start_holder(machine, count, 0.2, cwd=clones[index % 2]) for index, count in enumerate([1, 2, 1, 1, 2, 1, 2, 1])
    ]
    taken = [wait_for_end(job)[0] for job in jobs]
    assert {gpu for gpus in taken for gpu in gpus} == {"0", "1"}
    assert not list((machine / "marks").iterdir())


def test_a_killed_job_frees_its_gpu_and_the_waiting_one_says_that_it_waits(machine):
    first = start_holder(machine, 2, 600)
    assert first.stdout.readline().split() == ["0", "1"]
    second = start_holder(machine, 1, 0)
    assert "waiting for 1 of 2" in second.stderr.readline()
    assert second.poll() is None
    for mark in (machine / "marks").iterdir():  # which the first can no longer do, and before the second takes over
        mark.unlink()
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert len(wait_for_end(second)[0]) == 1


def test_a_job_that_wants_two_gpus_is_not_overtaken_by_those_that_want_one(machine):
    first = start_holder(machine, 1, 3)
    first.stdout.readline()
    both = start_holder(machine, 2, 0.5)
    assert "waiting for 2 of 2" in both.stderr.readline()
    last = start_holder(machine, 1, 0)
    assert "waiting for 1 of 2" in last.stderr.readline()  # though one gpu is free
    assert wait_for_end(both)[0] == ["0", "1"]
    wait_for_end(first), wait_for_end(last)


def test_slurm_jobs_each_have_a_first_gpu_and_one_jobs_processes_do_not_share_it(machine):
    """In SLURM both gpus may be called 0: jobs 7 and 8 must not wait for each other, a second process of 7 must."""
    first = start_holder(machine, 1, 600, CUDA_VISIBLE_DEVICES="0", SLURM_JOB_ID="7", SLURM_STEP_ID="0")
    assert first.stdout.readline().split() == ["0"]
    (machine / "marks/0").unlink()
    other = start_holder(machine, 1, 0, CUDA_VISIBLE_DEVICES="0", SLURM_JOB_ID="8", SLURM_STEP_ID="0")
    assert wait_for_end(other) == (["0"], "")
    same = start_holder(machine, 1, 0, CUDA_VISIBLE_DEVICES="0", SLURM_JOB_ID="7", SLURM_STEP_ID="0")
    assert "waiting" in same.stderr.readline()
    for process in (first, same):
        process.kill()
        process.communicate()


def test_a_lock_folder_that_others_can_change_is_refused(clean_process, tmp_path):
    clean_process.setenv("CUDA_VISIBLE_DEVICES", "0")
    shared, link, file = tmp_path / "shared", tmp_path / "link", tmp_path / "file"
    shared.mkdir()
    shared.chmod(0o777)
    (tmp_path / "own").mkdir(mode=0o700)
    link.symlink_to(tmp_path / "own")
    file.touch()
    for folder in (shared, link, file):
        with pytest.raises(HealError, match="not a folder that this user alone can change"):
            gpu_lease.lease(1, folder=folder)
    assert gpu_lease.lease(1, folder=tmp_path / "own") == ["0"]


COMMANDS = {
    "sample base": "--problems {problems} --out {out} --model.path heal/worlds/mini/models/teacher",
    "train": "--curriculum {problems} --out {out} --model.path heal/worlds/mini/models/student",
    "evaluate": "--problems . --benchmarks mini_easy --out {out} --model.path heal/worlds/mini/models/student",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_with_a_model_waits_for_its_gpu(command, tmp_path):
    """With the user's own lock folder, and a GPU that no machine has."""
    gpu = f"test-{os.getpid()}-{command.split()[0]}"
    records.write(tmp_path / "problems.parquet", "problems", [])
    locks = gpu_lease.wait_for([gpu], 1, gpu_lease.make_lock_folder())
    arguments = COMMANDS[command].format(problems=tmp_path / "problems.parquet", out=tmp_path / "out")
    process = subprocess.Popen(
        [sys.executable, "-m", "heal", *command.split(), *arguments.split()],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if not k.startswith("SLURM_")} | {"CUDA_VISIBLE_DEVICES": gpu},
        stderr=subprocess.PIPE,
        text=True,
    )
    watchdog = threading.Timer(120, process.kill)
    watchdog.start()
    try:
        assert "GPU: waiting for 1 of 1" in process.stderr.readline()
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()
        for lock in locks.values():
            lock.release()
        for file in gpu_lease.make_lock_folder().glob(f"*{gpu}*"):
            file.unlink()


@pytest.mark.parametrize(
    ("cuda", "usable", "message"),
    [
        (None, 0, "is a build for the CPU.*requirements/gpu.txt"),
        (
            "13.0",
            0,
            "finds 0 of 2 leased GPUs: it was built for CUDA 13.0, the NVIDIA driver is 535.1.*install a driver",
        ),
        ("13.0", 1, "finds 1 of 2 leased GPUs"),
    ],
)
def test_a_leased_gpu_that_torch_cannot_use_is_an_error(monkeypatch, cuda, usable, message):
    """Otherwise the job would run on the CPU and book GPU seconds."""
    monkeypatch.setattr("torch.version.cuda", cuda)
    monkeypatch.setattr("torch.cuda.is_available", lambda: usable > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: usable)
    monkeypatch.setattr(gpu_lease, "read_driver_version", lambda: "535.1")
    with pytest.raises(HealError, match=f"(?s)GPU 0, 1: .*{message}"):
        gpu_lease.check_torch(["0", "1"])
    gpu_lease.check_torch([])


def test_gpus_that_torch_can_use_pass(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    gpu_lease.check_torch(["0", "1"])


def test_training_never_runs_on_the_cpu_with_a_leased_gpu(tmp_path):
    """Neither in the process that leases nor in those that torchrun starts."""
    gpu = f"test-{os.getpid()}-cpu"
    flags = COMMANDS["train"].format(problems=tmp_path / "none.jsonl", out=tmp_path / "out")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    try:
        for module, variables in (("heal train", {}), ("heal.training.train", {"WORLD_SIZE": "2", "RANK": "1"})):
            run = subprocess.run(
                [sys.executable, "-m", *module.split(), *flags.split()],
                cwd=ROOT,
                env=clean | {"CUDA_VISIBLE_DEVICES": gpu} | variables,
                capture_output=True,
                text=True,
                timeout=120,
            )
            assert run.returncode and "torch" in run.stderr and f"GPU {gpu}" in run.stderr, run.stderr
    finally:
        for file in gpu_lease.make_lock_folder().glob(f"*{gpu}*"):
            file.unlink()


def test_a_killed_job_resumes_with_another_number_of_gpus(tmp_path):
    """The number of GPUs is not part of what names the folder of finished batches; the seed is."""
    engine = SimpleNamespace(settings={})
    model = ModelSource(path=str(ROOT / "heal/worlds/mini/models/teacher"))
    works = []
    for gpus, seed in ((1, 0), (2, 0), (2, 1)):
        command = SampleBase(problems=tmp_path, out=tmp_path / str(gpus), model=model, gpus=gpus, seed=seed)
        works.append(records.hash_content(command.describe_work(engine, ["p"])))
    assert works[0] == works[1] != works[2]


def test_show_gpus_lists_free_and_taken(clean_process, tmp_path, capsys):
    clean_process.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    clean_process.setattr(gpu_lease, "make_lock_folder", lambda: tmp_path)
    locks = gpu_lease.wait_for(["7"], 1, tmp_path)
    ShowGpus().run()
    assert capsys.readouterr().out == "GPU 5: free\nGPU 7: taken\n"
    locks["7"].release()
    ShowGpus().run()
    assert "GPU 7: free" in capsys.readouterr().out


@pytest.mark.parametrize("config", ["config.yaml", *sorted(path.name for path in ROOT.glob("config/mini_*.yaml"))])
def test_the_mini_world_stays_off_the_gpus(config):
    experiment = load(ROOT / "config" / config)
    assert {model.gpus for models in (experiment.teachers, experiment.students) for model in models.values()} == {0}
