"""The recovery loop: its loss, its steps, and that an interrupted run ends with the same bytes."""

from __future__ import annotations

import copy
import dataclasses
import io
import itertools
import math

import numpy as np
import pytest
import torch
from fresh import fresh, interrupted
from PIL import Image
from torch.nn import functional as F

from benchmark.api import SyntheticSet, Unit
from benchmark.errors import BenchmarkError
from benchmark.vision.augment import normalize, pixel_bounds
from benchmark.vision.models import create_model, features_and_logits
from benchmark.vision.moments import BatchNormInputs
from methods.mmd import MMD, GaussianMMD, linear_mmd
from methods.parts import recover
from methods.parts.objective import Regulariser
from methods.parts.recover_state import RecoveryState
from methods.parts.statistics import ClassStatistics
from methods.sre2l import SRe2L
from methods.wmdd import WMDD

STILL = {"crop_scale": (1.0, 1.0), "jitter": 0}  # every iteration sees the images as they are, or mirrored


@pytest.fixture
def context(toy_data, toy_context):
    return dataclasses.replace(toy_context, prepared=ClassStatistics().prepare(toy_data, toy_context))


def recovered(method, data, context, ipc=2):
    return [method.distill(data, unit, context) for unit in method.units(data.info, ipc)]


@pytest.mark.parametrize("method", [SRe2L, MMD, WMDD])
def test_an_interrupted_run_ends_with_the_same_bytes(method, toy_data, context, monkeypatch):
    monkeypatch.setattr(recover, "SAVE_EVERY", 4)
    method = method(iterations=12)
    (whole,) = recovered(method, toy_data, fresh(context))
    (resumed,), steps = interrupted(lambda again: recovered(method, toy_data, again), context, at=7)
    assert next(step for step in steps if step) == 5, "it went on after the last save"
    assert torch.equal(whole.images, resumed.images)
    assert torch.equal(whole.extras["snapshots"], resumed.extras["snapshots"])


@pytest.mark.parametrize("kept", [0, 40, 0.5, 1.0])
def test_damaged_progress_means_a_fresh_start(kept, toy_data, context, monkeypatch, caplog):
    monkeypatch.setattr(recover, "SAVE_EVERY", 4)
    method, steps = SRe2L(iterations=6), []
    (whole,) = recovered(method, toy_data, context)
    path = context.scratch / "recovery-0.pt"
    data = bytearray(path.read_bytes())
    data[-100] ^= 4  # one flipped bit, and perhaps cut off
    path.write_bytes(data[: kept if isinstance(kept, int) else int(kept * len(data))])
    (anew,) = recovered(method, toy_data, dataclasses.replace(context, report=lambda step, *_: steps.append(step)))
    assert steps[0] == 1
    assert torch.equal(whole.images, anew.images)
    assert "recovery-0.pt: saved progress is damaged; starts afresh" in caplog.text


def test_progress_stays_until_the_commit(toy_data, context, monkeypatch):
    monkeypatch.setattr(recover, "SAVE_EVERY", 4)
    method, steps = SRe2L(iterations=6), []
    (whole,) = recovered(method, toy_data, context)
    again = dataclasses.replace(context, report=lambda step, *_: steps.append(step))  # the disk was full at the commit
    assert torch.equal(recovered(method, toy_data, again)[0].images, whole.images)
    assert steps[0] == 5


@pytest.mark.parametrize("method", [SRe2L, MMD, WMDD])
@pytest.mark.parametrize("regulariser", ["bn", "pcbn", "none"])
def test_all_nine_combinations_lower_their_loss(method, regulariser, toy_data, context):
    losses = []
    for iterations in (1, 40):
        (result,) = recovered(method(iterations=iterations, regulariser=regulariser, **STILL), toy_data, context)
        weights = {"ce": 1.0, "feature": 1.0, "regulariser": method().regulariser_weight}
        losses.append(sum(weights[name] * value for name, value in result.metadata["losses"].items()))
        assert ("regulariser" in result.metadata["losses"]) == (regulariser != "none")
        assert ("feature" in result.metadata["losses"]) == (method is not SRe2L)
    assert losses[1] < losses[0]


