"""Arrays for plots of a distilled set among real images: nearest real images, and features in a plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from benchmark.api import Context, SyntheticSet, TrainData
from benchmark.synthetic import to_uint8

NEIGHBOUR_CLASSES = 10  # classes of which neighbours are kept, at most
MAP_CLASSES = 6  # classes of which a map is kept, at most
NEAREST = 3  # real images per synthetic image
SIDE = 96  # pixels of a thumbnail, at most
REAL, SYNTHETIC, ATOM = range(3)  # kinds of points of a map
Arrays = dict[str, NDArray[Any]]


def nearest_real(
    images: SyntheticSet, features: Mapping[str, Sequence[Tensor]], data: TrainData, context: Context
) -> Arrays:
    """Return the nearest real images, of any class, to the first synthetic image of m evenly spaced classes.

    Args:
        images: the distilled set.
        features: the features of the set in each extractor, [k, D] per class.
        data: the real images.
        context: holds the features of the real sample.

    Returns:
        ``labels`` [m], the classes; ``synthetic`` uint8 [m, C, h, w]; ``real`` [m, extractors, `NEAREST`, C, h, w],
        nearest first; ``real_labels`` [m, extractors, `NEAREST`], their classes; ``extractors``, the names.
    """
    labels = evenly_spaced(data.info.classes, NEIGHBOUR_CLASSES)
    sample = context.prepared["chosen"]
    firsts = torch.stack([images.images[images.classes == label][0] for label in labels])
    by_extractor = []
    for name, by_class in features.items():
        first_features = torch.stack([by_class[label][0] for label in labels])
        distances = torch.cdist(first_features.double(), context.prepared[f"{name}.features"].double())
        by_extractor.append(sample[distances.topk(NEAREST, largest=False).indices])
    nearest = torch.stack(by_extractor, 1)  # [m, extractors, NEAREST]
    real = thumbnails(data.read(nearest.flatten())).unflatten(0, nearest.shape)
    return {
        "labels": np.array(labels),
        "synthetic": thumbnails(firsts).numpy(),
        "real": real.numpy(),
        "real_labels": data.labels[nearest].numpy(),
        "extractors": np.array(list(features)),
    }


def feature_map(images: SyntheticSet, features: Sequence[Tensor], context: Context) -> Arrays:
    """Return the teacher's features of m classes in the plane of the first two principal components of real images.

    Args:
        images: the distilled set; its ``extras["atoms"]`` [N, D] are atoms to which the images are tied.
        features: the features of the set in the teacher, [k, D] per class.
        context: holds the features of the real sample.

    Returns:
        ``points`` float32 [P, 2]; ``off`` float32 [P], their distance from the plane; ``labels`` [P], their classes;
        ``kinds`` [P], `REAL`, `SYNTHETIC` or `ATOM`; ``shown`` [m], the classes; ``explained`` [m], the share of the
        variance of the real features in the plane.
    """
    from sklearn.decomposition import PCA  # takes seconds

    real = context.prepared["teacher.features"].split(context.prepared["counts"].tolist())
    classes = evenly_spaced(len(real), MAP_CLASSES)
    atoms = images.extras.get("atoms")
    if atoms is not None and atoms.shape[1] != real[0].shape[1]:
        atoms = None  # they are features of another network
    points, off, labels, kinds, explained = [], [], [], [], []
    for label in classes:
        plane = PCA(2).fit(real[label].double().numpy())
        explained.append(plane.explained_variance_ratio_.sum())
        by_kind = [real[label], features[label], *([] if atoms is None else [atoms[images.classes == label]])]
        for kind, vectors in enumerate(by_kind):
            points.append(plane.transform(vectors.double().numpy()))
            off.append(np.linalg.norm(plane.inverse_transform(points[-1]) - vectors.numpy(), axis=1))
            labels += [label] * len(vectors)
            kinds += [kind] * len(vectors)
    return {
        "points": np.concatenate(points).astype(np.float32),
        "off": np.concatenate(off).astype(np.float32),
        "labels": np.array(labels),
        "kinds": np.array(kinds),
        "shown": np.array(classes),
        "explained": np.array(explained),
    }


def write(path: Path, arrays: Arrays) -> None:
    """Write named arrays as one compressed ``.npz`` file."""
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def evenly_spaced(classes: int, most: int) -> list[int]:
    """Return at most `most` classes, evenly spaced."""
    return np.linspace(0, classes - 1, min(most, classes)).round().astype(int).tolist()  # type: ignore[no-any-return]


def thumbnails(images: Tensor) -> Tensor:
    """Return images [n, C, H, W] as uint8 of at most `SIDE` pixels."""
    factor = SIDE / max(images.shape[-2:])
    if factor < 1:
        pixels = to_uint8(images).float() / 255
        images = F.interpolate(pixels, scale_factor=factor, mode="bilinear", antialias=True)
    return to_uint8(images)
