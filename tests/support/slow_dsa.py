"""The six groups of DSA written out, one image at a time and pixel by pixel, with their gradients."""

from __future__ import annotations

import math

import torch

SIZE = 8  # pixels of the images


def color(image, u):
    out = image + (u[0] - 0.5)
    grey = sum(out[c] for c in range(3)) / 3
    out = torch.stack([grey + 2 * u[1] * (out[c] - grey) for c in range(3)])
    mean = out.sum() / out.numel()
    return mean + (u[2] + 0.5) * (out - mean)


def crop(image, u):
    most = 1  # an eighth of 8 px
    dx, dy = (math.floor(value * 3) - most for value in u[:2])
    return looked_up(image, lambda x, y: (x + dx, y + dy))


def cutout(image, u):
    out = image.clone()
    left, top = (math.floor(value * (SIZE + 1)) - 2 for value in u[:2])
    for y in range(SIZE):
        for x in range(SIZE):
            if left <= x < left + 4 and top <= y < top + 4:
                out[:, y, x] = 0
    return out


def flip(image, u):
    return torch.stack([image[:, :, SIZE - 1 - x] for x in range(SIZE)], dim=2) if u[0] < 0.5 else image


def scale(image, u):
    sx, sy = (1 / 1.2 + value * (1.2 - 1 / 1.2) for value in u[:2])
    middle = (SIZE - 1) / 2
    return looked_up(image, lambda x, y: (middle + sx * (x - middle), middle + sy * (y - middle)))


def rotate(image, u):
    angle, middle = math.pi / 12 * (2 * u[0] - 1), (SIZE - 1) / 2

    def place(x, y):
        x, y = x - middle, y - middle
        return (
            middle + math.cos(angle) * x - math.sin(angle) * y,
            middle + math.sin(angle) * x + math.cos(angle) * y,
        )

    return looked_up(image, place)


def looked_up(image, place):
    """Return the image whose pixel (x, y) is what lies, bilinearly, at place(x, y), 0 outside."""
    out = torch.zeros_like(image)
    for y in range(SIZE):
        for x in range(SIZE):
            at_x, at_y = place(x, y)
            for i in (math.floor(at_x), math.floor(at_x) + 1):
                for j in (math.floor(at_y), math.floor(at_y) + 1):
                    if 0 <= i < SIZE and 0 <= j < SIZE:
                        out[:, y, x] += (1 - abs(at_x - i)) * (1 - abs(at_y - j)) * image[:, j, i]
    return out


FORMULAS = {"color": color, "crop": crop, "cutout": cutout, "flip": flip, "scale": scale, "rotate": rotate}
