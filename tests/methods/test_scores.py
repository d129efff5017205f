"""Coresets by the records of a training run: the scores, the choices, and the run itself."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from fresh import fresh
from torch.nn import functional as F

from benchmark.identity import seed_of
from benchmark.plan import discovery, recipes
from benchmark.vision.augment import Schedule, normalize
from benchmark.vision.descriptions import list_datasets
from methods.aum import AUM
from methods.ccs import CCS, budgets, strata_of
from methods.el2n import EL2N
from methods.forgetting import Forgetting
from methods.parts.coreset import ranked
from methods.parts.experts import new_network
from methods.parts.scoring import ScoringRun, error_norms, forgetting_events, margins

NAMES = ("el2n", "forgetting", "aum", "ccs")
TIGHT = 1e-12
YES, NO = True, False


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def logits(n=50, classes=7):
    return 3 * torch.randn(n, classes, generator=generator(), dtype=torch.float64)


def slow_probabilities(row):
    """Return the probabilities of a list of logits."""
    top = max(row)
    shares = [math.exp(z - top) for z in row]
    return [share / sum(shares) for share in shares]


class TestFormulas:
    def test_error_and_margin_of_any_logits(self):
        z, labels = logits(), torch.arange(50) % 7
        for row, label, error, margin in zip(
            z.tolist(), labels.tolist(), error_norms(z, labels).tolist(), margins(z, labels).tolist(), strict=True
        ):
            p = slow_probabilities(row)
            assert error == pytest.approx(
                math.sqrt(sum((p[k] - (k == label)) ** 2 for k in range(7))), rel=TIGHT, abs=TIGHT
            )
            others = max(p[k] for k in range(7) if k != label)
            assert margin == pytest.approx(p[label] - others, rel=TIGHT, abs=TIGHT)

    @pytest.mark.parametrize("classes", [2, 10, 200])
    def test_known_errors_and_margins(self, classes):
        uniform = torch.zeros(1, classes, dtype=torch.float64)
        wrong = uniform.clone()
        wrong[0, 1] = 1000
        zero, one = torch.tensor([0]), torch.tensor([1])
        assert error_norms(uniform, zero).item() == pytest.approx(math.sqrt((classes - 1) / classes), rel=TIGHT)
        assert error_norms(wrong, zero).item() == pytest.approx(math.sqrt(2), rel=TIGHT)
        assert error_norms(wrong, one).item() == 0
        assert margins(uniform, zero).item() == 0
        assert (margins(wrong, zero).item(), margins(wrong, one).item()) == (-1, 1)

    @pytest.mark.parametrize(("right", "events"), [
        ((1, 1, 0, 1, 0), 2), ((0, 0, 0, 0, 0), 0), ((1, 1, 1, 1, 1), 0), ((0, 1, 1, 1, 1), 0), ((1, 0, 0, 0, 0), 1),
    ])  # fmt: skip
    def test_an_image_is_forgotten_where_right_turns_wrong(self, right, events):
        assert forgetting_events(torch.tensor(right).bool().unsqueeze(1)).tolist() == [events]


def difficulty(method, **records):
    return method.difficulty({name: torch.tensor(values) for name, values in records.items()}).tolist()


class TestScores:
    def test_el2n_adds_the_errors_of_the_first_epochs(self):
        errors = [[0.5, 1.0], [0.25, 0.75], [0.1, 9.0]]
        assert difficulty(EL2N(early_epochs=2), errors=errors) == [0.75, 1.75]
        assert difficulty(EL2N(), errors=errors) == pytest.approx([0.85, 10.75])

    def test_what_was_never_right_is_the_most_or_the_least_forgotten(self):
        right = [[YES, NO, YES], [NO, NO, YES], [YES, NO, YES], [NO, NO, YES]]
        assert difficulty(Forgetting(), right=right) == [2, 4, 0]
        assert difficulty(Forgetting(never="least"), right=right) == [2, 0, 0]

    def test_aum_is_the_sum_of_the_margins(self):
        assert difficulty(AUM(), margins=[[0.5, -1.0], [0.25, 0.5]]) == [-0.75, 0.5]


class TestOrder:
    def test_scores_come_in_order_and_ties_at_random(self):
        scores = torch.tensor([2.0, 0.0, 1.0, 0.0, 1.0, 3.0])
        orders = {tuple(ranked(scores, generator(seed), largest=False).tolist()) for seed in range(40)}
        assert orders == {(a, 4 - a, c, 6 - c, 0, 5) for a in (1, 3) for c in (2, 4)}
        hardest = {tuple(ranked(scores, generator(seed), largest=True).tolist()) for seed in range(40)}
        assert hardest == {(5, 0, c, 6 - c, a, 4 - a) for a in (1, 3) for c in (2, 4)}

    def test_among_equals_every_image_is_as_likely(self):
        first = [int(ranked(torch.zeros(4), generator(seed), largest=False)[0]) for seed in range(400)]
        assert all(60 < first.count(i) < 140 for i in range(4))


class TestStrata:
    def test_they_have_equal_width_and_hold_both_ends(self):
        scores = torch.tensor([-4.0, -3.1, -2.0, -0.1, 0.0])
        assert strata_of(scores, 4).tolist() == [0, 0, 2, 3, 3]
        assert strata_of(-scores.abs() - 1, 2).tolist() == [0, 0, 1, 1, 1], "a maximum below 0 is kept"
        assert strata_of(torch.full((3,), 0.5), 50).tolist() == [0, 0, 0]

    def test_the_smallest_stratum_gives_first(self):
        assert budgets([10, 1, 3], 9) == [5, 1, 3]
        assert budgets([10, 1, 8], 9) == [4, 1, 4]
        assert budgets([0, 9, 0, 9], 5) == [0, 2, 0, 3]

    def test_budgets_sum_to_what_is_asked_for(self):
        for seed in range(300):
            numbers = torch.randint(0, 12, (9,), generator=generator(seed)).tolist()
            k, sizes = numbers[0] * 3, numbers[1:]
            given = budgets(sizes, k)
            assert sum(given) == min(k, sum(sizes))
            assert all(0 <= some <= size for some, size in zip(given, sizes, strict=True))


def chosen(method, areas, ipc, seed=0):
    records = {"margins": torch.tensor(areas, dtype=torch.float64).unsqueeze(0)}
    return method.choose(records, ipc, generator(seed)).tolist()


class TestCCS:
    def test_the_hardest_are_never_chosen(self):
        areas = [i / 20 for i in range(20)]
        seen = {i for seed in range(60) for i in chosen(CCS(beta=0.3), areas, 5, seed)}
        assert seen == set(range(6, 20))
        assert set(chosen(CCS(beta=0.29), [i / 100 for i in range(100)], 71)) == set(range(29, 100))

    def test_every_stratum_gives_one_where_there_are_as_many_images_as_strata(self):
        areas = [i / 100 for i in range(100)]
        for seed in range(5):
            picks = sorted(chosen(CCS(beta=0.0), areas, 10, seed))
            assert [pick // 10 for pick in picks] == list(range(10))
        assert len({tuple(chosen(CCS(beta=0.0), areas, 10, seed)) for seed in range(5)}) == 5

    @pytest.mark.parametrize("ipc", [1, 2, 7, 11, 12])
    @pytest.mark.parametrize("areas", [[0.5] * 12, [-1.0] * 11 + [1.0], [i * i / 9 for i in range(12)]])
    def test_exactly_ipc_images_without_a_duplicate(self, areas, ipc):
        assert len(set(chosen(CCS(beta=0.5), areas, ipc))) == ipc


class TestSets:
    @pytest.fixture
    def context(self, toy_data, toy_context):
        """Records in which the images of a class get harder with their index, and the hardest third is never right."""
        rank = torch.cat([toy_data.indices_of(label) for label in range(3)]).argsort()
        place = torch.cat([torch.arange(count) / count for count in toy_data.info.train_counts])[rank]
        prepared = {
            "errors": place.expand(4, -1),
            "margins": -place.expand(4, -1),
            "right": torch.stack([place < 2 / 3, place < 1 / 3, place < 2 / 3, place < 1 / 3]),
        }
        return dataclasses.replace(toy_context, prepared=prepared)

    @pytest.mark.parametrize("kind", [EL2N, AUM])
    @pytest.mark.parametrize("ipc", [1, 3, 11])
    def test_the_easiest_or_the_hardest_of_each_class(self, kind, ipc, toy_data, context):
        for order, ends in (("easy_first", slice(None, ipc)), ("hard_first", slice(-ipc, None))):
            method = kind(order=order)
            (unit,) = method.units(toy_data.info, ipc)
            result = method.distill(toy_data, unit, context)
            for label in range(3):
                wanted = toy_data.images[toy_data.indices_of(label)[ends]]
                images = result.images[result.targets == label]
                assert torch.equal(images, wanted if order == "easy_first" else wanted.flip(0))

    def test_forgetting_keeps_the_never_right_apart(self, toy_data, context):
        def thirds(**fields):
            """Return from which third of its class each chosen image is; two of each class."""
            method = Forgetting(**fields)
            (unit,) = method.units(toy_data.info, 2)
            result = method.distill(toy_data, unit, context)
            found = []
            for image, label in zip(result.images, result.targets.tolist(), strict=True):
                members = toy_data.indices_of(label)
                (place,) = [i for i, own in enumerate(members) if torch.equal(toy_data.images[own], image)]
                found.append(3 * place // len(members))
            return set(found)

        assert thirds() == {0}
        assert thirds(order="hard_first") == {2}
        assert thirds(order="hard_first", never="least") == {1}

    @pytest.mark.parametrize("name", NAMES)
    def test_more_images_than_there_are_is_refused_in_words(self, name, toy_info):
        method = discovery.load_method(name)()
        assert method.supports(toy_info, 11) is None
        assert "has 11 training images" in method.supports(toy_info, 12)


class TestScoringRun:
    """On images of 8 px, which are quick."""

    RUN = ScoringRun(arch="convnet_d3", epochs=2, batch_size=20, learning_rate=0.02)

    @pytest.fixture
    def toy_data(self, toy_data):
        info = toy_data.info.model_copy(update={"resolution": 8})
        return type(toy_data)(info, toy_data.images[:, :, ::4, ::4].contiguous(), toy_data.labels)

    def test_the_records_are_those_of_plain_training(self, toy_data, toy_context):
        """Written out: logits of the augmented batch before its step, SGD with Nesterov's momentum and a cosine."""
        records = self.RUN.prepare(toy_data, toy_context)
        assert {name: tuple(values.shape) for name, values in records.items()} == {
            "errors": (2, 36), "margins": (2, 36), "right": (2, 36), "metric.train_top1": (),
        }  # fmt: skip
        network = self.network(toy_data, toy_context)
        weights = list(network.parameters())
        speeds = [torch.zeros_like(weight) for weight in weights]
        schedule = Schedule(epochs=2, batch_size=20, crop_scale=(0.77, 1.0), flip=True, mix="none")
        step = 0
        for epoch in range(2):
            for view in schedule.views(toy_context.seed, epoch, 36):
                z = network(view.apply(normalize(toy_data.read(view.indices), toy_data.info)))
                labels = toy_data.labels[view.indices]
                p = z.detach().double().softmax(1)
                error = (p - F.one_hot(labels, 3)).square().sum(1).sqrt()
                own, others = p[range(len(p)), labels], (p - 2 * F.one_hot(labels, 3)).amax(1)
                assert torch.allclose(records["errors"][epoch, view.indices].double(), error, atol=1e-3)
                assert torch.allclose(records["margins"][epoch, view.indices].double(), own - others, atol=1e-3)
                clear = (own - others).abs() > 1e-3
                assert torch.equal(records["right"][epoch, view.indices][clear], (own > others)[clear])
                slopes = torch.autograd.grad(F.cross_entropy(z, labels), weights)
                rate = 0.02 * 0.5 * (1 + math.cos(math.pi * step / 4))
                for weight, slope, speed in zip(weights, slopes, speeds, strict=True):
                    decayed = slope + (5e-4 * weight.data if weight.dim() >= 2 else 0)
                    speed.mul_(0.9).add_(decayed)
                    weight.data -= rate * (decayed + 0.9 * speed)
                step += 1
        assert records["metric.train_top1"] == pytest.approx(100 * records["right"][1].double().mean().item())

    @staticmethod
    def network(data, context):
        return new_network("convnet_d3", data.info, seed_of(context.seed, "scoring"))

    def test_an_interrupted_run_keeps_its_records(self, toy_data, toy_context):
        whole = self.RUN.prepare(toy_data, fresh(toy_context))

        def stop(step, total, scalars):
            if step == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            self.RUN.prepare(toy_data, dataclasses.replace(toy_context, report=stop))
        steps = []
        watching = dataclasses.replace(toy_context, report=lambda step, *_: steps.append(step))
        resumed = self.RUN.prepare(toy_data, watching)
        assert steps == [3, 4], "the second epoch only"
        assert all(torch.equal(whole[name], resumed[name]) for name in whole)

    def test_the_teacher_lends_its_architecture_and_stays_as_it_is(self, toy_data, toy_context):
        run = ScoringRun(epochs=1, batch_size=20)
        assert len(run.teachers()) == 1 and self.RUN.teachers() == ()
        before = {name: value.clone() for name, value in toy_context.teachers[0].state_dict().items()}
        run.prepare(toy_data, toy_context)
        assert all(torch.equal(before[name], value) for name, value in toy_context.teachers[0].state_dict().items())

    def test_images_that_are_easy_to_learn_score_as_easy(self, toy_data, toy_context):
        """Of a class, three images get the pixels of another class: they are the hardest by all scores."""
        images, odd = toy_data.images.clone(), []
        for label in range(3):
            members, others = toy_data.indices_of(label), toy_data.indices_of((label + 1) % 3)
            odd += members[:2].tolist()
            images[members[:2]] = toy_data.images[others[:2]]
        data = type(toy_data)(toy_data.info, images, toy_data.labels)
        records = ScoringRun(arch="convnet_d3", epochs=12, batch_size=12, learning_rate=0.05).prepare(data, toy_context)
        for method in (EL2N(), AUM()):
            scores = method.difficulty(records)
            usual = [i for i in range(len(scores)) if i not in odd]
            assert scores[odd].mean() > scores[usual].mean() + scores[usual].std()


@pytest.mark.parametrize("dataset", list_datasets())
def test_all_coresets_share_one_run_at_every_ipc(dataset, toy_info):
    methods = [recipes.resolve_method(name, dataset, ipc, {}) for name in NAMES for ipc in (1, 10, 50)]
    assert len({method.preparation(toy_info) for method in methods}) == 1
    assert all(any(recipe.dataset == dataset for recipe in recipes.read_recipes(name)) for name in NAMES)
