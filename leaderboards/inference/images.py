"""What the choice of the test images adds to the variance of a mean.

All cells see the same images, so the variance between units holds none of their sampling error, except for the part
that is different in every unit. With the bits of correctness ``d_jx`` (unit j, image x; of a row, or of the difference
of two rows), units and images are crossed random effects, and the variance of the mean over n units and N images is
``unit variance / n + max(0, MS_image - MS_rest) / (n N)``. Subtracting ``MS_rest`` keeps the binomial noise of single
predictions from being counted twice, for the unit variance holds it already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def image_variance(values: Mapping[int, Sequence[Matrix]], units: int) -> float:
    """Return what the choice of test images adds to the variance of a mean, in squared points.

    Args:
        values: unit -> bits [N], or differences of bits, of each of its cells.
        units: how many units the mean has. Without the bits of every unit this part is not known, and 0 is returned.
    """
    if len(values) < max(units, 2):
        return 0.0
    grid = 100 * np.stack([np.mean(cells, axis=0) for cells in values.values()])  # [n, N]
    n, images = grid.shape
    per_image = grid.mean(0)
    residuals = grid - per_image - grid.mean(1, keepdims=True) + grid.mean()
    between = n * float(per_image.var(ddof=1))
    return max(0.0, between - float((residuals**2).sum()) / ((n - 1) * (images - 1))) / (n * images)
