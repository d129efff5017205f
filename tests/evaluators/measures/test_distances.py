"""Distances: slow references, properties of each distance, and the measure on a toy dataset."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.optimize import linear_sum_assignment
from sklearn.covariance import LedoitWolf

from benchmark.api import SyntheticSet
from benchmark.errors import BenchmarkError
from benchmark.plan.discovery import load_measure, load_preparation
from benchmark.vision.augment import normalize
from benchmark.vision.models import batch_norms, create_model, features_and_logits
from evaluators.measures.distances import Distances, statistics_errors
from evaluators.parts.features import RealFeatures, respond
from evaluators.parts.formulas import NEIGHBOURS, Real, cosine, w2
from evaluators.parts.neighbours import ATOM, REAL, SYNTHETIC

LENGTHS = ("mean_gap", "w2", "sinkhorn", "sliced_w2")
METRICS = (*LENGTHS, "mmd_rbf", "energy", "density", "coverage")


def gaussian(n: int, seed: int, size: int = 6, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, size, generator=generator, dtype=torch.float64) + shift


def real_of(features: torch.Tensor, projections: int = 500) -> Real:
    directions = torch.nn.functional.normalize(gaussian(features.shape[1], 99, projections), dim=0)
    return Real(features, float(torch.pdist(features).median()), directions)


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return math.sqrt(sum((p - q) ** 2 for p, q in zip(a.tolist(), b.tolist(), strict=True)))


class TestAgainstSlowReferences:
    x, y = gaussian(14, 0), 1.3 * gaussian(8, 1, shift=0.4)

    @pytest.fixture
    def real(self) -> Real:
        return real_of(self.x)

    def test_mmd(self, real):
        def kernel(a, b):
            return math.exp(-(distance(a, b) ** 2) / (2 * real.scale**2))

        def among(points):
            pairs = [kernel(a, b) for i, a in enumerate(points) for j, b in enumerate(points) if i != j]
            return sum(pairs) / len(pairs)

        across = sum(kernel(a, b) for a in self.x for b in self.y) / (14 * 8)
        wanted = among(self.x) + among(self.y) - 2 * across
        assert real.distances(self.y)["mmd_rbf"] == pytest.approx(wanted, rel=1e-9)

    def test_energy(self, real):
        def mean(a, b):
            return sum(distance(p, q) for p in a for q in b) / (len(a) * len(b))

        wanted = 2 * mean(self.x, self.y) - mean(self.x, self.x) - mean(self.y, self.y)
        assert real.distances(self.y)["energy"] == pytest.approx(wanted, rel=1e-6)

    def test_w2_is_the_best_assignment(self):
        other = gaussian(14, 5)
        costs = np.array([[distance(a, b) ** 2 for b in other] for a in self.x])
        best = costs[linear_sum_assignment(costs)].mean()
        assert w2(torch.cdist(self.x, other)) ** 2 == pytest.approx(best, rel=1e-9)

    def test_sinkhorn(self, real):
        blur = (0.05 * real.scale) ** 2

        def transport(a, b):
            """The entropic cost for |x - y|^2 / 2 by its dual, after many alternate updates."""
            cost = torch.cdist(a, b).square() / 2
            f, g = torch.zeros(len(a)).double(), torch.zeros(len(b)).double()
            for _ in range(3000):
                f = -blur * torch.logsumexp((g - cost) / blur - math.log(len(b)), 1)
                g = -blur * torch.logsumexp((f[:, None] - cost) / blur - math.log(len(a)), 0)
            return float(f.mean() + g.mean())

        wanted = transport(self.x, self.y) - transport(self.x, self.x) / 2 - transport(self.y, self.y) / 2
        assert real.sinkhorn(self.y) == pytest.approx(math.sqrt(2 * wanted), rel=0.02)

    def test_sliced_w2(self, real):
        other = gaussian(14, 5)  # of equal masses the sorted ones pair up
        sides = [(points @ real.projections).sort(0).values for points in (self.x, other)]
        wanted = (sides[0] - sides[1]).square().mean().sqrt()
        assert real.sliced_w2(other) == pytest.approx(float(wanted), rel=1e-9)

    def test_density_and_coverage(self, real):
        few, other = self.x[:8], self.y + 1
        radii = [sorted(distance(a, b) for b in few)[NEIGHBOURS] for a in few]
        inside = np.array([[distance(a, b) < radius for b in other] for a, radius in zip(few, radii, strict=True)])
        numbers = real.distances(other)
        assert numbers["density"] == pytest.approx(inside.sum() / (NEIGHBOURS * len(other)))
        assert numbers["coverage"] == pytest.approx(inside.any(1).mean())
        assert 0 < numbers["coverage"] < 1

    def test_frechet(self, real):
        first, second = (LedoitWolf().fit(points.numpy()).covariance_ for points in (self.x, self.y))
        gap = (self.x.mean(0) - self.y.mean(0)).square().sum()
        wanted = float(gap) + np.trace(first + second - 2 * sqrtm(first @ second).real)
        assert real.frechet(self.y) == pytest.approx(math.sqrt(wanted), rel=1e-9)

    def test_cosine(self):
        def angle(a, b):
            return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))

        pairs = [angle(self.y[i], self.y[j]) for i in range(8) for j in range(i)]
        assert cosine(self.y) == pytest.approx(sum(pairs) / len(pairs))


class TestWhatMustHold:
    @pytest.mark.parametrize("seed", range(3))
    def test_of_a_set_and_itself(self, seed):
        points = gaussian(20, seed)
        real = real_of(points)
        numbers = real.distances(points)
        assert [numbers[name] for name in (*LENGTHS, "energy")] == pytest.approx([0] * 5, abs=1e-3)
        assert numbers["mmd_rbf"] < 0  # unbiased: the pairs of equal points count on one side only
        assert (numbers["density"], numbers["coverage"], real.variance_ratio(points)) == pytest.approx((1, 1, 1))
        assert (real.gaussian_w2(points), real.frechet(points)) == pytest.approx((0, 0), abs=1e-5)

    @pytest.mark.parametrize("seed", range(3))
    def test_a_translation_by_v_is_as_far_as_v_is_long(self, seed):
        points, v = gaussian(20, seed), gaussian(1, seed + 10)
        numbers, length = real_of(points).distances(points + v), float(v.norm())
        assert numbers["w2"] ** 2 == pytest.approx(length**2, rel=1e-9)
        assert numbers["mean_gap"] == pytest.approx(length, rel=1e-9)
        assert numbers["sinkhorn"] == pytest.approx(length, rel=1e-2)
        assert numbers["sliced_w2"] == pytest.approx(length / math.sqrt(6), rel=0.1)  # in 6 dimensions, on average
        assert real_of(points).gaussian_w2(points + v) == pytest.approx(length)
        assert real_of(points).frechet(points + v) == pytest.approx(length, rel=1e-5)

    @pytest.mark.parametrize("k", [1, 2, 7, 30])
    def test_which_distance_bounds_which(self, k):
        real, points = real_of(gaussian(25, 0)), 1.5 * gaussian(k, k, shift=0.3)
        numbers, diagonal = real.distances(points), real.gaussian_w2(points)
        assert numbers["mean_gap"] <= diagonal <= numbers["w2"] + 1e-9
        assert numbers["sliced_w2"] < numbers["w2"]
        assert numbers["energy"] > 0

    def test_mmd_is_zero_on_average_between_equals_and_no_plug_in_estimate_is(self):
        numbers, naive = [], []
        for seed in range(300):
            x, y = gaussian(20, 2 * seed, 3), gaussian(6, 2 * seed + 1, 3)
            real = Real(x, 1.5, torch.eye(3, dtype=torch.float64))
            numbers.append(real.mmd_rbf(torch.cdist(x, y), torch.cdist(y, y)))
            naive.append(numbers[-1] + (1 - real.mean_kernel) / 20 + (1 - real.mean_kernel) / 6)
        error = np.std(numbers) / math.sqrt(len(numbers))
        assert abs(np.mean(numbers)) < 3 * error
        assert np.mean(naive) > 10 * error

    def test_gaussians_have_the_distance_of_the_closed_form(self):
        first, second = torch.tensor([1.0, 2.0, 3.0]).double(), torch.tensor([2.0, 2.0, 0.5]).double()
        real = real_of(gaussian(4000, 0, 3) * first, 2)
        other = gaussian(4000, 1, 3) * second + torch.tensor([1.0, 0.0, 2.0])
        wanted = math.sqrt(5 + float((first - second).square().sum()))  # the covariances commute
        assert (real.frechet(other), real.gaussian_w2(other)) == pytest.approx((wanted, wanted), rel=0.02)

    def test_two_clusters_of_which_one_is_missed(self):
        clusters = torch.cat([gaussian(20, 0), gaussian(20, 1, shift=30)])[torch.randperm(40)]
        numbers = real_of(clusters).distances(gaussian(40, 2))
        assert numbers["coverage"] < 0.6
        assert numbers["density"] > 0.4

    def test_what_one_image_does_not_define_is_not_a_number(self):
        real, one = real_of(gaussian(20, 0)), gaussian(1, 1)
        numbers = real.distances(one)
        undefined = {name for name, value in numbers.items() if math.isnan(value)}
        assert undefined == {"mmd_rbf", "density", "coverage"}
        assert math.isnan(cosine(one))
        assert math.isnan(real.variance_ratio(one))


@pytest.fixture
def context(toy_context, toy_info, toy_data):
    neutral = create_model("test_efficientnet", classes=3, resolution=toy_info.resolution, seed=3).eval()
    both = dataclasses.replace(toy_context, teachers=(*toy_context.teachers, neutral))
    return dataclasses.replace(both, prepared=RealFeatures(images_per_class=11).prepare(toy_data, both))


def real_set(data, count: int, first: int = 0) -> SyntheticSet:
    indices = torch.cat([data.indices_of(label)[first : first + count] for label in range(3)])
    return SyntheticSet(data.read(indices), data.labels[indices])


def noise_set(count: int) -> SyntheticSet:
    generator = torch.Generator().manual_seed(5)
    pixels = torch.randint(0, 256, (3 * count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return SyntheticSet(pixels, torch.arange(3).repeat_interleave(count))


class TestRealFeatures:
    def test_they_are_those_of_the_chosen_images(self, context, toy_data, toy_info):
        chosen = context.prepared["chosen"]
        assert context.prepared["counts"].tolist() == [11, 11, 11]
        assert len(set(chosen.tolist())) == 33
        assert toy_data.labels[chosen].tolist() == [0] * 11 + [1] * 11 + [2] * 11
        for name, network in zip(("teacher", "neutral"), context.teachers, strict=True):
            wanted, _ = features_and_logits(network, normalize(toy_data.read(chosen), toy_info))
            assert torch.allclose(context.prepared[f"{name}.features"], wanted, atol=1e-4)
            medians = [torch.pdist(part.double()).median() for part in (*wanted.split(11), wanted)]
            assert context.prepared[f"{name}.scale"].tolist() == pytest.approx([m.item() for m in medians], rel=1e-3)

    def test_statistics_are_those_of_all_batch_norm_inputs(self, context, toy_data, toy_info):
        network, inputs = context.teachers[0], []
        for layer in batch_norms(network):
            layer.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
        network(normalize(toy_data.read(context.prepared["chosen"][11:22]), toy_info))
        variances, means = zip(*(torch.var_mean(x, (0, 2, 3), correction=0) for x in inputs), strict=True)
        assert torch.allclose(context.prepared["teacher.mean"][1].float(), torch.cat(means), atol=1e-4)
        assert torch.allclose(context.prepared["teacher.var"][1].float(), torch.cat(variances), atol=1e-4)

    def test_a_class_of_one_image_is_named(self, context, toy_data, toy_info):
        info = toy_info.model_copy(update={"train_counts": (11, 1, 11)})
        data = type(toy_data)(info, toy_data.images, toy_data.labels)
        with pytest.raises(BenchmarkError, match=f"class '{toy_info.class_names[1]}' of .* has one training image"):
            RealFeatures().prepare(data, context)

    def test_it_is_found_by_its_name(self):
        assert load_preparation(RealFeatures.name()) is RealFeatures
        assert load_measure("distances") is Distances


class TestStatisticsErrors:
    def test_is_zero_for_the_sample_itself(self, context, toy_data):
        responses = respond(
            context.teachers[0], [toy_data.read(context.prepared["chosen"][:11])], toy_data.info, context
        )
        real = [context.prepared[f"teacher.{name}"] for name in ("mean", "var", "channels")]
        assert statistics_errors(responses, real[0][0], real[1][0], real[2])["statistics_error"] == pytest.approx(
            0, abs=1e-8
        )

    def test_by_hand(self, context, toy_data):
        responses = respond(context.teachers[0], [toy_data.read(torch.arange(4))], toy_data.info, context)
        channels = context.prepared["teacher.channels"]
        mean, var = responses.mean + 0.5, responses.var * 2
        numbers = statistics_errors(responses, mean, var, channels)
        offsets = [0, *np.cumsum(channels.numpy()).tolist()]
        wanted = [0.25 * (b - a) / float(var[a:b].sum()) for a, b in itertools.pairwise(offsets)]
        assert numbers["statistics_mean"] == pytest.approx(sum(wanted) / len(wanted))
        assert numbers["statistics_variance"] == pytest.approx(0.25)
        assert numbers["statistics_error"] == pytest.approx(numbers["statistics_mean"] + 0.25)

    def test_a_network_without_batch_norms_has_none(self, context, toy_data):
        network = create_model("test_vit", classes=3, resolution=32, seed=0).eval()
        responses = respond(network, [toy_data.read(torch.arange(2))], toy_data.info, context)
        assert statistics_errors(responses, responses.mean, responses.var, torch.tensor([], dtype=torch.int64)) == {}


class TestMeasure:
    def test_real_images_lie_near_their_floor_and_noise_far_away(self, context, toy_data, tmp_path):
        real = Distances().measure(real_set(toy_data, 6), toy_data, context, tmp_path)
        noise = Distances().measure(noise_set(6), toy_data, context, tmp_path)
        for name in ("w2", "sinkhorn", "sliced_w2", "energy", "gaussian_w2", "overall.w2", "statistics_error"):
            for extractor in ("teacher", "neutral"):
                floor = real[f"{extractor}.{name}_floor"]
                assert floor == noise[f"{extractor}.{name}_floor"]  # the same draws for every set
                assert real[f"{extractor}.{name}"] < 2 * floor, name
                assert noise[f"{extractor}.{name}"] > 2.5 * floor, name
        assert noise["teacher.overall.coverage"] < 0.5 < real["teacher.overall.coverage"]

    def test_the_floor_comes_from_different_sets_of_as_many_real_images_of_the_class(self, context, toy_data):
        images = noise_set(6)
        synthetic, *draws = Distances(draws=4)._sets(images, toy_data, 1, context)
        assert torch.equal(synthetic, images.images[images.classes == 1])
        real = [image.tobytes() for image in toy_data.read(toy_data.indices_of(1)).numpy()]
        chosen = [frozenset(real.index(image.tobytes()) for image in draw.numpy()) for draw in draws]
        assert [len(indices) for indices in chosen] == [6] * 4
        assert len(set(chosen)) == 4

    def test_a_number_is_the_mean_over_classes(self, context, toy_data, tmp_path):
        numbers = Distances().measure(real_set(toy_data, 6), toy_data, context, tmp_path)
        arrays = np.load(tmp_path / "per_class.npz")
        own = {name: value for name, value in numbers.items() if ".overall." not in name}
        assert set(arrays) == set(own)
        assert {name: arrays[name].mean() for name in arrays} == pytest.approx(own)
        assert all(arrays[name].shape == (3,) for name in arrays)

    def test_every_distance_has_its_floor_and_overall_value(self, context, toy_data, tmp_path):
        numbers = Distances().measure(noise_set(6), toy_data, context, tmp_path)
        for name in (*METRICS, "gaussian_w2"):
            for key in (f"teacher.{name}", f"neutral.overall.{name}"):
                assert isinstance(numbers[key], float)
                assert isinstance(numbers[f"{key}_floor"], float)
        declared = [name for column in Distances.columns for name in (column.name, column.floor)]
        assert sorted(declared) == sorted(numbers), "every number has a column or is the floor of one"

    def test_one_image_per_class(self, context, toy_data, tmp_path):
        numbers = Distances().measure(real_set(toy_data, 1), toy_data, context, tmp_path)
        assert numbers["teacher.mmd_rbf"] is numbers["teacher.cosine"] is None
        assert isinstance(numbers["teacher.w2"], float)
        assert isinstance(numbers["teacher.overall.mmd_rbf"], float)


class TestPictures:
    @pytest.fixture
    def arrays(self, context, toy_data, tmp_path):
        chosen = context.prepared["chosen"]
        atoms = torch.cat([part[:2] for part in context.prepared["teacher.features"].split(11)])
        indices = torch.cat([part[:2] for part in chosen.split(11)])
        images = SyntheticSet(toy_data.read(indices), toy_data.labels[indices], extras={"atoms": atoms})
        Distances().measure(images, toy_data, context, tmp_path)
        return np.load(tmp_path / "neighbours.npz"), np.load(tmp_path / "map.npz"), images

    def test_the_nearest_neighbour_of_a_real_image_is_itself(self, arrays):
        neighbours, _, images = arrays
        assert neighbours["labels"].tolist() == [0, 1, 2]
        assert neighbours["real"].shape == (3, 2, 3, 3, 32, 32)
        for extractor in range(2):
            assert (neighbours["real"][:, extractor, 0] == images.images[::2].numpy()).all()
            assert neighbours["real_labels"][:, extractor, 0].tolist() == [0, 1, 2]

    def test_the_map_holds_all_three_kinds_of_points(self, arrays):
        _, plane, _ = arrays
        counts = {kind: int((plane["kinds"] == kind).sum()) for kind in (REAL, SYNTHETIC, ATOM)}
        assert counts == {REAL: 33, SYNTHETIC: 6, ATOM: 6}
        for label in plane["shown"]:
            here = plane["labels"] == label
            points = {kind: plane["points"][here & (plane["kinds"] == kind)] for kind in counts}
            assert np.allclose(points[SYNTHETIC], points[ATOM], atol=1e-3)  # its atoms are its own features
            assert np.allclose(points[REAL].mean(0), 0, atol=1e-4)
        assert ((plane["explained"] > 0) & (plane["explained"] <= 1.0001)).all()
