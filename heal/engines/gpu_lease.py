"""Lease GPUs: each process locks the GPUs it uses, so that two jobs never share one.

Snakemake counts GPUs, but does not say which one a job gets, and knows nothing of other clones, shells and runs without
its profile. So every command that loads a model leases its GPUs itself, before torch looks for them: one lock file per
GPU, in one folder per user, which other users can read and not change. A lease locks the GPU's file of every user, so
users see each other's leases. The kernel frees a lock when its process ends, in whatever way.

Reads CUDA_VISIBLE_DEVICES, or counts /dev/nvidia*. Writes CUDA_VISIBLE_DEVICES of this process, and empty lock files
under /tmp/heal-gpus-<user id>. Inside a SLURM job step the GPUs belong to the step: only its own processes are kept
apart. A GPU that is named by index in one shell and by UUID in another counts as two. `heal gpus` lists the leases.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import stat
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from heal.errors import HealError
from heal.hardware import read_driver_version

POLL_S = 1.0
NO_GPU = ("", "-1", "NoDevFiles")  # in CUDA_VISIBLE_DEVICES; SLURM writes the last one
FOLDER = "heal-gpus-{}"
"""One user's folder of locks, by the user's id."""
_held: dict[str, Lock] = {}  # GPU → its lock, held until the process ends


class Lock:
    """Locks of all of these files, which are held until `release` or the end of the process.

    The kernel's locks, on open files: those of another user are opened for reading only, which filelock cannot.
    """

    def __init__(self, own: Path, others: Sequence[Path] = ()) -> None:
        self.own = own
        self.others = others
        self.files: list[int] = []

    def try_to_acquire(self) -> bool:
        """Acquires the lock if it is free; returns whether it is now held."""
        for path in sorted([self.own, *self.others]):  # every user tries in one order, so one of two succeeds
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | (os.O_CREAT if path == self.own else 0)
            try:
                self.files.append(os.open(path, flags, 0o644))
                if path == self.own:
                    os.fchmod(self.files[-1], 0o644)  # whatever the umask
                fcntl.flock(self.files[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.release()
                return False
            except OSError:  # of another user: there is none, or it is closed to this one
                if path == self.own:
                    raise
        return True

    def release(self) -> None:
        while self.files:
            os.close(self.files.pop())


def list_visible_gpus(dev: Path = Path("/dev"), environment: Mapping[str, str] = os.environ) -> list[str]:
    """The GPUs that this process may see, by the names that CUDA_VISIBLE_DEVICES takes."""
    names = environment.get("CUDA_VISIBLE_DEVICES")
    if names is None:
        files = [path for path in dev.glob("nvidia[0-9]*") if path.name.removeprefix("nvidia").isdigit()]
        return list(map(str, range(len(files))))  # in a container nvidia3 can be CUDA's first GPU
    gpus: list[str] = []
    for name in map(str.strip, names.split(",")):
        if name in NO_GPU:
            break  # as CUDA reads it: what follows the first invalid name is hidden too
        if name not in gpus:
            gpus.append(name)
    return gpus


def leased() -> list[str]:
    """The GPUs that this process has leased."""
    return list(_held)


def lease(count: int, *, dev: Path = Path("/dev"), folder: Path | None = None) -> list[str]:
    """Leases `count` GPUs until this process ends, hides all others from it, and returns their names.

    Waits while they are taken; leases all where fewer are visible; does nothing where none is visible. A second call
    returns what the first one leased. `dev` and `folder` (of the locks) are for tests. Raises HealError where other
    users can change the folder of this user's locks.
    """
    if _held:
        return leased()
    gpus = list_visible_gpus(dev)
    if not gpus:
        return []
    if count > len(gpus):
        print(f"{count} GPUs requested, {len(gpus)} visible: continues with these", file=sys.stderr, flush=True)
    count = min(count, len(gpus))
    if count > 0:
        _held.update(wait_for(gpus, count, make_lock_folder(folder)))
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(_held)
    return leased()


def check_torch(gpus: Sequence[str]) -> None:
    """Raises HealError where torch cannot use these GPUs: the job would run on the CPU while it holds them.

    gpus: those that this process, or the one that started it, has leased. Call it after the lease in every command that
    loads a model; it does nothing where none is leased.
    """
    if not gpus:
        return
    import torch

    visible = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if visible >= len(gpus):
        return
    where = f"GPU {', '.join(gpus)}"
    if torch.version.cuda is None:
        fix = "install the GPU environment (requirements/gpu.txt), or set the model's `gpus: 0` to run on the CPU"
        raise HealError(f"torch {torch.__version__} is a build for the CPU", where=where, fix=fix)
    driver = read_driver_version() or "not found"
    problem = (
        f"torch finds {visible} of {len(gpus)} leased GPUs: it was built for CUDA {torch.version.cuda}, "
        f"the NVIDIA driver is {driver}"
    )
    fix = f"install a driver for CUDA {torch.version.cuda} (nvidia-smi shows what the driver supports)"
    raise HealError(problem, where=where, fix=fix)


def wait_for(gpus: Sequence[str], count: int, folder: Path) -> dict[str, Lock]:
    """Locks `count` of the GPUs; no later process overtakes the one that waits first."""
    # One process at a time tries, or jobs that want one GPU would always overtake those that want several.
    turn = make_lock(folder, f"turn-{hashlib.sha256(','.join(gpus).encode()).hexdigest()[:16]}")
    locks = try_to_lock(gpus, count, folder) if turn.try_to_acquire() else {}
    if not locks:
        line = f"GPU: waiting for {count} of {len(gpus)}, taken by other jobs (heal gpus shows them)"
        print(line, file=sys.stderr, flush=True)
        while not turn.files and not turn.try_to_acquire():
            time.sleep(POLL_S / 10)
        locks = try_to_lock(gpus, count, folder)
        while not locks:
            time.sleep(POLL_S)
            locks = try_to_lock(gpus, count, folder)
    turn.release()
    return locks


def try_to_lock(gpus: Sequence[str], count: int, folder: Path) -> dict[str, Lock]:
    """Locks `count` of the GPUs, or none: two jobs that each hold one while waiting could wait for each other."""
    locks: dict[str, Lock] = {}
    for gpu in gpus:
        lock = make_lock(folder, name_lock(gpu))
        if lock.try_to_acquire():
            locks[gpu] = lock
        if len(locks) == count:
            return locks
    for lock in locks.values():
        lock.release()
    return {}


def make_lock(folder: Path, name: str) -> Lock:
    """A lock that all users of this machine share: the file in this user's folder, and its namesakes in the others'.

    A folder counts as another user's where its owner is the one in its name, and nobody else can change it.
    """
    others = []
    for path in folder.parent.glob(FOLDER.format("*")):
        with suppress(OSError):  # removed, or closed to this user
            status = path.lstat()
            if path != folder and path.name == FOLDER.format(status.st_uid) and is_safe(status):
                others.append(path / name)
    return Lock(folder / name, others)


def is_free(gpu: str, folder: Path) -> bool:
    """Whether no process of any user holds the GPU's lock."""
    lock = make_lock(folder, name_lock(gpu))
    free = lock.try_to_acquire()
    lock.release()
    return free


