"""Show the GPUs that are visible here, and which of them jobs of any user have leased.

Reads CUDA_VISIBLE_DEVICES, or counts /dev/nvidia*, and the users' lock files. Prints one line per GPU.

    heal gpus
"""

from __future__ import annotations

from heal.command import Command
from heal.engines import gpu_lease

VERSION = 1
"""Raise it when the bytes of the output change for the same input."""


class ShowGpus(Command):
    def run(self) -> None:
        gpus = gpu_lease.list_visible_gpus()
        folder = gpu_lease.make_lock_folder()
        for gpu in gpus:
            print(f"GPU {gpu}: {'free' if gpu_lease.is_free(gpu, folder) else 'taken'}")
        if not gpus:
            print("no GPU is visible")
