"""The feature terms that compare distributions agree with scipy's and POT's."""

import numpy as np
import ot
import pytest
import scipy.stats
import torch
from torch.nn import functional as F

from methods.mmd import EnergyDistance, root
from methods.parts.sliced import SlicedGaps, quantile_means

GENERATOR = torch.Generator().manual_seed(0)


def points(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=GENERATOR, dtype=torch.float64)


def test_the_energy_distance_is_scipys_on_a_line():
    synthetic, real = points(2, 5, 1), points(2, 40, 1)
    wanted = sum(
        scipy.stats.energy_distance(a.flatten(), b.flatten()) ** 2 for a, b in zip(synthetic, real, strict=True)
    )
    assert EnergyDistance(real)(synthetic).item() == pytest.approx(wanted, rel=1e-9)


def test_a_set_has_energy_distance_zero_from_itself_and_a_finite_gradient():
    real = points(3, 6, 4)
    synthetic = real.clone().requires_grad_()
    distance = EnergyDistance(real)(synthetic)
    assert distance.item() == pytest.approx(0, abs=1e-12)
    root(distance).backward()
    assert synthetic.grad is not None and synthetic.grad.isfinite().all()


@pytest.mark.parametrize(("n", "m"), [(4, 12), (5, 12), (1, 7), (7, 7)])
def test_the_sliced_distance_is_pots(n, m):
    synthetic, real, directions = points(2 * n, 6), points(2, m, 6), F.normalize(points(6, 50), dim=0)
    gaps = SlicedGaps(list(real), n, directions)
    wanted, constant = 0.0, 0.0
    for own, other in zip(synthetic.view(2, n, 6), real, strict=True):
        distance = ot.sliced_wasserstein_distance(own, other, projections=directions, p=2)
        wanted += 6 * n * float(distance) ** 2
        line = (other @ directions).numpy()
        means = quantile_means(other @ directions, n).numpy()
        constant += 6 * n * float(np.mean((line**2).mean(0) - (means**2).mean(0)))
    assert gaps(synthetic).square().sum().item() + constant == pytest.approx(wanted, rel=1e-9)


def test_the_gradient_of_the_sliced_distance_is_pots():
    n, real, directions = 3, points(1, 8, 4), F.normalize(points(4, 30), dim=0)
    synthetic = points(n, 4).requires_grad_()
    (ours,) = torch.autograd.grad(SlicedGaps(list(real), n, directions)(synthetic).square().sum(), synthetic)
    theirs_loss = 4 * n * ot.sliced_wasserstein_distance(synthetic, real[0], projections=directions, p=2) ** 2
    (theirs,) = torch.autograd.grad(theirs_loss, synthetic)
    torch.testing.assert_close(ours, theirs)
