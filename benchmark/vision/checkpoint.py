"""The state of a training after an epoch, from which an interrupted training resumes and ends with the same weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from benchmark.vision import scratch


@dataclass(frozen=True)
class Checkpoint:
    """What a training changes, and the file that keeps it.

    Attributes:
        path: the path of the file.
        model: network on the device.
        optimizer: the optimiser of its weights.
        scheduler: the scheduler of the learning rate.
        sums: sums of the losses by epoch, on the device.
    """

    path: Path
    model: nn.Module
    optimizer: Optimizer
    scheduler: LambdaLR
    sums: Tensor

    def restore(self) -> int:
        """Load the file, and return how many epochs are done; 0 where there is no sound file."""
        saved = scratch.load(self.path, self.sums.device)
        if saved is None:
            return 0
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scheduler.load_state_dict(saved["scheduler"])
        self.sums.copy_(saved["sums"])
        torch.set_rng_state(saved["generator"].cpu())
        if self.sums.is_cuda:
            torch.cuda.set_rng_state(saved["cuda_generator"].cpu(), self.sums.device)
        return int(saved["epochs"])

    def save(self, epochs: int) -> None:
        """Write the file after a number of epochs."""
        saved = {
            "epochs": epochs,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "sums": self.sums,
            "generator": torch.get_rng_state(),
        }
        if self.sums.is_cuda:
            saved["cuda_generator"] = torch.cuda.get_rng_state(self.sums.device)
        scratch.save(saved, self.path)
