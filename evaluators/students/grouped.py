"""Test accuracy of a student whose batch norms see a batch in groups, as with accumulated gradients."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from evaluators.parts.groups import InGroups
from evaluators.students.native import Native


class Grouped(Native):
    """`Native`, but each group of a batch passes the student alone; there is one step per batch.

    With equal halves the loss is ``(KL(half 1) + KL(half 2)) / 2``, as in the codes of SRe2L++ and FADRM, whose
    gradients accumulate over two micro-batches. The groups are those of label regime `train_mode`.
    """

    groups: int = Field(default=2, ge=1)  # the groups of a batch; 1: whole batches

    def trained(self, student: nn.Module) -> nn.Module:
        """Return the student as training calls it: group by group."""
        return InGroups(student, self.groups)
