"""The processor and the GPUs that a command ran on, as its provenance records them.

Scores differ between processors and GPUs: vector instructions and kernels round differently, and one token decides
another answer. Reads /proc/cpuinfo; asks nvidia-smi (and torch, where it uses the GPUs already) only about GPUs.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CPU_INFO = Path("/proc/cpuinfo")
DRIVER_FILE = Path("/proc/driver/nvidia/version")
VECTOR_FLAGS = {
    "fma": "FMA",
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512_bf16": "AVX-512 BF16",
    "avx512_fp16": "AVX-512 FP16",
    "amx_tile": "AMX",
    "amx_bf16": "AMX BF16",
    "asimd": "NEON",
    "sve": "SVE",
    "sve2": "SVE2",
}
"""Flag in /proc/cpuinfo → instruction set that kernels are chosen by."""
UNKNOWN_GPU = "unknown GPU"


def describe_processor(cpu_info: Path = CPU_INFO) -> dict[str, Any]:
    """Processor, its vector instructions (AVX2, AVX-512, AMX, …) and the number of cores."""
    try:
        lines = cpu_info.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []  # not Linux
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip(), value.strip())  # of the first core
    processor = fields.get("model name") or platform.processor() or platform.machine()
    available = set((fields.get("flags") or fields.get("Features") or "").split())
    cpu_flags = [name for flag, name in VECTOR_FLAGS.items() if flag in available]
    return {"processor": processor, "cpu_flags": cpu_flags, "cores": os.cpu_count()}


def describe_gpus(count: int) -> dict[str, Any]:
    """Names, driver and CUDA version of the GPUs that this process uses: those in CUDA_VISIBLE_DEVICES.

    count: their number. What cannot be found out is UNKNOWN_GPU or None.
    """
    import torch

    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    names, driver = ask_nvidia_smi(visible)
    if torch.cuda.is_initialized():  # nvidia-smi and CUDA may number unequal GPUs differently
        names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    if len(names) != count:
        names = [names[0] if len(set(names)) == 1 else UNKNOWN_GPU] * count
    return {"names": names, "driver": driver or read_driver_version(), "cuda": torch.version.cuda}


def ask_nvidia_smi(gpus: Sequence[str]) -> tuple[list[str], str | None]:
    """(names, driver version) of these GPUs, or of all where nvidia-smi does not know them; ([], None) without it.

    gpus: indices or UUIDs, as CUDA_VISIBLE_DEVICES has them; a slice of a GPU (MIG) is none to nvidia-smi.
    """
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    for arguments in ([f"--id={','.join(gpus)}"], []):
        try:
            answer = subprocess.run([*command, *arguments], capture_output=True, text=True, check=True, timeout=30)
        except (OSError, subprocess.SubprocessError):
            continue
        names, driver = [], None
        for line in filter(None, map(str.strip, answer.stdout.splitlines())):
            name, _, driver = line.rpartition(", ")
            names.append(name)
        return names, driver
    return [], None


def read_driver_version(driver_file: Path = DRIVER_FILE) -> str | None:
    """Version of the loaded NVIDIA driver; None without one."""
    try:
        words = driver_file.read_text(encoding="utf-8").splitlines()[0].split()
    except (OSError, IndexError):
        return None
    for word in words:
        if word[:1].isdigit() and "." in word:
            return word
    return None


def format_hardware(record: dict[str, Any]) -> str:
    """What a provenance record's command ran on, in words; "" for a record that does not say it.

    GPU jobs: GPUs, driver, CUDA and vLLM's model runner. Others: processor and vector instructions.
    """
    gpu = record.get("gpu")
    if gpu:
        counts = {name: gpu["names"].count(name) for name in gpu["names"]}
        parts = [f"{count} × {name}" for name, count in counts.items()]
        parts.append(f"driver {gpu['driver'] or 'unknown'}, CUDA {gpu['cuda'] or 'unknown'}")
        runner = record.get("engine", {}).get("model_runner")
        if runner:
            parts.append(f"vLLM model runner {runner}")
        return ", ".join(parts)
    machine = record.get("machine", {})
    if record.get("gpu_seconds") or "cpu_flags" not in machine:
        return ""
    return " ".join([machine["processor"], f"({', '.join(machine['cpu_flags']) or 'no vector instructions known'})"])
