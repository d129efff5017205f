"""Test accuracy of a moving average of the student's weights."""

from __future__ import annotations

import copy

import torch
from pydantic import Field
from torch import nn
from torch.optim import Optimizer

from evaluators.students.native import Native


class Averaged(Native):
    """`Native`, but the tested network has the average ``w~ <- a w~ + (1 - a) w`` of the weights after each step.

    It starts at the random weights. Running statistics of batch norms are those of the student itself, as in the code
    of EDC, or averaged in the same way.
    """

    averaging: float = Field(0.99, ge=0, lt=1)  # a; 0: no average
    average_statistics: bool = False  # True: average the running statistics of batch norms too

    def tested(self, student: nn.Module, optimizer: Optimizer) -> nn.Module:
        """Return a copy of the student whose weights follow those of the student."""
        average = copy.deepcopy(student)
        share = 1 - self.averaging

        @torch.no_grad()
        def follow(*_: object) -> None:
            for mean, weight in zip(average.parameters(), student.parameters(), strict=True):
                mean.lerp_(weight, share)
            for mean_buffer, buffer in zip(average.buffers(), student.buffers(), strict=True):
                moves = self.average_statistics and mean_buffer.is_floating_point()
                mean_buffer.lerp_(buffer, share) if moves else mean_buffer.copy_(buffer)

        optimizer.register_step_post_hook(follow)
        return average
