"""Distilled sets and their labels: their content, their files and their sizes in bytes."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from mmap import mmap
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from benchmark.errors import BenchmarkError

Metadata = Mapping[str, Any]
LabelKind = Literal["hard", "soft", "per_epoch", "pool"]
TENSORS = ("images", "targets", "weights")  # the names in a file of what is no extra
CLASSES = "classes"  # the name in extras of the classes of images whose soft labels were learned


@dataclass(frozen=True)
class SyntheticSet:
    """A distilled set: images in pixel space (never normalised) with their targets.

    Attributes:
        images: [N, C, H, W]; uint8, or float32 where 0 is black and 1 is white but values may lie outside of [0, 1].
        targets: the class of each image, int64 [N], or its soft label, float32 [N, classes]: probabilities.
        weights: float32 [N], non-negative: the weight of each image in the student's loss. None: all equal.
        extras: further tensors [N, ...], such as snapshots over the iterations; students do not use them. `CLASSES`,
            int64 [N], says the class that an image was made for, where learned soft labels may say another one.
        metadata: further values that JSON can hold: a learned step size, losses.

    Raises:
        ValueError: a shape or type is wrong.
    """

    images: Tensor
    targets: Tensor
    weights: Tensor | None = None
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    metadata: Metadata = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check shapes and types."""
        tensors = {"images": self.images, "targets": self.targets, **self.extras}
        tensors |= {} if self.weights is None else {"weights": self.weights}
        if names := [name for name, value in tensors.items() if not isinstance(value, Tensor)]:
            raise ValueError(f"{', '.join(names)}: must be tensors, not {type(tensors[names[0]]).__name__}")
        if self.images.dim() != 4 or self.images.dtype not in (torch.uint8, torch.float32):
            raise ValueError(f"images must be uint8 or float32 [N, C, H, W], not {_shape(self.images)}")
        if self.targets.dim() not in (1, 2):
            raise ValueError(f"targets must be int64 [N] or float32 [N, classes], not {_shape(self.targets)}")
        if len(self.targets) != len(self.images):
            raise ValueError(f"there are {len(self.images)} images, but {len(self.targets)} targets")
        if self.targets.dim() == 1 and self.targets.dtype != torch.int64:
            raise ValueError(f"class targets must be int64, not {self.targets.dtype}")
        if self.targets.dim() == 2 and not (self.targets.dtype == torch.float32 and self.targets.shape[1]):
            raise ValueError(f"soft targets must be float32 [N, classes], not {_shape(self.targets)}")
        made_for = self.extras.get(CLASSES)
        if made_for is not None and not (made_for.shape == (len(self.images),) and made_for.dtype == torch.int64):
            raise ValueError(f"extras {CLASSES!r} must be int64 [N], not {_shape(made_for)}")
        if self.weights is not None and not (
            self.weights.shape == (len(self.images),) and self.weights.is_floating_point()
        ):
            raise ValueError(f"weights must have the shape [N] and be floating point, not {_shape(self.weights)}")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def classes(self) -> Tensor:
        """The class of each image, int64 [N]; of a soft target, that in extras, or else the likeliest one."""
        return self.targets if self.targets.dim() == 1 else self.extras.get(CLASSES, self.targets.argmax(1))

    @property
    def images_bytes(self) -> int:
        """Bytes that images and weights take in a file."""
        return int(self.images.nbytes) + (0 if self.weights is None else int(self.weights.nbytes))

    @property
    def soft_bytes(self) -> int:
        """Bytes of soft targets; 0 where targets are classes."""
        return int(self.targets.nbytes) if self.targets.dim() == 2 else 0

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes for the record of the set: ``images`` raw, and ``images_png`` where PNG can hold them."""
        png = self.png_bytes
        return {"images": self.images_bytes, **({} if png is None else {"images_png": png})}

    @property
    def png_bytes(self) -> int | None:
        """Bytes of the images as PNG files, without loss, and of the weights; None for images that are not uint8."""
        if self.images.dtype != torch.uint8:
            return None
        total = 0 if self.weights is None else int(self.weights.nbytes)
        for pixels in self.images:
            file = io.BytesIO()
            as_image(pixels).save(file, "png", optimize=True)
            total += file.tell()
        return total

    def save(self, path: Path) -> None:
        """Write the set as one safetensors file."""
        tensors = {"images": self.images, "targets": self.targets}
        tensors |= {} if self.weights is None else {"weights": self.weights}
        tensors |= {f"extra.{name}": value for name, value in self.extras.items()}
        contiguous = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        save_file(contiguous, path, metadata={"synthetic": json.dumps(dict(self.metadata))})

    @classmethod
    def load(cls, path: Path) -> SyntheticSet:
        """Return the set that `save` wrote.

        Raises:
            BenchmarkError: the file holds no synthetic set.
        """
        try:
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                metadata = json.loads((file.metadata() or {}).get("synthetic", "{}"))
            extras = {n.removeprefix("extra."): t for n, t in tensors.items() if n.startswith("extra.")}
            if strange := [n for n in tensors if n not in TENSORS and n.removeprefix("extra.") not in extras]:
                raise ValueError(f"it has {', '.join(strange)}; known are {', '.join(TENSORS)} and extra.NAME")
            if not isinstance(metadata, dict):
                raise ValueError("its metadata are no mapping")
            return cls(tensors["images"], tensors["targets"], tensors.get("weights"), extras, metadata)
        except (SafetensorError, KeyError, ValueError, TypeError, AttributeError, OSError) as error:
            raise BenchmarkError(f"{path}: not a synthetic set ({error})") from error

    @classmethod
    def merge(cls, parts: Sequence[SyntheticSet]) -> SyntheticSet:
        """Return the units of a set joined into one, class by class; within a class in the order of the units.

        Pixels are copied once, from the mapped files to their place.

        Raises:
            BenchmarkError: units differ in the type of their tensors.
            ValueError: some units have weights and some have none.
        """
        if len(parts) == 1:
            return parts[0]
        order = torch.argsort(torch.cat([part.classes for part in parts]), stable=True)
        weighted = [part.weights for part in parts if part.weights is not None]
        if weighted and len(weighted) != len(parts):
            raise ValueError("some units have weights and some have none")
        names = [name for name in parts[0].extras if all(name in part.extras for part in parts)]
        return cls(
            _joined([part.images for part in parts], order),
            _joined([part.targets for part in parts], order),
            _joined(weighted, order) if weighted else None,
            {name: _joined([part.extras[name] for part in parts], order) for name in names},
            {"units": [dict(part.metadata) for part in parts]},
        )

    def export_folder(self, folder: Path, class_names: Sequence[str]) -> None:
        """Write each image as ``folder/CLASS/NNNNN.png``; float32 images are rounded to 8 bits."""
        counts = dict.fromkeys(range(len(class_names)), 0)
        for pixels, label in zip(to_uint8(self.images), self.classes.tolist(), strict=True):
            target = folder / class_names[label] / f"{counts[label]:05d}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            as_image(pixels).save(target)
            counts[label] += 1


def are_probabilities(targets: Tensor) -> bool:
    """Return whether soft labels [N, classes] are probabilities that sum to 1."""
    return bool((targets >= 0).all()) and bool(((targets.sum(1) - 1).abs() < 0.01).all())


def are_weights(weights: Tensor) -> bool:
    """Return whether weights [N] are finite, 0 or more, and not all 0."""
    return bool((weights >= 0).all()) and 0 < float(weights.sum()) < math.inf


def to_uint8(images: Tensor) -> Tensor:
    """Return float images in [0, 1] as uint8, rounded to the nearest value; return uint8 images unchanged."""
    return images if images.dtype == torch.uint8 else (images.clamp(0, 1) * 255).round().to(torch.uint8)


def as_image(pixels: Tensor) -> Image.Image:
    """Return uint8 pixels [C, H, W] with one or three channels as a grey or an RGB image."""
    array = pixels.cpu().permute(1, 2, 0).numpy()
    return Image.fromarray(array.squeeze(-1) if array.shape[-1] == 1 else array)


@dataclass(frozen=True)
class Labels:
    """The labels from which a student learns.

    Attributes:
        kind: ``hard``: the targets of the set; ``soft``: one label per image; ``per_epoch``: one label per view of each
            epoch (FKD), in the order of the views; ``pool``: one per view of the first batches, from which the student
            draws its batches.
        logits: None for hard labels, and for labels that the teacher gives while the student trains. Else float16,
            possibly memory-mapped: [N, classes] (soft), [epochs, N, classes] (per epoch) or [views, classes] (pool);
            where only the largest logits are kept, structured values without the last axis (`evaluators.parts.top`).
            Where epochs are fewer than those that the student trains, they repeat.
        views: the fields of the schedule, from which the views are computed again; views are never stored.
        seed: the seed of the views.
        draws: how the student draws from a pool (`evaluators.parts.pool`); {} for the other kinds.
    """

    kind: LabelKind
    logits: np.ndarray[Any, np.dtype[Any]] | None = None
    views: Metadata = field(default_factory=dict)
    seed: int = 0
    draws: Metadata = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of the stored logits; 0 where there are none."""
        return 0 if self.logits is None else int(self.logits.nbytes)

    def logits_at(self, index: Any) -> np.ndarray[Any, np.dtype[Any]]:
        """Return a copy of stored logits, ``logits[index]``.

        Each call maps the file anew: pages that a memory map has touched count as memory until the map is closed, so
        that only the pages of this call count.
        """
        if isinstance(self.logits, np.memmap) and isinstance(self.logits.base, mmap):  # a whole file, no slice
            return np.array(np.load(str(self.logits.filename), mmap_mode="r")[index])
        return np.array(np.asarray(self.logits)[index])

    def save(self, folder: Path) -> None:
        """Write ``labels.json``, and ``logits.npy`` unless the file exists."""
        if self.logits is not None and not (folder / "logits.npy").exists():
            np.save(folder / "logits.npy", self.logits)
        fields = {"kind": self.kind, "views": dict(self.views), "seed": self.seed}
        fields |= {"draws": dict(self.draws)} if self.draws else {}
        (folder / "labels.json").write_text(json.dumps(fields))

    @classmethod
    def load(cls, folder: Path) -> Labels:
        """Return the labels that `save` wrote; the logits are memory-mapped."""
        fields = json.loads((folder / "labels.json").read_text())
        path = folder / "logits.npy"
        return cls(**fields, logits=np.load(path, mmap_mode="r") if path.exists() else None)