def test_the_first_loss_is_that_of_the_formula(toy_data, context):
    """One iteration of SRe2L from random real images, against the formula written out with torch's own functions."""
    method = SRe2L(iterations=1, start="random_real", regulariser_weight=0.5, first_layer_weight=10.0, **STILL)
    info = toy_data.info.model_copy(update={"flip": False})
    toy_data.info = info
    (unit,) = method.units(info, 2)
    result = method.distill(toy_data, unit, context).metadata["losses"]
    start = normalize(toy_data.read(recover.random_indices(toy_data, unit.classes, unit.slots, context)), info)
    teacher, gaps = context.teachers[0], []
    for layer in BatchNormInputs(teacher).layers:
        layer.register_forward_pre_hook(
            lambda layer, inputs: gaps.append(
                torch.norm(inputs[0].mean((0, 2, 3)) - layer.running_mean)
                + torch.norm(inputs[0].var((0, 2, 3), correction=0) - layer.running_var)
            )
        )
    logits = teacher(start)
    assert result["ce"] == pytest.approx(float(F.cross_entropy(logits, unit.labels)), rel=1e-4)
    assert result["regulariser"] == pytest.approx(float(10 * gaps[0] + sum(gaps[1:])), rel=1e-4)


@pytest.mark.parametrize("variance", ["exact", "batch"])
@pytest.mark.parametrize(
    ("objective", "weights"), [("official", "uniform"), ("official", "learned"), ("paper", "uniform")]
)
def test_the_first_loss_of_wmdd_is_that_of_the_formula(objective, weights, variance, toy_data, toy_context):
    """Class by class, image by image, in float64."""
    prepared = ClassStatistics(batch_size=4).prepare(toy_data, toy_context)
    context = dataclasses.replace(toy_context, prepared=prepared)
    toy_data.info = toy_data.info.model_copy(update={"flip": False})
    fields = {"objective": objective, "weights": weights, "class_variance": variance, "first_layer_weight": 3.0}
    method = WMDD(iterations=1, start="random_real", **fields, **STILL)
    (unit,) = method.units(toy_data.info, 4)
    result = method.distill(toy_data, unit, context).metadata["losses"]
    goal, teacher, seen = method.goal(toy_data, unit, context), copy.deepcopy(context.teachers[0]).double(), []
    for layer in BatchNormInputs(teacher).layers:
        layer.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    chosen = recover.random_indices(toy_data, unit.classes, unit.slots, context)
    features, _ = features_and_logits(teacher, normalize(toy_data.read(chosen), toy_data.info).double())
    squares = (features - goal.atoms.flatten(0, 1)).square().sum()
    assert result["feature"] == pytest.approx(float(squares if objective == "paper" else squares.sqrt()), rel=1e-4)

    shares = torch.full((3, 4), 0.25) if weights == "uniform" else goal.weights
    names, expected = ("mean", "var" if variance == "exact" else "batch_var"), 0.0
    for layer, x in enumerate(seen):
        first = sum(other.shape[1] for other in seen[:layer])
        columns, per_class = slice(first, first + x.shape[1]), []
        for label in range(3):
            own, share = x[4 * label : 4 * label + 4], shares[label].double().view(4, 1)
            mean = (share * own.mean((2, 3))).sum(0)
            spread = (share * (own - mean.view(1, -1, 1, 1)).square().mean((2, 3))).sum(0)
            wanted = (prepared[name][label, columns] for name in names)
            gaps = [(a - b).square().sum() for a, b in zip((mean, spread), wanted, strict=True)]
            per_class.append(float(sum(gaps) if objective == "paper" else gaps[0].sqrt() + gaps[1].sqrt()))
        total = sum(per_class) if objective == "paper" else sum(per_class) / 3
        expected += (3.0 if layer == 0 else 1.0) * total
    assert result["regulariser"] == pytest.approx(expected, rel=1e-4)


