"""What pictures of a distilled set among real images are made of: nearest neighbours, and a plane through features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from torch import Tensor
from torch.nn import functional as F

from benchmark.api import Context, SyntheticSet, TrainData
from benchmark.synthetic import to_uint8

SHOWN, MAPPED = 10, 6  # classes with neighbours, and classes with a map, at most
NEAREST = 3
SIDE = 96  # pixels of a thumbnail, at most
REAL, SYNTHETIC, ATOM = range(3)  # what a point of a map is
Arrays = dict[str, NDArray[Any]]


def nearest_real(
    images: SyntheticSet, features: Mapping[str, Sequence[Tensor]], data: TrainData, context: Context
) -> Arrays:
    """Return the real images nearest to the first synthetic one of some classes, classes evenly spread.

    Args:
        images: the distilled set.
        features: of the set through each extractor, per class [k, D].
        data: the real images.
        context: holds the features of the real sample, in which neighbours of every class are looked for.

    Returns:
        ``labels`` [m]; ``synthetic`` uint8 [m, C, h, w]; ``real`` [m, extractors, `NEAREST`, C, h, w] and
        ``real_labels``, the nearest first; ``extractors``, their names.
    """
    labels = spread(data.info.classes, SHOWN)
    chosen = context.prepared["chosen"]
    firsts = torch.stack([images.images[images.classes == label][0] for label in labels])
    found = []
    for name, by_class in features.items():
        own = torch.stack([by_class[label][0] for label in labels])
        distances = torch.cdist(own.double(), context.prepared[f"{name}.features"].double())
        found.append(chosen[distances.topk(NEAREST, largest=False).indices])
    nearest = torch.stack(found, 1)  # [m, extractors, NEAREST]
    real = thumbnails(data.read(nearest.flatten())).unflatten(0, nearest.shape)
    return {
        "labels": np.array(labels),
        "synthetic": thumbnails(firsts).numpy(),
        "real": real.numpy(),
        "real_labels": data.labels[nearest].numpy(),
        "extractors": np.array(list(features)),
    }


def feature_map(images: SyntheticSet, features: Sequence[Tensor], context: Context) -> Arrays:
    """Return the teacher's features of some classes in the plane of their real images' first principal components.

    Returns:
        ``points`` float32 [P, 2]; ``off`` [P], how far they lie off the plane; ``labels`` [P]; ``kinds`` [P], `REAL`,
        `SYNTHETIC` or `ATOM` of the barycenter that the images are tied to, where the set keeps them
        (``extras["atoms"]`` [N, D]); ``shown`` [m], the classes; ``explained`` [m], the planes' share of the variance.
    """
    real = context.prepared["teacher.features"].split(context.prepared["counts"].tolist())
    shown = spread(len(real), MAPPED)
    atoms = images.extras.get("atoms")
    if atoms is not None and atoms.shape[1] != real[0].shape[1]:
        atoms = None  # features of another network
    points, off, labels, kinds, explained = [], [], [], [], []
    for label in shown:
        plane = PCA(2).fit(real[label].double().numpy())
        explained.append(plane.explained_variance_ratio_.sum())
        given = [real[label], features[label], *([] if atoms is None else [atoms[images.classes == label]])]
        for kind, vectors in enumerate(given):
            points.append(plane.transform(vectors.double().numpy()))
            off.append(np.linalg.norm(plane.inverse_transform(points[-1]) - vectors.numpy(), axis=1))
            labels += [label] * len(vectors)
            kinds += [kind] * len(vectors)
    return {
        "points": np.concatenate(points).astype(np.float32),
        "off": np.concatenate(off).astype(np.float32),
        "labels": np.array(labels),
        "kinds": np.array(kinds),
        "shown": np.array(shown),
        "explained": np.array(explained),
    }


def write(path: Path, arrays: Arrays) -> None:
    """Write named arrays as one compressed file."""
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def spread(classes: int, most: int) -> list[int]:
    """Return at most so many classes, evenly spread."""
    return np.linspace(0, classes - 1, min(most, classes)).round().astype(int).tolist()  # type: ignore[no-any-return]


def thumbnails(images: Tensor) -> Tensor:
    """Return images as uint8 of `SIDE` pixels at most."""
    factor = SIDE / max(images.shape[-2:])
    if factor < 1:
        pixels = to_uint8(images).float() / 255
        images = F.interpolate(pixels, scale_factor=factor, mode="bilinear", antialias=True)
    return to_uint8(images)
