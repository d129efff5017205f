"""Labels on disk: one array per set, in the order of the views."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from benchmark.api import Context, DatasetInfo, SyntheticSet
from benchmark.vision.augment import Schedule
from benchmark.vision.training import Stream, from_pixels, predict

Array = np.ndarray[Any, np.dtype[Any]]


def mean_logits(teachers: Sequence[nn.Module], images: Tensor, context: Context) -> Tensor:
    """Return the mean of the teachers' logits for normalised images [b, C, S, S], float32 [b, classes]."""
    first_logits, *other_logits = (predict(teacher, images, context) for teacher in teachers)
    return sum(other_logits, start=first_logits) / len(teachers)


def half(logits: Tensor) -> Array:
    """Return logits as they are stored: a float16 array."""
    array: Array = logits.half().cpu().numpy()
    return array


def write(path: Path, chunks: Iterable[Array], *axes: int) -> Array:
    """Write an array [*axes, ...] chunk by chunk, and return it as a memory map.

    Only one chunk is in memory at a time: bytes that are appended to a file do not count as memory of this process,
    while touched pages of a memory map would.

    Args:
        path: the path of the ``.npy`` file.
        chunks: [b, ...] each, in the order of the array.
        axes: the leading sizes of the array; the further sizes are those of the chunks.
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


def refuse_cells(schedule: Schedule) -> None:
    """Refuse a schedule whose images are the cells of mosaics: a mosaic has no single row of labels.

    Raises:
        ValueError: it is such a schedule.
    """
    if schedule.shown(1) != 1:
        raise ValueError(f"schedule: mix: {schedule.mix}: labels of cells cannot be stored; choose hard or online ones")


def view_logits(
    images: SyntheticSet,
    schedule: Schedule,
    info: DatasetInfo,
    context: Context,
    logits_of: Callable[[Tensor], Tensor] | None = None,
) -> Iterator[Tensor]:
    """Yield the labels of each batch of views of each epoch, [b, classes].

    Args:
        images: the set.
        schedule: determines the views, with the seed of the context.
        info: the dataset.
        context: gives device, seed and progress.
        logits_of: returns the labels of normalised views [b, C, S, S]; None: the mean logits of the teachers.
    """
    refuse_cells(schedule)
    logits_of = logits_of or (lambda views: mean_logits(context.teachers, views, context))
    stream = Stream(schedule, context.seed, len(images), from_pixels(images.images, info, context.device))
    for step, batch in enumerate(stream, start=1):
        yield logits_of(batch.images)
        context.progress(step, len(stream))
