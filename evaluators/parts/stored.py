"""Labels on disk: one array per set, written and read in the order in which the views are visited."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from benchmark.api import Context, DatasetInfo, SyntheticSet
from benchmark.vision.augment import Schedule
from benchmark.vision.training import Stream, from_pixels, predict

Array = np.ndarray[Any, np.dtype[Any]]


def mean_logits(teachers: Sequence[nn.Module], images: Tensor, context: Context) -> Tensor:
    """Return the mean of the teachers' logits of normalised images, float32 [b, classes]."""
    first, *others = (predict(teacher, images, context) for teacher in teachers)
    return sum(others, start=first) / len(teachers)


def half(logits: Tensor) -> Array:
    """Return logits as they are stored: float16, on the CPU."""
    array: Array = logits.half().cpu().numpy()
    return array


def write(path: Path, chunks: Iterable[Array], *axes: int) -> Array:
    """Write an array [*axes, ...] chunk by chunk, in its own order, and return it mapped.

    No more than one chunk is in memory: what is appended to a file is no part of this process, as a map's pages are.

    Args:
        path: of the ``.npy`` file.
        chunks: [b, ...] each, which fill the axes one after the other.
        axes: the leading sizes of the array; all that follows is as in the chunks.
    """
    with path.open("wb") as file:
        for index, chunk in enumerate(chunks):
            if index == 0:
                descr = np.lib.format.dtype_to_descr(chunk.dtype)
                shape = (*axes, *chunk.shape[1:])
                np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
            file.write(chunk.tobytes())
    mapped: Array = np.load(path, mmap_mode="r")
    return mapped


def answers(images: SyntheticSet, schedule: Schedule, info: DatasetInfo, context: Context) -> Iterator[Tensor]:
    """Yield what the teachers say of every view of every epoch: logits [b, classes], in the order of the visits."""
    stream = Stream(schedule, context.seed, len(images), from_pixels(images.images, info, context.device))
    for step, batch in enumerate(stream, start=1):
        yield mean_logits(context.teachers, batch.images, context)
        context.progress(step, len(stream))
