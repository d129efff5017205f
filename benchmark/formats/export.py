"""Write distilled sets in the formats of other tools, and read them.

- ``imagefolder``: ``DEST/CLASS/NNNNN.png``, as torchvision's ImageFolder reads it, which numbers classes by name;
- ``dcbench``: one file ``DEST.pt`` in the layout of DC-BENCH, whose two tensors DD-Ranking takes (`pt`);
- ``huggingface``: a folder that ``datasets.load_dataset(DEST)`` reads (`huggingface`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmark.api import DatasetInfo
from benchmark.errors import BenchmarkError, one_line, unknown
from benchmark.formats import huggingface, pt
from benchmark.formats.files import check_file, read_folder
from benchmark.formats.tensors import read_arrays
from benchmark.synthetic import CLASSES, SyntheticSet

FORMATS = ("imagefolder", "dcbench", "huggingface")
SUFFIXES = (".safetensors", ".pt", ".pth", ".npz", ".npy", ".parquet")  # the suffixes of files that are read


def export(
    images: SyntheticSet, info: DatasetInfo, form: str, destination: Path, title: str, facts: Mapping[str, str]
) -> list[str]:
    """Write a set in one of `FORMATS`.

    Args:
        images: the set.
        info: the dataset that the set replaces.
        form: the format.
        destination: a file for ``dcbench``, else a folder.
        title: the title of the card that ``huggingface`` writes.
        facts: further lines of the card.

    Returns:
        Phrases that say what the format cannot hold; [] if `read_images` returns an equal set. Metadata are not kept.

    Raises:
        BenchmarkError: there is no such format, or the destination exists.
    """
    if form not in FORMATS:
        raise BenchmarkError(unknown("format", form, FORMATS))
    if form == "dcbench" and destination.suffix != ".pt":
        raise BenchmarkError(f"{destination}: {form} is one file, whose name ends in .pt")
    if destination.is_file() or (destination.is_dir() and any(destination.iterdir())):
        raise BenchmarkError(f"{destination}: exists already; choose another path, or remove it")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".", dir=destination.parent) as folder:
            part = Path(folder) / destination.name  # renamed when it is whole
            if form == "imagefolder":
                images.export_folder(part, info.class_names)
            elif form == "dcbench":
                pt.write(images, info, part)
            else:
                huggingface.write(images, info, part, title, facts)
            part.rename(destination)
    except (OSError, RuntimeError) as error:  # torch raises the latter
        reason = getattr(error, "strerror", None) or error
        raise BenchmarkError(f"{destination}: cannot be written ({reason})") from error
    return _lost(images, form)


def read_images(path: Path, class_names: Sequence[str]) -> SyntheticSet:
    """Read a set in one of `FORMATS`, or as ``.safetensors`` file of this suite.

    Args:
        path: a folder of class folders; a folder of parquet files, or one such file; ``.pt`` or ``.pth`` as
            `pt.read` understands them; ``.npz`` or ``.npy`` as in `tensors`; or ``.safetensors``.
        class_names: the classes of the dataset. A label is a position in this list, unless the file names its classes.

    Returns:
        The set, in pixel space unless a ``.pt`` file has normalised images and does not say how. Images from PNG and
        other image files are RGB.

    Raises:
        BenchmarkError: the path does not exist, has another format, or its labels do not fit the classes.
    """
    if path.is_file() and path.suffix not in SUFFIXES:
        raise BenchmarkError(f"{path}: not a distilled set; give a folder or one of {', '.join(SUFFIXES)}")
    try:
        if path.is_dir():
            tables = sorted([*path.glob("*.parquet"), *path.glob("data/*.parquet")])
        else:
            check_file(path)
            tables = [path] if path.suffix == ".parquet" else []
        images = _read(path, tables, class_names)
        check_labels(str(path), images, len(class_names))
    except BenchmarkError:
        raise
    except Exception as error:  # a file from elsewhere can be wrong in any way
        raise BenchmarkError(f"{path}: cannot be read as a distilled set ({one_line(error)})") from error
    return images


def _read(path: Path, tables: Sequence[Path], class_names: Sequence[str]) -> SyntheticSet:
    if tables:
        return huggingface.read(tables, class_names)
    if path.is_dir():
        return read_folder(path, class_names)
    if path.suffix == ".safetensors":
        return replace(SyntheticSet.load(path), metadata={})  # they may say anything
    return read_arrays(path) if path.suffix in (".npz", ".npy") else pt.read(path)


def check_labels(name: str, images: SyntheticSet, classes: int) -> None:
    """Check that the labels of a set are those of a dataset.

    Args:
        name: what messages call the set.
        images: the set.
        classes: the number of classes of the dataset.

    Raises:
        BenchmarkError: there are no labels, a class lies outside of 0 .. classes - 1, or soft labels have another
            length.
    """
    in_range = len(images) > 0 and int(images.classes.min()) >= 0 and int(images.classes.max()) < classes
    if not in_range or (images.targets.dim() == 2 and images.targets.shape[1] != classes):
        raise BenchmarkError(
            f"{name}: its labels are not those of {classes} classes; does it belong to another dataset?"
        )


def _lost(images: SyntheticSet, form: str) -> list[str]:
    """Return phrases that say which parts of a set a format cannot hold."""
    folder, extras = form == "imagefolder", sorted(images.extras.keys() - {CLASSES})
    is_lost = {
        "pixels that are not 8-bit (they are rounded)": images.images.dtype != torch.uint8 and form != "dcbench",
        "weights of images": folder and images.weights is not None,
        "soft labels (the class of an image is kept)": folder and images.targets.dim() == 2,
        f"further tensors of the set ({', '.join(extras)})": bool(extras),
    }
    return [part for part, is_part_lost in is_lost.items() if is_part_lost]
