"""Which test images a student classified correctly, from the records of evaluations."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leaderboards.results.records import Stored, keys_of

FIELD = "correct"  # a metric: base64 of packed bits, the first test image in the highest bit of the first byte
Bits = NDArray[np.bool_]  # [N], in the order of the test split


def bits_by_key(stored: Stored) -> dict[str, Bits]:
    """Return the bits of every evaluation that recorded them, by its key.

    All evaluations on a dataset have the same N. Where no image was right, N is that of the other ones.
    """
    bits, images, datasets = dict[str, Bits](), dict[str, int](), dict[str, str]()
    for cell in stored.cells:
        for key in keys_of(cell, "evaluate"):
            metrics = stored.nodes.records.get(key, {}).get("metrics", {})
            if (decoded := correct_images(metrics)) is not None:
                bits[key], datasets[key] = decoded, cell["dataset"]
                if decoded.any():
                    images[cell["dataset"]] = len(decoded)
    return {key: right[: images.get(datasets[key])] for key, right in bits.items()}


def correct_images(metrics: Mapping[str, Any]) -> Bits | None:
    """Return which test images were right, bool [N]; None where the record does not say, or contradicts its accuracy.

    The packed bits end with up to seven zeros that are no test images. N is the number of images for which the bits
    give the recorded accuracy; where no image was right, all bits count.
    """
    try:
        packed = np.frombuffer(base64.b64decode(str(metrics[FIELD]), validate=True), dtype=np.uint8)
    except (KeyError, binascii.Error):
        return None
    bits = np.unpackbits(packed).astype(bool)
    right = int(bits.sum())
    for images in range(len(bits), max(len(bits) - 8, 0), -1):
        if not bits[images:].any() and abs(100 * right / images - float(metrics["top1"])) < 1e-6:
            return bits[:images]
    return None