def test_the_learning_rate_falls_from_its_full_value_along_a_cosine(toy_data, context, monkeypatch):
    rates, step = [], RecoveryState.step
    monkeypatch.setattr(
        RecoveryState, "step", lambda self, loss, rate, *rest: (rates.append(rate), step(self, loss, rate, *rest))
    )
    recovered(SRe2L(iterations=4, learning_rate=0.2), toy_data, context)
    root = math.sqrt(0.5)
    assert rates == pytest.approx([0.2, 0.1 * (1 + root), 0.1, 0.1 * (1 - root)])


@pytest.mark.parametrize("flip", [True, False])
def test_a_view_mirrors_and_shifts_all_images_alike(flip, toy_info, context):
    method, info = SRe2L(crop_scale=(1.0, 1.0), jitter=2), toy_info.model_copy(update={"flip": flip})
    (unit,) = method.units(info, 1)
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    possible = {
        (mirrored, down, right): (images.flip(3) if mirrored else images).roll((down, right), (2, 3))
        for mirrored, down, right in itertools.product((False, True), range(3), range(3))
    }
    seen = set()
    for iteration in range(150):
        view = method._view(images, iteration, unit, info, context)
        seen |= {name for name, value in possible.items() if torch.allclose(view, value, atol=1e-4)}
    assert seen == {name for name in possible if flip or not name[0]}


def test_every_term_counts_by_its_weight():
    terms = {name: torch.tensor(value) for name, value in (("ce", 1.0), ("feature", 10.0), ("regulariser", 100.0))}
    assert float(WMDD(ce_weight=0.5, regulariser_weight=0.25)._total(terms)) == 0.5 * 1 + 10 + 0.25 * 100


def test_a_step_goes_downhill_and_no_further_than_valid_pixels(toy_info, toy_context):
    unit, (low, high) = SRe2L().units(toy_info, 1)[0], pixel_bounds(toy_info, toy_context.device)
    state = RecoveryState.open(toy_context, unit, torch.zeros(3, 3, 32, 32), 1.0, (0.5, 0.9))
    state.step(state.images.sum(), 0.125, low, high)
    assert torch.allclose(state.images, torch.tensor(-0.125))
    state.step(state.images.sum(), 100.0, low, high)
    assert torch.equal(state.images, low.expand_as(state.images))


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 3, 1), (0, 1, 3, 2), (1, 0, 2, 3)])  # of dimensions in memory
def test_a_step_does_not_depend_on_the_layout_of_the_start(order, toy_info, toy_context):
    unit, (low, high) = SRe2L().units(toy_info, 1)[0], pixel_bounds(toy_info, toy_context.device)
    start = torch.zeros(3, 3, 8, 8).permute(order).contiguous().permute(*(order.index(axis) for axis in range(4)))
    slope = torch.arange(float(start.numel())).view_as(start) - 200.5
    state = RecoveryState.open(fresh(toy_context), unit, start, 1.0, (0.5, 0.9))
    state.step((state.images * slope).sum(), 0.125, low, high)
    torch.testing.assert_close(state.images.detach(), -0.125 * slope.sign())


def test_a_state_of_an_earlier_version_is_taken_up(toy_info, toy_context):
    """Its images are channels-last, and its optimiser is not fused."""
    unit, (low, high) = SRe2L().units(toy_info, 1)[0], pixel_bounds(toy_info, toy_context.device)
    states = [RecoveryState.open(fresh(toy_context), unit, torch.zeros(3, 3, 8, 8), 0.1, (0.5, 0.9)) for _ in "ab"]
    earlier = states[1].images.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    states[1].images, states[1].optimizer = earlier, torch.optim.Adam([earlier], lr=0.1, betas=(0.5, 0.9))
    target = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        for state in states:
            state.step((state.images - target).square().sum(), 0.1, low, high)
    states[1].save()
    context = dataclasses.replace(toy_context, scratch=states[1].path.parent)
    states[1] = RecoveryState.open(context, unit, torch.zeros(3, 3, 8, 8), 0.1, (0.5, 0.9))
    assert states[1].iteration == 3
    for state in states:
        state.step((state.images - target).square().sum(), 0.1, low, high)
    torch.testing.assert_close(states[0].images, states[1].images)


