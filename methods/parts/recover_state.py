"""The state of a recovery loop: images, optimiser, iteration and snapshots, saved every few hundred iterations."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, TypeAlias

import torch
from pydantic import Field
from torch import Tensor

from benchmark.api import Context, Unit
from benchmark.vision import scratch

Beta: TypeAlias = Annotated[float, Field(ge=0, lt=1)]  # a coefficient of Adam


@dataclass
class RecoveryState:
    """The values from which an interrupted loop resumes and ends with the same bytes.

    Attributes:
        path: the path of the file that `save` writes.
        images: [N, C, S, S] normalised, on the device, contiguous.
        optimizer: the optimiser of the images.
        iteration: number of iterations done.
        snapshots: earlier images, uint8 [N, C, S, S] each, on the CPU.
        memory: tensors that a regulariser keeps from iteration to iteration, on the device.
    """

    path: Path
    images: Tensor
    optimizer: torch.optim.Adam
    iteration: int = 0
    snapshots: list[Tensor] = field(default_factory=list)
    memory: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def open(
        cls, context: Context, unit: Unit, images: Tensor, learning_rate: float, betas: tuple[float, float]
    ) -> RecoveryState:
        """Return the saved state of a unit, or a new state with the given images where none is saved."""
        path = context.scratch / f"recovery-{unit.index}.pt"
        saved = scratch.load(path, context.device)
        leaf = (saved["images"] if saved else images).to(context.device)
        leaf = leaf.contiguous().detach().clone().requires_grad_()
        state = cls(path, leaf, torch.optim.Adam([leaf], lr=learning_rate, betas=betas, fused=True))
        if saved:
            state.optimizer.load_state_dict(saved["optimizer"])
            state.iteration = saved["iteration"]
            state.snapshots = [snapshot.cpu() for snapshot in saved["snapshots"]]
            state.memory = saved["memory"]
        return state

    def restart(self, images: Tensor) -> None:
        """Go on with other images [N, C, s, s], of any size s, and with a new optimiser."""
        options = {name: self.optimizer.param_groups[0][name] for name in ("lr", "betas")}
        self.images = images.contiguous().detach().clone().requires_grad_()
        self.optimizer = torch.optim.Adam([self.images], fused=True, **options)

    def step(self, loss: Tensor, learning_rate: float, low: Tensor, high: Tensor) -> None:
        """Take one step of the optimiser and clamp the images to [low, high], [C, 1, 1] each."""
        (gradient,) = torch.autograd.grad(loss, [self.images])
        self.images.grad = gradient.contiguous()  # a fused optimiser reads it in the layout of the images
        self.optimizer.param_groups[0]["lr"] = learning_rate
        self.optimizer.step()
        with torch.no_grad():
            self.images.clamp_(low, high)
        self.iteration += 1

    def save(self) -> None:
        """Write the state to its file."""
        saved = {
            "images": self.images.detach(),
            "optimizer": self.optimizer.state_dict(),
            "iteration": self.iteration,
            "snapshots": self.snapshots,
            "memory": self.memory,
        }
        scratch.save(saved, self.path)
