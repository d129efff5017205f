"""Where a recovery loop stands: images, optimiser, iteration and snapshots, saved now and then."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from benchmark.api import Context, Unit
from methods.parts import scratch


@dataclass
class RecoveryState:
    """All that an interrupted loop needs to end with the same bytes.

    Attributes:
        path: of the file that `save` writes.
        images: [N, C, S, S] normalised, on the device, channels-last.
        optimizer: on the images.
        iteration: iterations done.
        frames: snapshots so far, uint8 on the CPU.
        memory: what a regulariser keeps from iteration to iteration, on the device.
    """

    path: Path
    images: Tensor
    optimizer: torch.optim.Adam
    iteration: int = 0
    frames: list[Tensor] = field(default_factory=list)
    memory: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def open(
        cls, context: Context, unit: Unit, images: Tensor, learning_rate: float, betas: tuple[float, float]
    ) -> RecoveryState:
        """Return what was saved of this unit, or else a fresh state with the images given."""
        path = context.scratch / f"recovery-{unit.index}.pt"
        saved = scratch.load(path, context.device)
        leaf = (saved["images"] if saved else images).to(context.device, memory_format=torch.channels_last)
        leaf = leaf.detach().clone().requires_grad_()
        state = cls(path, leaf, torch.optim.Adam([leaf], lr=learning_rate, betas=betas))
        if saved:
            state.optimizer.load_state_dict(saved["optimizer"])
            state.iteration, state.frames = saved["iteration"], [frame.cpu() for frame in saved["frames"]]
            state.memory = saved["memory"]
        return state

    def step(self, loss: Tensor, learning_rate: float, low: Tensor, high: Tensor) -> None:
        """Take one step of the optimiser and clamp the pixels to [low, high]."""
        (self.images.grad,) = torch.autograd.grad(loss, [self.images])
        self.optimizer.param_groups[0]["lr"] = learning_rate
        self.optimizer.step()
        with torch.no_grad():
            self.images.clamp_(low, high)
        self.iteration += 1

    def save(self) -> None:
        """Write the state whole, or leave the file as it was."""
        saved = {
            "images": self.images.detach(),
            "optimizer": self.optimizer.state_dict(),
            "iteration": self.iteration,
            "frames": self.frames,
            "memory": self.memory,
        }
        scratch.save(saved, self.path)
