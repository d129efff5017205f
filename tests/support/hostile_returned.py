"""What a method may wrongly return, or do: as the engine meets it when it runs the node that distils."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from engine import plan
from hostile import Case

from benchmark.api import SyntheticSet
from benchmark.errors import BenchmarkError
from benchmark.run.execution import execute
from benchmark.run.options import NodeOptions
from benchmark.run.store import Store
from methods.random_real import RandomReal

WHOLE = RandomReal.distill
LABELS = torch.arange(10)
PIXELS = torch.rand(10, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def run(folder: Path, distill: Callable[..., Any]) -> None:
    """Run the node with another `distill`; a failed node is raised with its reason, a stored one is accepted."""
    node = next(node for node in plan().nodes.values() if node.stage == "distill")
    options = NodeOptions(str(folder / "runs"), str(folder / "data"))
    with mock.patch.object(RandomReal, "distill", distill):
        outcome = execute(node.key, node.identity, options)
    if outcome.status == "failed":
        error = Store(options.runs).read_json(f"{node.key}/error.json") or {}
        assert error["message"] == outcome.message
        raise BenchmarkError(outcome.message)
    if outcome.status == "done":
        json.loads(json.dumps(Store(options.runs).record(node.key)["metrics"], allow_nan=False))


def wrong_sets() -> dict[str, dict[str, Any]]:
    """Return what differs from a sound set, by name."""
    soft = torch.eye(10)
    broken = {name: PIXELS.clone() for name in ("nan", "inf", "huge")}
    for image, value in zip(broken.values(), (torch.nan, torch.inf, 1e30), strict=True):
        image[3, 1, 2, 2] = value
    return {
        "twice as many images": {"images": torch.cat([PIXELS] * 2), "targets": LABELS.repeat(2)},
        "one image too few": {"images": PIXELS[:9], "targets": LABELS[:9]},
        "no image": {"images": PIXELS[:0], "targets": LABELS[:0]},
        "16 pixels": {"images": PIXELS[..., ::2, ::2]},
        "not square": {"images": PIXELS[..., ::2]},
        "one channel": {"images": PIXELS[:, :1]},
        "four channels": {"images": torch.cat([PIXELS, PIXELS[:, :1]], 1)},
        "channels last": {"images": PIXELS.permute(0, 2, 3, 1)},
        "NaN": {"images": broken["nan"]},
        "infinity": {"images": broken["inf"]},
        "1e30": {"images": broken["huge"]},
        "0 to 255 as floats": {"images": PIXELS * 255},
        "normalised": {"images": (PIXELS - 0.5) / 0.29},
        "doubles": {"images": PIXELS.double()},
        "halves": {"images": PIXELS.half()},
        "whole numbers": {"images": (PIXELS * 255).int()},
        "complex": {"images": PIXELS + 0j},
        "an array": {"images": PIXELS.numpy()},
        "a list of images": {"images": list(PIXELS)},
        "one image without a batch": {"images": PIXELS[0]},
        "reversed labels": {"targets": LABELS.flip(0)},
        "labels all 0": {"targets": LABELS * 0},
        "labels from 1": {"targets": LABELS + 1},
        "negative labels": {"targets": -LABELS},
        "labels of 32 bits": {"targets": LABELS.int()},
        "labels as floats": {"targets": LABELS.float()},
        "labels as a list": {"targets": LABELS.tolist()},
        "labels None": {"targets": None},
        "labels of rank 0": {"targets": torch.tensor(0)},
        "labels as a column": {"targets": LABELS[:, None]},
        "reversed soft labels": {"targets": soft.flip(0)},
        "soft labels of nine classes": {"targets": soft[:, :9]},
        "soft labels of NaN": {"targets": soft / 0},
        "negative weights": {"weights": -torch.ones(10)},
        "weights of 0": {"weights": torch.zeros(10)},
        "weights of NaN": {"weights": torch.ones(10) * torch.nan},
        "nine weights": {"weights": torch.ones(9)},
        "weights as a list": {"weights": [1.0] * 10},
        "whole weights": {"weights": torch.ones(10).long()},
        "an extra of two rows": {"extras": {"atoms": torch.zeros(2, 3)}},
        "an extra that is no tensor": {"extras": {"atoms": [1]}},
        "metadata that is no JSON": {"metadata": {"loss": torch.zeros(2)}},
        "metadata of NaN": {"metadata": {"loss": float("nan")}},
        "metadata that names the images": {"metadata": {"images": object()}},
        "metadata that is a list": {"metadata": [1]},
    }


def leaving() -> dict[str, BaseException]:
    """Return errors that would end a program, and others."""
    return {
        "sys.exit(0)": SystemExit(0),
        "sys.exit of words": SystemExit("done"),
        "sys.exit()": SystemExit(),
        "GeneratorExit": GeneratorExit(),
        "BaseException": BaseException("stop"),
        "an error of several lines": ValueError("one\ntwo\nthree"),
        "an error without words": RuntimeError(),
        "an error of a megabyte": ValueError("x" * 2**20),
        "a recursion": RecursionError("maximum recursion depth exceeded"),
        "an assertion": AssertionError(),
        "StopIteration": StopIteration(),
        "memory": MemoryError(),
    }


def cases() -> list[Case]:
    """Return all cases of this module."""
    return list(_cases())


def _cases() -> Iterator[Case]:
    def different(change: dict[str, Any], self: RandomReal, *arguments: Any) -> Any:
        return SyntheticSet(**{"images": PIXELS, "targets": LABELS, **change})

    def ended(error: BaseException, *_arguments: Any) -> None:
        raise error

    def given(value: Any, *_arguments: Any) -> Any:
        return value

    for name, change in wrong_sets().items():
        distill = partial(different, change)
        yield Case("method: what it returns", name, partial(run, distill=lambda *a, distill=distill: distill(*a)))
    others = {"None": None, "a tensor": PIXELS, "a pair": (PIXELS, LABELS), "text": "set", "the class": SyntheticSet}
    for name, value in others.items():
        yield Case("method: what it returns", name, partial(run, distill=partial(given, value)))
    for name, error in leaving().items():
        yield Case("method: how it ends", name, partial(run, distill=partial(ended, error)))

    def changed(self: RandomReal, data: Any, unit: Any, context: Any) -> Any:
        sound = WHOLE(self, data, unit, context)
        return dataclasses.replace(sound, targets=sound.targets.roll(1))

    yield Case("method: what it returns", "labels moved by one", partial(run, distill=changed))