@dataclass(frozen=True)
class LabeledSet:
    """A synthetic set together with the labels of one regime."""

    images: SyntheticSet
    labels: Labels


def _joined(parts: Sequence[Tensor], order: Tensor) -> Tensor:
    """Return ``torch.cat(parts)[order]``, without the memory of the joined parts in their own order.

    Raises:
        BenchmarkError: parts differ in type; a pixel of 255 means white in one type, and 1 does in the other.
    """
    types = sorted({str(part.dtype) for part in parts})
    if len(types) > 1:
        raise BenchmarkError(f"the units of a set differ in type: {', '.join(types)}; a method returns one type")
    rows_of_all = torch.empty((len(order), *parts[0].shape[1:]), dtype=parts[0].dtype)
    places = torch.argsort(order).split([len(part) for part in parts])
    for part, rows in zip(parts, places, strict=True):
        rows_of_all[rows] = part
    return rows_of_all


def _shape(tensor: Tensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}"


class TensorFile(Mapping[str, Tensor]):
    """The tensors of a safetensors file by name, on the CPU.

    Each access by name maps the file anew. Its pages are read when they are touched, and count as memory until the
    tensor and all slices of it are deleted. So only the pages count that were touched since the last access.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with safe_open(path, framework="pt") as file:
            self._names = tuple(file.keys())

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        with safe_open(self.path, framework="pt") as file:
            tensor: Tensor = file.get_tensor(name)
            return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
