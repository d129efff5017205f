"""NCFM: mosaics whose enlarged cells have the characteristic function of the real features, class by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import ReduceLROnPlateau

from benchmark.api import Context, DatasetInfo, Preparation, SyntheticSet, TrainData, Unit
from benchmark.vision.augment import normalize
from benchmark.vision.dsa import Augmentation, Chain
from benchmark.vision.models import features_and_logits
from benchmark.vision.training import from_data
from methods.parts.cells import CellMatching, class_by_class
from methods.parts.descent import descend
from methods.parts.experts import batch_norm_reason, new_network
from methods.parts.pairs import Pairs, load_flat

FLOOR = 1e-12  # the least phase; identical features have the loss 300 sqrt(0.5e-12) and the gradient 0


class NCFM(CellMatching):
    """``L = 300 sum_c mean_t sqrt(a A + (1 - a) P)``, from the characteristic functions ``mean exp(i <t, f>)``.

    With R the function of the real features of class c and S that of its cells, ``A = (|R| - |S|)^2`` compares the
    amplitudes and ``P = 2 (|R| |S| - Re R Re S - Im R Im S)`` the phases; ``A + P = |R - S|^2``. f is the embedding of
    length 1 in a network with the weights ``u theta + (1 - u) theta*``, u ~ U(0, 1), of one of several pairs (see
    `Pairs`). The frequencies t are new in every iteration: normal, or ``psi(normal)`` with ``sampling: learned``, where
    psi is a small network that ascends L while the images descend. Real images and cells share one colour, one shift
    and one cutout of DSA.

    After each such step follows a calibration: a step on the cross-entropy of the cells in the trained network theta*,
    under the same augmentation. AdamW changes pixels on the scale [0, 1], which are clamped before each step and at the
    end. The rate is halved when the loss has not improved for `patience` iterations. The set holds the last iterate as
    floats.

    A set of IPC mosaics trains on 4 IPC images in the paper: protocol ``native`` shows each cell as an image.

    Differences from the authors' code. The start has random images, not the first of the dataset. One step serves all
    classes, as its code takes with one class per process; there, one AdamW that steps after every class moves the other
    classes too, about sqrt(classes) times as far. No image is stale. Pixels are clamped before a
    calibration step too. psi gives each frequency its own noise; all its
    configurations switch psi off, and it had no effect until 2025-09. Labels and networks are not curated.
    """

    paper: ClassVar[str] = (
        "Wang et al.: Dataset Distillation with Neural Characteristic Function: A Minmax Perspective, CVPR 2025, "
        "https://arxiv.org/abs/2502.20653"
    )

    batch_real: int = Field(default=1024, ge=1)  # real images per class and iteration, at most
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=5e-4, ge=0)
    patience: int = Field(default=500, ge=1)  # iterations
    frequencies: int = Field(default=4096, ge=1)  # F, in an iteration
    sampling: Literal["normal", "learned"] = "normal"  # sampling of t; normal: as in all the authors' configurations
    ascent_rate: float = Field(default=1e-3, gt=0)  # learning rate of psi, SGD with momentum 0.5
    amplitude: float = Field(default=0.5, ge=0, le=1)  # a
    scale: float = Field(default=300.0, gt=0)  # the scale of the loss of a class
    calibration: bool = True  # False: no step on the cross-entropy
    networks: int = Field(default=20, ge=1)  # pairs
    network_epochs: int = Field(default=60, ge=1)
    network_batch: int = Field(default=128, ge=1)

    def supports(self, info: DatasetInfo, ipc: int) -> str | None:
        """Return a reason where the network has batch norms, or where mosaics do not fit."""
        return super().supports(info, ipc) or batch_norm_reason(self.arch, info)

    def preparation(self, info: DatasetInfo) -> Preparation:
        """Return the pairs of networks."""
        return Pairs(arch=self.arch, networks=self.networks, epochs=self.network_epochs, batch_size=self.network_batch)

    def distill(self, data: TrainData, unit: Unit, context: Context) -> SyntheticSet:
        """Return the mosaics of all classes; an interrupted run resumes from its last save."""
        course = _Course(self, data, unit, context)
        steps = 2 if self.calibration else 1
        descend(
            course.objective,
            course.optimizer,
            context,
            iterations=self.iterations * steps,
            name=f"{self.name()}-{unit.index}",
            companions=[course],
        )
        pixels = course.images.detach().clamp(0, 1).cpu().contiguous()
        return SyntheticSet(pixels, unit.labels, metadata={"loss": course.loss} if self.iterations else {})

    def gap(self, real: Tensor, synthetic: Tensor, frequencies: Tensor) -> Tensor:
        """Return the loss of a class for features [n, D] and [m, D], which are scaled to length 1, and t [F, D]."""
        real, synthetic = F.normalize(real, dim=1), F.normalize(synthetic, dim=1)
        return self.scale * characteristic_gap(real, synthetic, frequencies, self.amplitude)


class _Course:
    """The images, and all that changes with them.

    Attributes:
        images: [N, C, S, S] on the scale [0, 1], class by class.
        optimizer: the optimiser of the images.
        sampler: psi, where it is learned.
        loss: the loss of the last matching step.
    """

    def __init__(self, method: NCFM, data: TrainData, unit: Unit, context: Context) -> None:
        self.method, self.data, self.unit, self.context = method, data, unit, context
        self.read, self.loss = from_data(data, context.device), 0.0
        self.images = method.start(data, unit, context).requires_grad_()
        self.optimizer = AdamW([self.images], lr=method.learning_rate, weight_decay=method.weight_decay)
        self._plateau = ReduceLROnPlateau(self.optimizer, factor=0.5, patience=method.patience)
        network: Any = new_network(method.arch, data.info, seed=0).to(context.device)
        self._network: nn.Module = network.eval()
        self._width: int = network.num_features
        learned = method.sampling == "learned"
        self.sampler = Sampler(self._width, method.ascent_rate, context) if learned else None

    def objective(self, step: int) -> tuple[Tensor, Sequence[Tensor]]:
        """Return the loss of the last matching step, and the gradient of a step in the images.

        With calibration, every second step is one of calibration.
        """
        iteration, second = divmod(step, 2) if self.method.calibration else (step, 0)
        with torch.no_grad():
            self.images.clamp_(0, 1)
        _, gradient = (self._calibrate if second else self._match)(iteration)
        return self.images.new_tensor(self.loss), [gradient]

    def state_dict(self) -> dict[str, Any]:
        """Return what changes beside the images and their optimiser."""
        psi = self.sampler.state_dict() if self.sampler else {}
        return {"loss": self.loss, "plateau": self._plateau.state_dict(), "psi": psi}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        self.loss = state["loss"]
        self._plateau.load_state_dict(state["plateau"])
        if self.sampler:
            self.sampler.load_state_dict(state["psi"])

    def _match(self, iteration: int) -> tuple[Tensor, Tensor]:
        network, frequencies = self._at(iteration, blend=True), self._frequencies(iteration)
        leaf = frequencies.detach().requires_grad_(self.sampler is not None)

        def loss(label: int, mosaics: Tensor) -> Tensor:
            chain = self._chain(label, iteration)
            real = self.read(self.method.real_indices(self.data, label, iteration, self.context))
            real, cells = self.method.views(chain, real, normalize(mosaics, self.data.info))
            with torch.no_grad():
                target, _ = features_and_logits(network, real)
            features, _ = features_and_logits(network, cells)
            return self.method.gap(target, features, leaf)

        total, gradient = class_by_class(self.images, self.unit, loss)
        if self.sampler is not None and leaf.grad is not None:
            self.sampler.ascend(frequencies, leaf.grad)
        self.loss = float(total)
        self._plateau.step(self.loss)
        return total, gradient

    def _calibrate(self, iteration: int) -> tuple[Tensor, Tensor]:
        network = self._at(iteration, blend=False)

        def loss(label: int, mosaics: Tensor) -> Tensor:
            cells = self.method.cells(self._chain(label, iteration), normalize(mosaics, self.data.info))
            target = torch.full((len(cells),), label, device=cells.device)
            return F.cross_entropy(features_and_logits(network, cells)[1], target)

        return class_by_class(self.images, self.unit, loss)

    def _chain(self, label: int, iteration: int) -> Chain:
        """Return the augmentation of a class."""
        samples = torch.rand(3, 1, 3, generator=self.context.generator("view", iteration, label))
        parts = zip(("color", "crop", "cutout"), samples, strict=True)
        return Chain(tuple(Augmentation(group, numbers) for group, numbers in parts))

    def _at(self, iteration: int, *, blend: bool) -> nn.Module:
        """Return the trained network of the pair of an iteration, or one between the two networks of the pair."""
        generator, prepared = self.context.generator("pair", iteration), self.context.prepared
        pair = int(torch.randint(len(prepared["trained"]), (), generator=generator))
        share = float(torch.rand((), generator=generator)) if blend else 0.0
        return load_flat(self._network, prepared["trained"][pair].lerp(prepared["initial"][pair], share))

    def _frequencies(self, iteration: int) -> Tensor:
        """Return t [F, D]; it has a gradient where psi is learned."""
        generator = self.context.generator("frequencies", iteration, device=self.context.device)
        shape = (self.method.frequencies, self._width)
        noise = torch.randn(shape, generator=generator, device=self.context.device)
        return noise if self.sampler is None else self.sampler(noise)


class Sampler:
    """psi, three layers that take noise [F, D] to frequencies [F, D] in (-1, 1), with its optimiser."""

    def __init__(self, features: int, rate: float, context: Context) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(context.generator("sampler").initial_seed())
            blocks = [(nn.Linear(features, features), nn.BatchNorm1d(features), nn.LeakyReLU(0.2)) for _ in range(3)]
        layers = [layer for block in blocks for layer in block]
        self.network = nn.Sequential(*layers[:-1], nn.Tanh()).to(context.device)
        self.optimizer = SGD(self.network.parameters(), lr=rate, momentum=0.5)

    def __call__(self, noise: Tensor) -> Tensor:
        """Return the frequencies of some noise."""
        frequencies: Tensor = self.network(noise)
        return frequencies

    def ascend(self, frequencies: Tensor, gradient: Tensor) -> None:
        """Make a step up the gradient in the frequencies."""
        self.optimizer.zero_grad(set_to_none=True)
        frequencies.backward(-gradient)
        self.optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the weights and the state of the optimiser."""
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])


def characteristic_gap(real: Tensor, synthetic: Tensor, frequencies: Tensor, amplitude: float) -> Tensor:
    """Return ``mean_t sqrt(a A(t) + (1 - a) P(t))`` of features [n, D] and [m, D] at frequencies [F, D], see `NCFM`."""
    size, phase = amplitude_and_phase(real, synthetic, frequencies)
    return (amplitude * size + (1 - amplitude) * phase.clamp_min(FLOOR)).clamp_min(FLOOR * FLOOR).sqrt().mean()


def amplitude_and_phase(real: Tensor, synthetic: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``A = (|R| - |S|)^2`` and ``P = |R - S|^2 - A``, each [F], see `NCFM`: P keeps its digits in float32."""
    angles = [features @ frequencies.T for features in (real, synthetic)]
    (a, b), (c, d) = ((angle.cos().mean(0), angle.sin().mean(0)) for angle in angles)
    one, other = ((x.square() + y.square()).clamp_min(FLOOR**2).sqrt() for x, y in ((a, b), (c, d)))
    size = (one - other).square()
    return size, (a - c).square() + (b - d).square() - size
