"""Distilled sets in other people's formats: written for their tools, and read back.

- ``imagefolder``: ``DEST/CLASS/NNNNN.png``, as torchvision's ImageFolder reads it, which numbers classes by name;
- ``dcbench``: one file ``DEST.pt`` in the layout of DC-BENCH, whose two tensors DD-Ranking takes (`tensor_files`);
- ``huggingface``: a folder that ``datasets.load_dataset(DEST)`` reads (`hub_folders`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from benchmark.api import DatasetInfo
from benchmark.errors import BenchmarkError, unknown
from benchmark.formats import huggingface, pt
from benchmark.formats.pt import Normalisation
from benchmark.synthetic import SyntheticSet

__all__ = ["FORMATS", "Normalisation", "export", "read_images"]
FORMATS = ("imagefolder", "dcbench", "huggingface")


def export(
    images: SyntheticSet, info: DatasetInfo, form: str, destination: Path, title: str, facts: Mapping[str, str]
) -> list[str]:
    """Write a set in one of `FORMATS`.

    Args:
        images: the set.
        info: of the dataset that it stands for.
        form: the format.
        destination: a file for ``dcbench``, else a folder.
        title: of the card that goes with it, where there is one.
        facts: further lines of the card.

    Returns:
        What the format cannot hold, in words; [] where reading it back gives the set again.

    Raises:
        BenchmarkError: no such format, or something lies at the destination already.
    """
    if form not in FORMATS:
        raise BenchmarkError(unknown("format", form, FORMATS))
    if form == "dcbench" and destination.suffix != ".pt":
        raise BenchmarkError(f"{destination}: {form} is one file, whose name ends in .pt")
    if destination.is_file() or (destination.is_dir() and any(destination.iterdir())):
        raise BenchmarkError(f"{destination}: is there already; name another place, or remove it")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        if form == "imagefolder":
            images.export_folder(destination, info.class_names)
        elif form == "dcbench":
            pt.write(images, info, destination)
        else:
            huggingface.write(images, info, destination, title, facts)
    except OSError as error:
        raise BenchmarkError(f"{destination}: cannot be written ({error.strerror or error})") from error
    return _lost(images, form)


def read_images(path: Path, class_names: Sequence[str], normalisation: Normalisation | None = None) -> SyntheticSet:
    """Read a set in any of these formats, or as this suite stores it, whoever wrote it.

    Args:
        path: a folder of class folders; a folder of parquet files, or one such file; ``.pt`` or ``.pth`` as
            `pt.read` understands them; or ``.safetensors``.
        class_names: of the dataset, in its order, in which labels count unless a file names its classes.
        normalisation: of the tensors of a ``.pt`` file that does not say so itself.

    Returns:
        The set in pixel space; images from picture files as RGB.

    Raises:
        BenchmarkError: nothing is there, it cannot be understood, or its labels are not those of the dataset.
    """
    if not path.exists():
        raise BenchmarkError(f"{path}: is not there")
    tables = sorted([*path.glob("*.parquet"), *path.glob("data/*.parquet")]) if path.is_dir() else []
    if tables or path.suffix == ".parquet":
        found = huggingface.read(tables or [path], class_names)
    elif path.is_dir():
        found = SyntheticSet.import_folder(path, class_names)
    elif path.suffix == ".safetensors":
        found = SyntheticSet.load(path)
    elif path.suffix in (".pt", ".pth"):
        found = pt.read(path, normalisation)
    else:
        raise BenchmarkError(f"{path}: not a distilled set; give a folder, .safetensors, .pt or .parquet")
    _check_labels(path, found, len(class_names))
    return found


def _check_labels(path: Path, found: SyntheticSet, classes: int) -> None:
    inside = len(found) > 0 and int(found.classes.min()) >= 0 and int(found.classes.max()) < classes
    if not inside or (found.targets.dim() == 2 and found.targets.shape[1] != classes):
        raise BenchmarkError(f"{path}: its labels are not those of {classes} classes; is it another dataset's?")


def _lost(images: SyntheticSet, form: str) -> list[str]:
    folder = form == "imagefolder"
    said = {
        "pixels, which are rounded to 8 bit": images.images.dtype != torch.uint8 and form != "dcbench",
        "weights of images": folder and images.weights is not None,
        "soft labels, of which the likeliest class is left": folder and images.targets.dim() == 2,
    }
    return [words for words, holds in said.items() if holds]
