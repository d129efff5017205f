"""A teacher that learns from images without labels (SimCLR) and then gets a linear classifier (a probe)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.api import Context, Job, Preparation, TeacherSpec, TrainData, Work
from benchmark.vision.augment import CropScale, Schedule
from benchmark.vision.boxes import crop_resize, sample_boxes
from benchmark.vision.models import features_and_logits
from benchmark.vision.training import (
    Batch,
    TeacherTraining,
    accuracy,
    crops_of,
    fit,
    make_optimizer,
    train_classifier,
)

WIDTH = 128  # dimension of the space in which views are compared
STRAY = 0.02  # deviation of new weights that belong to no layer, as timm has it for the positions of a transformer


class SelfSupervised(Preparation):
    """The network of the dataset's teacher, trained from random weights by SimCLR; then only its classifier, on labels.

    ``L = -log( exp(z_i . z_j / tau) / sum_{k != i} exp(z_i . z_k / tau) )``, averaged over the views i of a batch. j is
    the other view of the same image, z the normalised output of a two-layer head on the features. A view is a crop with
    changed brightness, contrast and saturation, mirrored at random where the dataset allows it. The preparation returns
    the state of the network, and records the accuracy of the probe on the training images. Paper: Chen et al.: A Simple
    Framework for Contrastive Learning, ICML 2020, https://arxiv.org/abs/2002.05709.
    """

    version: ClassVar[int] = 2

    epochs: int = Field(default=200, ge=1)
    probe_epochs: int = Field(default=50, ge=1)
    batch_size: int = Field(default=256, ge=2)
    learning_rate: float = Field(default=1e-3, gt=0)  # AdamW
    temperature: float = Field(default=0.2, gt=0)
    crop_scale: CropScale = (0.2, 1.0)
    color: float = Field(default=0.4, ge=0, lt=1)  # largest change of brightness, contrast and saturation

    def teachers(self) -> tuple[TeacherSpec, ...]:
        """Return the dataset's teacher, of which only the architecture is used."""
        return (TeacherSpec(),)

    def work(self, job: Job) -> tuple[Work, ...]:
        """Return two views of each image in every epoch, then the training of the probe, and its test."""
        n = job.train_images
        return Work("train", 2 * self.epochs * n), Work("forward", (self.probe_epochs + 1) * n)

    def prepare(self, data: TrainData, context: Context) -> Mapping[str, Tensor]:
        """Return the state of the trained network."""
        network = untrained(context.teachers[0], context.generator("weights")).to(context.device)
        self._pretrain(network, data, context)
        recipe = TeacherTraining(
            arch="probe",
            epochs=self.probe_epochs,
            batch_size=self.batch_size,
            optimizer="adamw",
            learning_rate=10 * self.learning_rate,
            weight_decay=0.0,
            crop_scale=self.crop_scale,
        )
        probe = Probe(network)
        train_classifier(probe, data, recipe, context)
        quality = accuracy(probe, data, context)["top1"]
        return {**network.state_dict(), "metric.train_top1": torch.tensor(quality)}

    def _pretrain(self, network: nn.Module, data: TrainData, context: Context) -> None:
        generator, flips = context.generator("views"), 0.5 if data.info.flip else 0.0
        model = Encoder(network, self.color, generator).to(context.device)
        schedule = Schedule(
            epochs=self.epochs,
            batch_size=self.batch_size,
            crop_scale=self.crop_scale,
            flip=data.info.flip,
            mix="none",
        )
        stream = crops_of(data, schedule, context.seed, context.device)

        def loss(first: Tensor, batch: Batch) -> Tensor:
            indices = batch.view.indices
            boxes = sample_boxes(len(first), generator, scale=self.crop_scale, aspects=data.aspects(indices))
            mirrored = torch.rand(len(first), generator=generator) < flips
            crops = crop_resize(stream.read(indices), boxes, mirrored, data.info.resolution)
            with context.autocast():
                second = model(crops.contiguous(memory_format=torch.channels_last))
            return contrast(first, second.float(), self.temperature)

        optimizer = make_optimizer(model, "adamw", learning_rate=self.learning_rate, weight_decay=1e-4)
        fit(model, stream, loss, optimizer, context, checkpoint=context.scratch / "simclr.pt")


def contrast(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Return SimCLR's loss, a scalar, of two views of n images, [n, D] each."""
    z = F.normalize(torch.cat([first, second]), dim=1)
    similarity = (z @ z.T / temperature).fill_diagonal_(-torch.inf)
    partner = torch.arange(len(z), device=z.device).roll(len(first))
    return F.cross_entropy(similarity, partner)


def untrained(network: nn.Module, generator: torch.Generator) -> nn.Module:
    """Return a trainable copy of a network with new random weights and reset statistics, on the CPU.

    Layers reset themselves. Weights outside them, such as the positions of a transformer, are normal around 0 as in
    timm.
    """
    result = copy.deepcopy(network).cpu().requires_grad_(True)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.set_state(generator.get_state())
        for module in result.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
                continue
            for weight in module.parameters(recurse=False):
                nn.init.trunc_normal_(weight, std=STRAY)
    return result


class Encoder(nn.Module):
    """A network that changes the colours of images and maps them to the space in which views are compared."""

    def __init__(self, network: nn.Module, color: float, generator: torch.Generator) -> None:
        super().__init__()
        self.network, self.color, self.generator = network, color, generator
        width = classifier(network).in_features
        with torch.random.fork_rng(devices=[]):
            head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, WIDTH))
        self.head = untrained(head, generator)

    def get_extra_state(self) -> Tensor:
        """Return the state of the generator, which is saved with the weights."""
        return self.generator.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """Go on with a saved state of the generator."""
        self.generator.set_state(state.cpu())

    def forward(self, images: Tensor) -> Tensor:
        """Return points [n, WIDTH] for normalised images [n, C, H, W]."""
        return self.head(features_and_logits(self.network, recolor(images, self.color, self.generator))[0])


def recolor(images: Tensor, most: float, generator: torch.Generator) -> Tensor:
    """Return images [n, C, H, W] with random brightness, contrast and saturation; one in five is grey."""
    samples = torch.rand(4, len(images), 1, 1, 1, generator=generator).to(images.device)
    brightness, contrast, saturation = most * (2 * samples[:3] - 1)
    saturation = saturation.where(samples[3] > 0.2, -1.0)
    grey = images.mean(1, keepdim=True)
    images = images + saturation * (images - grey)
    return images + contrast * (images - images.mean((1, 2, 3), keepdim=True)) + brightness


class Probe(nn.Module):
    """A network of which only the classifier learns; all layers stay in eval mode."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)
        classifier(network).requires_grad_(True)

    def train(self, mode: bool = True) -> Probe:
        """Keep the network in eval mode."""
        super().train(mode)
        self.network.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [n, classes]."""
        return self.network(images)


def classifier(network: nn.Module) -> nn.Linear:
    """Return the last linear layer of a network."""
    return [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