@pytest.mark.parametrize("squared", [False, True])
def test_real_classes_have_no_gap_to_their_own_statistics(squared, toy_data, context):
    labels = torch.arange(3).repeat_interleave(12)  # classes of one size, in order
    prepared = ClassStatistics().prepare(type(toy_data)(toy_data.info, toy_data.images, labels), context)
    inputs = BatchNormInputs(context.teachers[0])
    weights = torch.full((3, 12), 1 / 12)
    regulariser = Regulariser(
        inputs, (prepared["mean"], prepared["var"]), weights, first_layer_weight=1.0, squared=squared
    )
    with torch.no_grad(), inputs:
        features_and_logits(context.teachers[0], normalize(toy_data.images, toy_data.info))
        assert float(regulariser()) < 1e-3
        features_and_logits(context.teachers[0], normalize(toy_data.images.roll(5, 0), toy_data.info))
        assert float(regulariser()) > 1e-2


def test_squared_form_sums_over_classes_and_norm_form_averages(toy_context):
    inputs = BatchNormInputs(toy_context.teachers[0])
    ones = torch.ones(2, sum(inputs.channels))
    inputs.moments = lambda: (2 * ones, ones)  # type: ignore[method-assign]
    arguments = {"first_layer_weight": 3.0}
    norm, square = (
        float(Regulariser(inputs, (0 * ones, ones), torch.ones(2, 1), squared=s, **arguments)()) for s in (False, True)
    )
    layer_weights = [3.0] + [1.0] * (len(inputs.channels) - 1)
    pairs = list(zip(layer_weights, inputs.channels, strict=True))
    assert norm == pytest.approx(sum(a * math.sqrt(4 * c) for a, c in pairs), rel=1e-4)
    assert square == pytest.approx(sum(a * 2 * 4 * c for a, c in pairs), rel=1e-4)


def test_a_set_has_no_mmd_from_itself():
    features = torch.randn(3, 8, 5, generator=torch.Generator().manual_seed(0))
    other = torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(1))
    assert float(linear_mmd(features, features)) == 0
    assert float(GaussianMMD(features)(features)) == pytest.approx(0, abs=1e-5)
    assert float(linear_mmd(other, features)) > 0.1
    assert float(GaussianMMD(features)(other)) > 0.01


def test_the_gaussian_kernel_needs_three_images_of_each_class(toy_info):
    info = toy_info.model_copy(update={"train_counts": (9, 2, 9)})
    assert "needs 3 images" in MMD(kernel="gaussian").supports(info, 1)
    assert "needs 3 images" in MMD(kernel="gaussian", kernel_samples=2).supports(toy_info, 1)
    assert MMD(kernel="energy").supports(info, 1) is None


