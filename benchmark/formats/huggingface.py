"""Distilled sets as folders of the `datasets` library: a parquet file with PNG images, and a card.

Written by pyarrow alone; ``datasets.load_dataset(FOLDER)`` reads them as an ``Image`` and a ``ClassLabel``.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import yaml
from PIL import Image
from pyarrow import parquet
from torch import Tensor

from benchmark.api import DatasetInfo
from benchmark.errors import BenchmarkError
from benchmark.synthetic import SyntheticSet, to_uint8

FILE = "data/train-00000-of-00001.parquet"
IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def write(images: SyntheticSet, info: DatasetInfo, folder: Path, title: str, facts: Mapping[str, str]) -> None:
    """Write ``data/*.parquet`` and ``README.md``.

    Args:
        images: the set; pixels are rounded to 8 bit, and further columns hold soft labels and weights.
        info: of the dataset that it stands for.
        folder: where to.
        title: of the card.
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
        class_names: of the dataset; where a file names its classes, these are matched by name.

    Returns:
        The set; images as RGB.

    Raises:
        BenchmarkError: other columns, images of several sizes, or other classes.
    """
    try:
        table = pa.concat_tables([parquet.read_table(path) for path in paths])
        rows = table.to_pydict()
        arrays = [np.asarray(Image.open(io.BytesIO(item["bytes"])).convert("RGB")) for item in rows["image"]]
        images = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()
        soft = torch.tensor(rows["soft_label"]) if "soft_label" in rows else None
        weights = torch.tensor(rows["weight"]) if "weight" in rows else None
        order = _order(paths[0], _names(table), class_names)
        targets = order[torch.tensor(rows["label"])] if soft is None else soft[:, order.argsort()]
        return SyntheticSet(images, targets, weights)
    except (pa.ArrowException, KeyError, IndexError, TypeError, ValueError, OSError) as error:
        wanted = "images of one size under 'image' and classes under 'label'"
        raise BenchmarkError(f"{paths[0]}: not a table with {wanted} ({error})") from error


def _names(table: Any) -> list[str]:
    """Return the names of the classes that a table gives, or []."""
    said = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
    return list(said.get("info", {}).get("features", {}).get("label", {}).get("names") or [])


def _order(path: Path, theirs: Sequence[str], ours: Sequence[str]) -> Tensor:
    """Return the place of each of their classes among ours."""
    if theirs and sorted(theirs) != sorted(ours):
        shown = ", ".join(theirs[:5])
        raise BenchmarkError(
            f"{path}: its classes are {shown}, ...; those of the dataset are {', '.join(ours[:5])}, ..."
        )
    return torch.tensor([list(ours).index(name) for name in theirs or ours])


def _png(pixels: Tensor) -> bytes:
    """Return an image uint8 [C, H, W] as PNG."""
    array, buffer = pixels.permute(1, 2, 0).numpy(), io.BytesIO()
    Image.fromarray(array.squeeze(-1) if array.shape[-1] == 1 else array).save(buffer, "PNG")
    return buffer.getvalue()


def _card(images: SyntheticSet, info: DatasetInfo, table: pa.Table, title: str, facts: Mapping[str, str]) -> str:
    """Return the README.md that a hub shows; the `datasets` library reads its YAML block."""
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
        f"{len(images)} synthetic images ({shape}) that stand for the training set of {info.name}.",
        "What a teacher says of augmented views is not part of the set.",
        "",
        *("| | |", "| :-- | :-- |"),
        *(f"| {name} | {text} |" for name, text in facts.items()),
    ]
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n\n" + "\n".join(lines) + "\n"
