"""The scale of the values of images: pixels in [0, 1] or [0, 255], normalised, or whitened.

Images that were saved as a network sees them are normalised, and look like pixels of another contrast. So the values
are checked by their statistics; if these say "normalised", the user must confirm it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from benchmark.api import DatasetInfo
from benchmark.errors import BenchmarkError
from benchmark.formats.pt import MARGIN, Normalisation

Scale: TypeAlias = Literal["0-1", "0-255", "normalised"]  # the scale of the values of images
ValueRange: TypeAlias = Literal["auto", "0-1", "0-255", "normalised"]  # auto: guess the scale from the values
LARGEST = 8.0  # pixels, and images that are normalised by the mean and deviation of a dataset, stay below it
CENTRED = 0.25  # whitened images have a mean between -CENTRED and CENTRED
WHITE_NEAR, WHITE_FAR = 0.08, 0.3  # the limits for whitened images: see `look_whitened`


@dataclass(frozen=True)
class Known:
    """A normalisation that code of the field uses for some dataset, and where."""

    normalisation: Normalisation
    where: str


KNOWN = (
    Known(Normalisation((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)), "DC, DSA, DM and DC-BENCH on CIFAR-10"),
    Known(Normalisation((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)), "the true deviation of CIFAR-10"),
    Known(Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), "ImageNet"),
    Known(Normalisation((0.5,) * 3, (0.5,) * 3), "pixels from -1 to 1"),
)


def guess_scale(images: Tensor) -> Scale:
    """Return the scale of images, from the statistics of their values.

    Values in [0, 1] have a standard deviation of at most 0.5. So values that fall below 0 are normalised if their
    deviation is larger or their mean is negative; pixels that a method has pushed out of [0, 1] are neither. Values in
    [0, 255] are large and have a large mean; normalised images that were never clipped may be large, but have a mean
    near 0.
    """
    if images.dtype == torch.uint8 or (float(images.max()) > LARGEST and float(images.mean()) > 1):
        return "0-255"
    below_zero = float(images.min()) < -MARGIN
    return "normalised" if below_zero and (float(images.std()) > 0.5 or float(images.mean()) < 0) else "0-1"


def look_whitened(images: Tensor) -> bool:
    """Return whether float images look ZCA-whitened.

    Whitening removes what pixels say of distant pixels, and leaves something to neighbours. On 10,000 images of
    CIFAR-10, the correlation of neighbours and of pixels four apart is 0.93 and 0.70 for normalised images, 0.40 and
    0.04 after ZCA as in RFAD, KIP and MTT (0.1 added to the eigenvalues), and 0 and 0 for noise.
    """
    if float(images.min()) >= -MARGIN or abs(float(images.mean())) > CENTRED or images.shape[-1] < 8:
        return False
    near, far = (_correlation(images, distance) for distance in (1, images.shape[-1] // 8))
    return near > WHITE_NEAR and far < WHITE_FAR * near


def to_pixels(
    images: Tensor, info: DatasetInfo, value_range: ValueRange, name: str, user_values: Normalisation | None
) -> tuple[Tensor, list[str]]:
    """Return images in pixel space, and notes about what was done to them.

    Args:
        images: [N, C, S, S].
        info: the dataset; it gives mean and deviation.
        value_range: the scale of the values. "auto" guesses it, but never undoes a normalisation unasked.
        name: what messages call the set.
        user_values: the normalisation of the images, if the user knows it.

    Raises:
        BenchmarkError: the values cannot have this scale, or it is not clear which one they have.
    """
    guess, low, high = guess_scale(images), float(images.min()), float(images.max())
    facts = (
        f"values from {low:.3g} to {high:.3g}, mean {images.float().mean():.3g}, deviation {images.float().std():.3g}"
    )
    if value_range == "auto" and user_values is not None:
        value_range = "normalised"
    if value_range == "auto" and images.dtype != torch.uint8 and look_whitened(images):
        raise BenchmarkError(
            f"{name}: {facts}: its images look ZCA-whitened, and without the matrix of their authors they are no "
            "pixels; save them before they are whitened. If they are normalised only, add --value-range normalised"
        )
    if value_range == "auto" and guess == "normalised":
        raise BenchmarkError(f"{name}: {facts}: its images look normalised. {_advice(images, info)}")
    impossible = {"normalised": low >= 0, "0-255": high <= LARGEST, "0-1": max(high, -low) > LARGEST}
    if images.dtype == torch.uint8 and high == 0:
        raise BenchmarkError(f"{name}: all values are 0; were values from 0 to 1 cut off to whole numbers?")
    if impossible.get(value_range) or (images.dtype == torch.uint8 and high <= 1):
        looks = "0-1, rounded to 0 and 1" if images.dtype == torch.uint8 and high <= 1 else guess
        raise BenchmarkError(f"{name}: {facts}: that is not --value-range {value_range}; it looks like {looks}")
    if images.dtype == torch.uint8:
        return images, []
    values, scale = images.float(), guess if value_range == "auto" else value_range
    notes = {"normalised": [], "0-1": [], "0-255": ["values from 0 to 255, divided by 255"]}[scale]
    if scale == "normalised":
        normalisation, note = _normalisation(values, info, name, user_values)
        values, notes = normalisation.undo(values), [note]
    pixels = values / 255 if scale == "0-255" else values
    if not float(pixels.abs().max()) <= LARGEST:
        raise BenchmarkError(f"{name}: {facts}: as {scale}, they leave the range of pixels by far")
    return _rounded(pixels, notes)


def _correlation(images: Tensor, distance: int) -> float:
    """Return the correlation of pixels with those ``distance`` to the right."""
    centred = images - images.mean()
    return float((centred[..., distance:] * centred[..., :-distance]).mean() / centred.square().mean())


def _fits(images: Tensor, normalisation: Normalisation) -> bool:
    """Return whether a normalisation gives exactly 8-bit pixels, or fills [0, 1] exactly in each channel."""
    if images.shape[1] != len(normalisation.mean):
        return False
    pixels = normalisation.undo(images)
    lows, highs = pixels.amin((0, 2, 3)), pixels.amax((0, 2, 3))
    if float(lows.min()) < -1e-3 or float(highs.max()) > 1 + 1e-3:
        return False
    levels = pixels * 255
    fills = float(lows.max()) < 1e-4 and float(highs.min()) > 1 - 1e-4
    return fills or bool(((levels - levels.round()).abs() < 0.01).all())


def _normalisation(
    images: Tensor, info: DatasetInfo, name: str, user_values: Normalisation | None
) -> tuple[Normalisation, str]:
    """Return the normalisation of images and a note: the given one, the one that fits exactly, or the dataset's.

    Raises:
        BenchmarkError: code of the field uses another one for this dataset, and the values fit neither exactly.
    """
    if user_values is not None:
        if len(user_values.mean) != images.shape[1]:
            raise BenchmarkError(f"{name}: --mean and --std need {images.shape[1]} values, one per channel")
        return user_values, f"normalisation undone with mean {user_values.mean} and std {user_values.std}"
    default = Normalisation(info.mean, info.std)
    if _fits(images, default):
        return default, "normalisation undone"
    if entry := next((entry for entry in KNOWN if _fits(images, entry.normalisation)), None):
        std = entry.normalisation.std
        return entry.normalisation, f"normalisation undone: std {std} ({entry.where}) fits exactly"
    if rivals := [entry for entry in KNOWN if _are_close(entry.normalisation.mean, info.mean)]:
        options = [f"--std {_words(entry.normalisation.std)} ({entry.where})" for entry in rivals]
        if any(not _are_close(entry.normalisation.std, info.std) for entry in rivals):
            raise BenchmarkError(f"{name}: no deviation fits exactly; say which one was used: {' or '.join(options)}")
    return default, "normalisation undone"


def _advice(images: Tensor, info: DatasetInfo) -> str:
    """Return what the user can add to the command."""
    undo = f"the mean {info.mean} and deviation {info.std} of {info.name} undo it"
    if entry := next((entry for entry in KNOWN if _fits(images, entry.normalisation)), None):
        undo = f"std {entry.normalisation.std} ({entry.where}) fits exactly and undoes it"
    return f"If they are, add --value-range normalised: {undo}. If they are pixels, add --value-range 0-1"


def _are_close(one: Sequence[float], other: Sequence[float]) -> bool:
    return len(one) == len(other) and all(abs(a - b) < 0.005 for a, b in zip(one, other, strict=True))


def _words(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in values)


def _rounded(pixels: Tensor, notes: Sequence[str]) -> tuple[Tensor, list[str]]:
    """Return pixels as uint8 if all are multiples of 1/255, else unchanged; add a note if some leave [0, 1]."""
    low, high, levels = float(pixels.min()), float(pixels.max()), pixels * 255
    if low < -MARGIN or high > 1 + MARGIN:
        return pixels, [*notes, f"pixels from {low:.3g} to {high:.3g} leave [0, 1]; they are kept"]
    eight_bit = bool(((levels - levels.round()).abs() < 0.01).all())
    return (levels.round().clamp(0, 255).byte() if eight_bit else pixels), list(notes)