def name_lock(gpu: str, environment: Mapping[str, str] = os.environ) -> str:
    """A file name for a GPU; in SLURM, where every job may call its first GPU 0, one name per job step."""
    job = [environment[name] for name in ("SLURM_JOB_ID", "SLURM_STEP_ID") if environment.get(name)]
    prefix = ["slurm", *job] if job else []
    return re.sub(r"[^\w.-]", "_", "-".join([*prefix, "gpu", gpu]))


def make_lock_folder(folder: Path | None = None) -> Path:
    """The folder of this user's locks, created if needed. Raises HealError where other users could change it."""
    # Not under TMPDIR or XDG_RUNTIME_DIR: a login, cron and tmux have different ones, and would not see each other.
    folder = folder or Path("/tmp") / FOLDER.format(os.getuid())
    with suppress(FileExistsError):
        folder.mkdir()
    status = folder.lstat()
    if status.st_uid != os.getuid() or not is_safe(status):
        problem = "the locks of the GPUs belong in this folder, but it is not a folder that this user alone can change"
        raise HealError(problem, where=str(folder), fix=f"remove it, or: chmod 755 {folder}")
    folder.chmod(0o755)  # whatever the umask: other users read the locks
    return folder


def is_safe(status: os.stat_result) -> bool:
    """Whether this is a folder, not a link, that its owner alone can change."""
    return stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o022
