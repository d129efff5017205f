"""Distilled sets as folders for the `datasets` library: a parquet file with PNG images, and a card.

``datasets.load_dataset(FOLDER)`` reads them as an ``Image`` and a ``ClassLabel``. Writing needs pyarrow only.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
import yaml
from pyarrow import parquet
from torch import Tensor

from benchmark.api import DatasetInfo
from benchmark.errors import BenchmarkError, one_line
from benchmark.formats.files import check_file, decode, stack
from benchmark.formats.tensors import as_targets
from benchmark.synthetic import CLASSES, SyntheticSet, as_image, to_uint8

FILE = "data/train-00000-of-00001.parquet"
IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def write(images: SyntheticSet, info: DatasetInfo, folder: Path, title: str, facts: Mapping[str, str]) -> None:
    """Write ``data/*.parquet`` and ``README.md``.

    Args:
        images: the set. Pixels are rounded to 8 bit; soft labels and weights get columns of their own.
        info: the dataset that the set replaces.
        folder: is created.
        title: the title of the card.
        facts: further lines of the card.
    """
    encoded = [{"bytes": _png(pixels), "path": None} for pixels in to_uint8(images.images)]
    columns = {"image": pa.array(encoded, IMAGE), "label": pa.array(images.classes.tolist(), pa.int64())}
    features: dict[str, Any] = {
        "image": {"_type": "Image"},
        "label": {"names": list(info.class_names), "_type": "ClassLabel"},
    }
    number = {"dtype": "float32", "_type": "Value"}
    if images.targets.dim() == 2:
        columns["soft_label"] = pa.array(images.targets.tolist(), pa.list_(pa.float32()))
        features["soft_label"] = {"feature": number, "_type": "Sequence"}
    if images.weights is not None:
        columns["weight"] = pa.array(images.weights.tolist(), pa.float32())
        features["weight"] = number
    table = pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    (folder / FILE).parent.mkdir(parents=True)
    parquet.write_table(table, folder / FILE)
    (folder / "README.md").write_text(_card(images, info, table, title, facts), encoding="utf-8")


def read(paths: Sequence[Path], class_names: Sequence[str]) -> SyntheticSet:
    """Read what `write` wrote, or any parquet files with images under ``image`` and classes under ``label``.

    Args:
        paths: the files, in order.
        class_names: the classes of the dataset. If the files name their classes, the names are matched.

    Returns:
        The set, with RGB images. Where there are soft labels, the classes under ``label`` are an extra of the set.

    Raises:
        BenchmarkError: the columns or classes differ, or the images have several sizes.
    """
    for path in paths:
        check_file(path)
    try:
        table = pa.concat_tables([parquet.read_table(path) for path in paths])
        rows = table.to_pydict()
        if None in rows["label"]:
            raise ValueError(f"row {rows['label'].index(None)} has no label")
        encoded_images = enumerate(rows["image"])
        images = stack([decode(item["bytes"], f"{paths[0]}: row {row}") for row, item in encoded_images], str(paths[0]))
        order, labels = _order(paths[0], _names(table), class_names), as_targets(rows["label"])
        if len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < len(order)):
            raise ValueError(f"labels from {int(labels.min())} to {int(labels.max())}, for {len(order)} classes")
        weights = torch.tensor(rows["weight"]) if "weight" in rows else None
        classes = order[labels]
        if "soft_label" not in rows:
            return SyntheticSet(images, classes, weights)
        return SyntheticSet(images, torch.tensor(rows["soft_label"])[:, order.argsort()], weights, {CLASSES: classes})
    except (pa.ArrowException, KeyError, IndexError, TypeError, ValueError, AttributeError, OSError) as error:
        layout = "images of one size in the column 'image' and classes in the column 'label'"
        raise BenchmarkError(f"{paths[0]}: not a table with {layout} ({one_line(error)[:200]})") from error


def _names(table: Any) -> list[str]:
    """Return the names of the classes that the metadata of a table give, or []."""
    metadata = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
    return list(metadata.get("info", {}).get("features", {}).get("label", {}).get("names") or [])


def _order(path: Path, file_classes: Sequence[str], class_names: Sequence[str]) -> Tensor:
    """Return the label in the dataset of every label in a file, int64 [classes]."""
    if file_classes and sorted(file_classes) != sorted(class_names):
        file_text, dataset_text = (", ".join(names[:5]) for names in (file_classes, class_names))
        raise BenchmarkError(f"{path}: its classes are {file_text}, ...; those of the dataset are {dataset_text}, ...")
    return torch.tensor([list(class_names).index(name) for name in file_classes or class_names])


def _png(pixels: Tensor) -> bytes:
    """Return an image uint8 [C, H, W] as PNG."""
    buffer = io.BytesIO()
    as_image(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _card(images: SyntheticSet, info: DatasetInfo, table: pa.Table, title: str, facts: Mapping[str, str]) -> str:
    """Return the text of README.md; the `datasets` library reads its YAML block."""
    kinds: dict[str, Any] = {
        "image": {"dtype": "image"},
        "label": {"dtype": {"class_label": {"names": {str(i): name for i, name in enumerate(info.class_names)}}}},
        "soft_label": {"sequence": "float32"},
        "weight": {"dtype": "float32"},
    }
    head = {
        "pretty_name": title,
        "task_categories": ["image-classification"],
        "tags": ["dataset-distillation"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*"}]}],
        "dataset_info": {
            "features": [{"name": name, **kinds[name]} for name in table.column_names],
            "splits": [{"name": "train", "num_bytes": table.nbytes, "num_examples": len(images)}],
        },
    }
    shape = " x ".join(map(str, images.images.shape[1:]))
    lines = [
        f"# {title}",
        "",
        f"{len(images)} synthetic images ({shape}) that replace the training set of {info.name}.",
        "The labels that a teacher gives to augmented views are not part of it.",
        "",
        *("| | |", "| :-- | :-- |"),
        *(f"| {name} | {text} |" for name, text in facts.items()),
    ]
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n\n" + "\n".join(lines) + "\n"
