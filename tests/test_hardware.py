"""Provenance says what a command ran on: GPUs only where some were leased, and the processor always."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from heal import hardware, provenance
from heal.hardware import describe_processor, format_hardware, read_driver_version
from heal.provenance import record_run

H100 = "NVIDIA H100 80GB HBM3"
SMI = f"{H100}, 580.65.06\n{H100}, 580.65.06\n"
NVIDIA_VERSION = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\nGCC version: 12\n"
CPU = {"processor": "AMD EPYC 9654", "cpu_flags": ["AVX2", "AVX-512"], "cores": 2, "gpus": 0}


@pytest.fixture
def nvidia_smi(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The calls of an nvidia-smi that knows two H100; an id that starts with MIG is an error to it."""
    calls: list[list[str]] = []
    run = subprocess.run

    def answer(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        if command[0] != "nvidia-smi":
            return run(command, **options)
        calls.append(command)
        if any("MIG" in argument for argument in command):
            raise subprocess.CalledProcessError(6, command)
        return subprocess.CompletedProcess(command, 0, SMI, "")

    monkeypatch.setattr(subprocess, "run", answer)
    return calls


def read_record(folder: Path, **facts: Any) -> Any:
    with record_run(folder / "x", "train", 1, facts):
        pass
    return json.loads((folder / "x.provenance.json").read_text())


def test_a_command_that_leased_gpus_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nvidia_smi: list[list[str]]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 5")
    monkeypatch.setattr("torch.version.cuda", "13.0")
    record = read_record(tmp_path, gpus=2, engine={"model_runner": "V2"})
    assert record["gpu"] == {"names": [H100, H100], "driver": "580.65.06", "cuda": "13.0"}
    assert "--id=2,5" in nvidia_smi[0] and "gpus" not in record
    assert format_hardware(record) == f"2 × {H100}, driver 580.65.06, CUDA 13.0, vLLM model runner V2"


def test_a_command_without_gpus_asks_for_none(tmp_path: Path, nvidia_smi: list[list[str]]) -> None:
    record = read_record(tmp_path)
    assert "gpu" not in record and nvidia_smi == [] and record["gpu_seconds"] == 0
    assert record["machine"] == provenance.describe_machine() and "cpu_flags" in record["machine"]


def test_gpus_that_nvidia_smi_cannot_name_are_still_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nvidia_smi: list[list[str]]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1,MIG-2,MIG-3")
    assert read_record(tmp_path, gpus=3)["gpu"]["names"] == [H100] * 3  # of a machine with one type
    monkeypatch.setattr(hardware, "ask_nvidia_smi", lambda gpus: ([], None))
    record = read_record(tmp_path, gpus=1)
    assert record["gpu"]["names"] == ["unknown GPU"] and record["gpu"]["driver"] is None
    assert format_hardware(record).startswith("1 × unknown GPU, driver unknown")


def test_the_processor_and_its_vector_instructions(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(
        "model name\t: AMD EPYC 9654\nflags\t\t: fpu avx2 fma avx512f avx512_bf16 amx_tile sse\n\n"
        "model name\t: another\nflags : avx2\n"
    )
    described = describe_processor(info)
    assert (described["processor"], described["cpu_flags"]) == (
        "AMD EPYC 9654",
        ["FMA", "AVX2", "AVX-512", "AVX-512 BF16", "AMX"],
    )
    info.write_text("Features\t: fp asimd sve\n")
    assert describe_processor(info)["cpu_flags"] == ["NEON", "SVE"]
    assert describe_processor(tmp_path / "none")["cpu_flags"] == []


def test_the_driver_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "version"
    assert read_driver_version(file) is None
    file.write_text(NVIDIA_VERSION)
    assert read_driver_version(file) == "580.65.06"


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"machine": CPU, "gpu_seconds": 0.0}, "AMD EPYC 9654 (AVX2, AVX-512)"),
        ({"machine": CPU | {"cpu_flags": []}}, "AMD EPYC 9654 (no vector instructions known)"),
        ({"machine": {"processor": "x", "cores": 2, "gpus": 0}}, ""),  # written before they were recorded
        ({"machine": CPU, "gpu_seconds": 3.5}, ""),
        ({}, ""),
    ],
)
def test_hardware_in_words(record: dict[str, Any], words: str) -> None:
    assert format_hardware(record) == words
