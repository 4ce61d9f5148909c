"""Which GPUs a process may use: it takes a lease on each card, so that two jobs never share one.

Snakemake counts GPUs, but does not say which one a job gets, and knows nothing of other clones, shells and runs without
its profile. So every command that loads a model takes its cards itself, before torch looks for them: one lock (flock)
per card, in one folder per user. The kernel frees a lock with its process, however that ends.

Reads CUDA_VISIBLE_DEVICES, or counts /dev/nvidia*. Writes CUDA_VISIBLE_DEVICES of this process, and empty lock files
under /tmp/heal-gpus-<user id>. Inside a SLURM job the cards are the job's own: only its own processes are kept apart.
A card that is named by index in one shell and by UUID in another counts as two.

    python -m heal.engines.gpu_lease        # the cards that are visible here, and which are taken
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
from itertools import takewhile
from pathlib import Path
from typing import IO

from heal.command import command_parser
from heal.errors import HealError, exit_with_errors

POLL_S = 1.0
_held: dict[str, IO[str]] = {}  # card → its locked file: closing the file would free the card


def visible(dev: Path = Path("/dev"), environment: Mapping[str, str] = os.environ) -> list[str]:
    """The cards that this process may see, by the names that CUDA_VISIBLE_DEVICES takes."""
    named = environment.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        files = [path for path in dev.glob("nvidia[0-9]*") if path.name.removeprefix("nvidia").isdigit()]
        return [str(index) for index in range(len(files))]  # in a container nvidia3 can be CUDA's first card
    # As CUDA reads it: what follows the first name that is no card is hidden too. SLURM writes NoDevFiles for none.
    cards = takewhile(lambda card: card not in ("", "-1", "NoDevFiles"), map(str.strip, named.split(",")))
    return list(dict.fromkeys(cards))


def leased() -> list[str]:
    """The cards that this process has taken."""
    return list(_held)


def lease(count: int, *, dev: Path = Path("/dev"), folder: Path | None = None) -> list[str]:
    """Takes `count` free cards until this process ends, hides all others from it, and returns their names.

    Waits while they are taken; takes what there is where fewer are visible; does nothing where none is visible. A
    second call returns what the first one took. `dev` and `folder` (of the locks) are for tests.
    Raises HealError where the locks' folder is not this user's alone.
    """
    if _held:
        return leased()
    cards = visible(dev)
    if not cards:
        return []
    if count > len(cards):
        print(f"{count} GPUs are asked for, {len(cards)} visible: goes on with these", file=sys.stderr, flush=True)
    count = min(count, len(cards))
    if count > 0:
        _held.update(wait_for(cards, count, lock_folder(folder)))
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(_held)
    return leased()


def wait_for(cards: Sequence[str], count: int, folder: Path) -> dict[str, IO[str]]:
    """Locks `count` of the cards; whoever asks for the same cards later gets them later."""
    # One at a time tries, or jobs that want one card would always overtake those that want several.
    with open(folder / f"turn-{hashlib.sha256(','.join(cards).encode()).hexdigest()[:16]}", "a") as turn:
        if locked(turn) and (taken := try_to_take(cards, count, folder)):
            return taken
        line = f"GPU: waiting for {count} of {len(cards)}, taken by other jobs (python -m heal.engines.gpu_lease shows them)"
        print(line, file=sys.stderr, flush=True)
        fcntl.flock(turn, fcntl.LOCK_EX)
        while not (taken := try_to_take(cards, count, folder)):
            time.sleep(POLL_S)
        return taken


def try_to_take(cards: Sequence[str], count: int, folder: Path) -> dict[str, IO[str]]:
    """Locks `count` of the cards, or none: two jobs that wait with a card in hand could wait for each other."""
    taken: dict[str, IO[str]] = {}
    for card in cards:
        file = open(folder / lock_name(card), "a")  # noqa: SIM115 (open as long as the card is held)
        if locked(file):
            taken[card] = file
        else:
            file.close()
        if len(taken) == count:
            return taken
    for held in taken.values():
        held.close()
    return {}


def locked(file: IO[str]) -> bool:
    """Locks the file if it is free."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock_name(card: str, environment: Mapping[str, str] = os.environ) -> str:
    """A file name for a card; inside SLURM, where every job may call its first card 0, one per job step."""
    job = [environment[name] for name in ("SLURM_JOB_ID", "SLURM_STEP_ID") if environment.get(name)]
    return re.sub(r"[^\w.-]", "_", "-".join([*(["slurm", *job] if job else []), "card", card]))


def lock_folder(folder: Path | None = None) -> Path:
    """The folder of the locks, made if need be. Raises HealError where others could have made or can change it."""
    # Not under TMPDIR or XDG_RUNTIME_DIR: a login, cron and tmux have different ones, and would not see each other.
    folder = folder or Path(f"/tmp/heal-gpus-{os.getuid()}")
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        reason = "the locks of the GPUs are to be kept there, but it is not a folder of this user alone"
        raise HealError(reason, where=str(folder), fix=f"remove it, or: chmod 700 {folder}")
    return folder


def main() -> None:
    command_parser(__doc__).parse_args()
    folder = lock_folder()
    for card in visible():
        with open(folder / lock_name(card), "a") as file:
            print(f"card {card}: {'free' if locked(file) else 'taken'}")
    if not visible():
        print("no card is visible")


if __name__ == "__main__":
    exit_with_errors(main)