def test_mmd_is_that_of_the_formula_under_either_kernel():
    generator = torch.Generator().manual_seed(2)
    result, real = (torch.randn(3, n, 5, generator=generator, dtype=torch.float64) for n in (4, 7))
    result = 2 * result + 1

    def between(xs, ys, kernel):
        return sum(kernel(x, y) for x in xs for y in ys) / (len(xs) * len(ys))

    def mmd(xs, ys, kernel):
        return between(xs, xs, kernel) + between(ys, ys, kernel) - 2 * between(xs, ys, kernel)

    linear, gaussian = 0.0, 0.0
    for xs, ys in zip(result, real, strict=True):
        middle = sorted(float(((a - b) ** 2).sum()) for a in ys for b in ys)[(len(ys) ** 2 - 1) // 2]
        linear += float(mmd(xs, ys, torch.dot))
        gaussian += float(mmd(xs, ys, lambda a, b, middle=middle: torch.exp(-((a - b) ** 2).sum() / middle)))
    assert float(linear_mmd(result, real)) == pytest.approx(linear, rel=1e-9)
    assert float(GaussianMMD(real)(result)) == pytest.approx(gaussian, rel=1e-9)


def test_the_gaussian_kernel_sees_what_the_linear_one_cannot():
    narrow = torch.tensor([[[-1.0], [1.0]]])
    wide = torch.tensor([[[-3.0], [3.0]]])
    assert float(linear_mmd(wide, narrow)) == 0
    assert float(GaussianMMD(narrow)(wide)) > 0.1


class TestUnits:
    def test_sre2l_takes_one_image_of_each_of_a_hundred_consecutive_classes(self, toy_info):
        info = toy_info.model_copy(update={"class_names": tuple(map(str, range(150))), "train_counts": (9,) * 150})
        units = SRe2L().units(info, 2)
        assert [(unit.classes[0], len(unit.classes), unit.slots) for unit in units] == [
            (0, 100, (0,)), (0, 100, (1,)), (100, 50, (0, 1)),
        ]  # fmt: skip

    def test_sre2l_fills_a_unit_of_few_classes_unless_told_otherwise(self, toy_info):
        assert [unit.slots for unit in SRe2L(batch_images=6).units(toy_info, 4)] == [(0, 1), (2, 3)]
        assert [unit.slots for unit in SRe2L(one_slot_per_unit=True).units(toy_info, 3)] == [(0,), (1,), (2,)]

    @pytest.mark.parametrize(
        "method",
        [
            WMDD(batch_images=5),
            MMD(batch_images=5),
            SRe2L(batch_images=5, regulariser="pcbn"),
            SRe2L(batch_images=5, start="nearest_real"),
        ],
    )
    def test_matching_of_classes_takes_whole_classes(self, method, toy_info):
        assert [unit.classes for unit in method.units(toy_info, 2)] == [(0, 1), (2,)]
        assert [unit.classes for unit in method.units(toy_info, 9)] == [(0,), (1,), (2,)]


class TestStart:
    @pytest.mark.parametrize("method", [SRe2L, MMD, WMDD])
    def test_nearest_real_images_differ(self, method, toy_data, context):
        method = method(iterations=1, learning_rate=1e-9, start="nearest_real")
        (result,) = recovered(method, toy_data, context, ipc=5)
        for label in range(3):
            real = {image.numpy().tobytes() for image in toy_data.images[toy_data.labels == label]}
            images = {image.numpy().tobytes() for image in result.images[result.targets == label]}
            assert images <= real
            assert len(images) == 5

    def test_more_than_there_are_is_refused_in_words(self, toy_info):
        assert WMDD().supports(toy_info, 12) is None
        assert "has 11 training images" in WMDD(start="nearest_real").supports(toy_info, 12)


class TestWMDD:
    def test_the_objective_brings_its_own_weights(self):
        official, paper = WMDD(), WMDD(objective="paper")
        assert official.ce_weight == 1
        assert paper.ce_weight == 0
        assert WMDD(objective="paper", ce_weight=0.5).ce_weight == 0.5
        assert WMDD(objective="paper").identity()["params"]["regulariser_weight"] == paper.regulariser_weight

    def test_learned_weights_reach_the_student(self, toy_data, context):
        (result,) = recovered(WMDD(iterations=2, weights="learned"), toy_data, context, ipc=4)
        for label in range(3):
            assert float(result.weights[result.targets == label].mean()) == pytest.approx(1, abs=1e-5)
        assert result.weights.std() > 0
        (uniform,) = recovered(WMDD(iterations=2), toy_data, context, ipc=4)
        assert uniform.weights is None
        assert result.metadata["transport_cost"] == uniform.metadata["transport_cost"]
        assert 0 < result.metadata["transport_cost"]["learned"] < result.metadata["transport_cost"]["uniform"]

    def test_both_barycenters_are_timed(self, toy_data, context):
        recovered(WMDD(iterations=1), toy_data, context)
        assert set(context.parts) == {"barycenter_uniform", "barycenter_learned"}
        assert all(seconds > 0 for seconds in context.parts.values())

    @pytest.mark.parametrize("objective", ["official", "paper"])
    def test_features_come_nearer_to_the_atoms(self, objective, toy_data, context):
        method = WMDD(objective=objective, regulariser="none", ce_weight=0, iterations=1, learning_rate=0.05, **STILL)
        (few,), (many,) = (recovered(method.model_copy(update={"iterations": n}), toy_data, context) for n in (1, 60))
        assert many.metadata["losses"]["feature"] < 0.5 * few.metadata["losses"]["feature"]

    def test_atoms_of_a_class_do_not_depend_on_the_unit(self, toy_data, context):
        together = WMDD().goal(toy_data, WMDD().units(toy_data.info, 2)[0], context)
        alone = WMDD().goal(toy_data, Unit(index=1, ipc=2, classes=(1,), slots=(0, 1)), context)
        torch.testing.assert_close(together.atoms[1], alone.atoms[0])


def test_a_set_keeps_the_atoms_of_its_images(toy_data, context):
    method = WMDD(iterations=1, batch_images=2)
    atoms = [method.goal(toy_data, unit, context).atoms for unit in method.units(toy_data.info, 2)]
    whole = SyntheticSet.merge(recovered(method, toy_data, context))
    assert len(atoms) == 3
    torch.testing.assert_close(whole.extras["atoms"], torch.cat(atoms).flatten(0, 1))


def test_units_with_different_extras_keep_what_all_have(toy_data, context):
    first, second, third = recovered(WMDD(iterations=1, batch_images=2), toy_data, context)
    older = dataclasses.replace(second, extras={"snapshots": second.extras["snapshots"]})
    assert set(SyntheticSet.merge([first, older, third]).extras) == {"snapshots"}


def test_a_teacher_without_batch_norms_is_refused_in_words(toy_data, toy_context):
    teacher = create_model("test_vit", classes=3, resolution=32).eval().requires_grad_(False)
    context = dataclasses.replace(toy_context, teachers=(teacher,))
    with pytest.raises(BenchmarkError, match=r"no BatchNorm layer .* regulariser: none"):
        recovered(SRe2L(iterations=1), toy_data, context)
    assert len(recovered(SRe2L(iterations=1, regulariser="none"), toy_data, context)) == 1


def test_pixels_stay_valid_and_snapshots_are_few(toy_data, context):
    (result,) = recovered(SRe2L(iterations=30, learning_rate=5.0), toy_data, context)
    assert result.images.dtype == torch.uint8
    assert result.extras["snapshots"].shape == (6, 5, 3, 32, 32)
    assert result.metadata["snapshot_iterations"] == [1, 2, 4, 8, 15]
    assert (result.images == 0).any()
    assert (result.images == 255).any()


@pytest.mark.parametrize("method", [SRe2L, MMD, WMDD])
def test_mixed_precision_leads_to_nearly_the_same_losses(method, toy_data, context):
    exact, mixed = (
        recovered(method(iterations=1, **STILL), toy_data, dataclasses.replace(context, precision=precision))[0]
        for precision in (torch.float32, torch.bfloat16)
    )
    assert mixed.metadata["losses"] == pytest.approx(exact.metadata["losses"], rel=0.05)


def test_jpeg_is_that_of_pillow_at_its_quality(toy_data, context):
    plain, packed = (recovered(SRe2L(iterations=2, jpeg=jpeg), toy_data, context)[0] for jpeg in (0, 75))
    assert SRe2L().jpeg == 0
    for image, other in zip(plain.images, packed.images, strict=True):
        file = io.BytesIO()
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "JPEG")  # as the codes do
        expected = torch.from_numpy(np.asarray(Image.open(file)).copy()).permute(2, 0, 1)
        assert (other.int() - expected.int()).abs().max() <= 2
        assert (other.int() - image.int()).abs().max() > 10


def test_a_loss_that_is_not_finite_stops_the_run(toy_data, context):
    context.teachers[0].fc.weight.fill_(math.nan)
    with pytest.raises(BenchmarkError, match="not finite"):
        recovered(SRe2L(iterations=2), toy_data, context)
