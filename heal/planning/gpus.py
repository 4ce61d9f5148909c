"""GPU types: peak FLOPs, memory and memory bandwidth, as the makers' data sheets give them."""

from __future__ import annotations

from dataclasses import dataclass

from heal.errors import HealError

GB = 1e9


@dataclass(frozen=True)
class Gpu:
    """One GPU type; dense peaks."""

    tflops_16bit: float
    tflops_32bit: float
    memory_gb: float
    bandwidth_gb_s: float
    """Of its memory."""

    @property
    def memory_bytes(self) -> float:
        return self.memory_gb * GB


GPUS = {
    "H200": Gpu(989.0, 67.0, 141.0, 4800.0),
    "H100": Gpu(989.0, 67.0, 80.0, 3350.0),
    "A100": Gpu(312.0, 19.5, 80.0, 2039.0),
    "L40S": Gpu(362.0, 91.6, 48.0, 864.0),
    "L4": Gpu(121.0, 30.3, 24.0, 300.0),
    "RTX4090": Gpu(165.0, 82.6, 24.0, 1008.0),
    "cpu": Gpu(0.0, 0.0, 0.0, 0.0),
}
"""GPU type → its data sheet; `cpu`: no GPU."""


def find_gpu(name: str) -> Gpu:
    """Raises HealError for an unknown GPU type."""
    if name not in GPUS:
        settings = "tflops_16bit=… --assume tflops_32bit=… --assume memory_gb=… --assume bandwidth_gb_s=…"
        fix = f"known: {', '.join(GPUS)}; for another: --gpu H100 --assume {settings}"
        raise HealError(f"unknown GPU type {name!r}", where="--gpu", fix=fix)
    return GPUS[name]
