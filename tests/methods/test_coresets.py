"""Real images chosen by their features, and noise."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from methods.herding import Herding, herd
from methods.kmeans_real import KMeansReal
from methods.noise import Noise
from methods.parts.statistics import ClassStatistics


@pytest.fixture
def context(toy_data, toy_context):
    return dataclasses.replace(toy_context, prepared=ClassStatistics().prepare(toy_data, toy_context))


def distill(method, data, context, ipc):
    (unit,) = method.units(data.info, ipc)
    return method.distill(data, unit, context)


def features(n=30, seed=0):
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))


class TestHerding:
    def test_every_choice_brings_the_running_mean_nearest_to_the_mean(self):
        points = features()
        order = herd(points, 10).tolist()
        for size in range(1, 11):
            before = order[: size - 1]
            gaps = {
                i: float((points[[*before, i]].mean(0) - points.mean(0)).norm())
                for i in range(len(points))
                if i not in before
            }
            assert order[size - 1] == min(gaps, key=gaps.get)

    def test_it_is_nearer_to_the_mean_than_95_in_100_random_choices(self):
        points = features()
        chosen = points[herd(points, 5)].mean(0)
        drawn = [points[torch.randperm(30, generator=torch.Generator().manual_seed(s))[:5]].mean(0) for s in range(200)]
        nearer = sum(float((mean - points.mean(0)).norm()) < float((chosen - points.mean(0)).norm()) for mean in drawn)
        assert nearer <= 10

    def test_no_image_is_chosen_twice(self):
        points = torch.cat([torch.zeros(1, 4), 10 + features(9)])
        points[0] = points[1:].mean(0)  # the mean itself would be chosen again and again
        assert sorted(herd(points, 10).tolist()) == list(range(10))

    def test_more_images_extend_fewer(self, toy_data, context):
        few, many = (distill(Herding(), toy_data, context, ipc) for ipc in (2, 5))
        for label in range(3):
            assert torch.equal(few.images[few.targets == label], many.images[many.targets == label][:2])

    def test_the_first_image_of_a_class_has_its_most_central_features(self, toy_data, context):
        result = distill(Herding(), toy_data, context, 1)
        for label in range(3):
            members = toy_data.indices_of(label)
            own = context.prepared["features"][members]
            central = members[(own - own.mean(0)).norm(dim=1).argmin()]
            assert torch.equal(result.images[label], toy_data.images[central])


class TestKMeansReal:
    def test_clusters_are_found(self, toy_data, toy_context):
        """Of a class in two clusters far apart, one image of each is taken: the one in its middle."""
        made = 0.1 * features(len(toy_data.labels))
        for label in range(3):
            members = toy_data.indices_of(label)
            made[members[::2]] += 5
            made[members[0]] = made[members[::2]].mean(0)
            made[members[1]] = made[members[1::2]].mean(0)
        context = dataclasses.replace(toy_context, prepared={"features": made})
        result = distill(KMeansReal(weights="learned"), toy_data, context, 2)
        for label in range(3):
            middle = toy_data.images[toy_data.indices_of(label)[:2]]
            images = result.images[result.targets == label]
            assert {image.numpy().tobytes() for image in images} == {image.numpy().tobytes() for image in middle}

    def test_images_are_real_and_differ(self, toy_data, context):
        result = distill(KMeansReal(), toy_data, context, 11)
        for label in range(3):
            real = {image.numpy().tobytes() for image in toy_data.images[toy_data.labels == label]}
            images = {image.numpy().tobytes() for image in result.images[result.targets == label]}
            assert images <= real
            assert len(images) == 11

    def test_an_image_nearest_to_two_atoms_goes_to_one_of_them(self, toy_data, toy_context):
        """Of a central image and a ring far away, every mean of half the images is nearest to the central one."""
        made = torch.zeros(len(toy_data.labels), 13)
        for label in range(3):
            members = toy_data.indices_of(label)
            made[members[1:]] = 10 * torch.eye(13)[: len(members) - 1]
        context = dataclasses.replace(toy_context, prepared={"features": made})
        result = distill(KMeansReal(), toy_data, context, 2)
        for label in range(3):
            images = result.images[result.targets == label]
            assert len(images.unique(dim=0)) == 2
            assert any(torch.equal(image, toy_data.images[toy_data.indices_of(label)[0]]) for image in images)

    def test_learned_weights_are_the_shares_of_the_clusters(self, toy_data, toy_context):
        made = 0.01 * features(len(toy_data.labels))
        for label in range(3):
            made[toy_data.indices_of(label)[:3]] += 9
        context = dataclasses.replace(toy_context, prepared={"features": made})
        result = distill(KMeansReal(weights="learned"), toy_data, context, 2)
        for label, count in enumerate(toy_data.info.train_counts):
            shares = sorted((result.weights[result.targets == label] / 2).tolist())
            assert shares == pytest.approx([3 / count, 1 - 3 / count])
        assert distill(KMeansReal(), toy_data, context, 2).weights is None


@pytest.mark.parametrize("method", [Herding(), KMeansReal()])
def test_more_images_than_there_are_is_refused_in_words(method, toy_info):
    assert method.supports(toy_info, 11) is None
    assert "has 11 training images" in method.supports(toy_info, 12)


def test_noise_has_the_mean_and_spread_of_the_data_and_no_class(toy_data, toy_context):
    result = distill(Noise(), toy_data, toy_context, 10)
    pixels = result.images.float() / 255
    assert result.images.dtype == torch.uint8
    for label in range(3):
        own = pixels[result.targets == label]
        assert float(own.mean()) == pytest.approx(0.5, abs=0.01)
        assert float(own.std()) == pytest.approx(0.25, abs=0.02)  # a little less: clamped
    assert result.images.unique(dim=0).shape == result.images.shape
