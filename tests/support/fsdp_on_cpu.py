"""heal.training.train in each of torchrun's processes, sharded on CPUs as on GPUs, for test_train_sharded.py.

accelerate shards on GPUs only, and on CPUs trains with whole copies (DDP) without a word; torch shards on both. Prints
how the student lies in memory. With the argument `killed` first, it dies while declaring checkpoint 15 whole.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from transformers import Trainer

from heal import records
from heal.training import fit, train

begin, prepare, write = AcceleratorState.__init__, Trainer._prepare_for_training, records.write_json


def init_sharded(self: AcceleratorState, *arguments: Any, fsdp_plugin: Any = None, **options: Any) -> None:
    begin(self, *arguments, fsdp_plugin=fsdp_plugin, **options)
    if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
        if self.mixed_precision != "no":
            fsdp_plugin.set_mixed_precision(self.mixed_precision)
        self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
        self.fsdp_plugin = fsdp_plugin


def prepare_and_print(self: Trainer, *arguments: Any, **options: Any) -> Any:
    prepared = prepare(self, *arguments, **options)
    layouts = {(type(weight).__name__, str(weight.dtype)) for weight in self.model.parameters()}
    line = " ".join(["weights:", *(" ".join(layout) for layout in layouts)])
    os.write(1, f"{line}\n".encode())  # whole: the other process writes too
    return prepared


def die_at_checkpoint_15(path: Any, content: Any) -> None:
    if "checkpoint-15" in str(path):
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, content)


if __name__ == "__main__":
    if sys.argv[1] == "killed":
        sys.argv.pop(1)
        records.write_json = die_at_checkpoint_15
    AcceleratorState.__init__, Trainer._prepare_for_training = init_sharded, prepare_and_print
    fit.MAX_STORED_ACTIVATION_BYTES = 0  # as for a real student
    train.main()
