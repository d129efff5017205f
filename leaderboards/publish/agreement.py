"""Checks before records join a publication: they agree with the published ones, and name no path and no host."""

from __future__ import annotations

import math
import re
import socket
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from scipy.special import ndtri, stdtrit

from benchmark.record import is_number
from leaderboards.results.axes import METHOD, ROW, axis_values
from leaderboards.results.correct_images import FIELD
from leaderboards.results.records import Record, Records, keys_of

TOLERANCE = 0.02  # relative and absolute: rounding on another machine may change a number by so much
ERROR = 0.05  # the probability that any number of an honest run is called a disagreement
ACCURACIES = ("top1", "top5")  # and numbers whose names end with one of them: in percent of the test images
MOST_IMAGES = 100_000  # the most images of a test split
BITS = f"metrics.{FIELD}"  # base64, which may start with a slash
PATHS = re.compile(r"(?:^|[\s'\"=(:,])(?:/(?!/)|~/|[A-Za-z]:\\|file:)\S")


def disagreements(earlier: Records, new: Records, cells: Sequence[Record]) -> Iterator[str]:
    """Yield a line for every accuracy whose published value differs from that of a run with the same key.

    Another device or precision rounds otherwise, so that training takes another course, as with another seed. A number
    may therefore differ by the interval of a difference between two seeds (their deviation is pooled over the rows of
    the dataset), or where no row has two seeds, by that of two samples of as many test images; and by one image. The
    intervals are corrected for their number (Bonferroni): of honest runs, one in twenty has a line. Other numbers, such
    as losses, have no such scale and decide no verdict; they are not compared.

    Args:
        earlier: the published records.
        new: the records of the run.
        cells: the published cells, which say whose records are seeds of one row.
    """
    spread, differing = Spread(earlier, cells), list[tuple[str, str, float, float]]()
    for key in sorted(earlier.keys() & new.keys()):
        reference, metrics = earlier[key]["metrics"], new[key]["metrics"]
        names = [name for name in sorted(reference.keys() & metrics.keys()) if _is_accuracy(name)]
        differing += [(key, name, reference[name], metrics[name]) for name in names if reference[name] != metrics[name]]
    for key, name, published, again in differing:
        record = earlier[key]
        if math.isclose(published, again, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            continue
        allowed, reason = spread.allowed(record, name, len(differing))
        if abs(published - again) <= allowed:  # false for NaN
            continue
        node = f"{record['stage']} {record['identity']['component']['name']} ({key})"
        yield (
            f"{node}: {name} is published as {published}, and in this run it is {again}, with the same "
            f"identity: more than {allowed:.3g} apart, {reason}. {surroundings(record, new[key])}; "
            "find the cause, or remove the line of the key from records.jsonl to publish the new value"
        )


def surroundings(published: Record, run: Record) -> str:
    """Return in words where two records of a node were computed, and which of device class and precision differ."""
    facts = [
        {"device class": device_class(record), "precision": record.get("cost", {}).get("precision", "not recorded")}
        for record in (published, run)
    ]
    differ = [name for name in facts[0] if facts[0][name] != facts[1][name]]
    places = [f"{one['device class']} in {one['precision']}" for one in facts]
    verdict = (
        f"{' and '.join(differ)} differ{'' if differ[1:] else 's'}" if differ else "device class and precision agree"
    )
    return f"Published: {places[0]}, this run: {places[1]}; {verdict}"


def device_class(record: Record) -> str:
    """Return ``cpu`` or ``cuda``; records of before it was recorded say how many graphics cards they used."""
    cost = record.get("cost", {})
    return str(cost.get("device_class") or ("cuda" if cost.get("gpus") else "cpu"))


class Spread:
    """How far two honest runs of one node may lie apart."""

    def __init__(self, records: Records, cells: Sequence[Record]) -> None:
        self.records = records
        self.rows: dict[str, tuple[Any, ...]] = {}  # key -> what it has in common with other seeds
        for cell in cells:
            for stage, axes in {"distill": METHOD, "evaluate": ROW}.items():
                self.rows |= dict.fromkeys(keys_of(cell, stage), axis_values(cell, axes))

    def allowed(self, record: Record, name: str, comparisons: int = 1) -> tuple[float, str]:
        """Return the largest difference of a number in a record, and what gives it.

        Args:
            record: the published one.
            name: of the number.
            comparisons: how many numbers are looked at; none of honest ones is further apart in 95 % of runs.
        """
        level = 1 - ERROR / 2 / comparisons
        value, dataset = float(record["metrics"][name]), record["identity"].get("dataset", {}).get("name")
        groups = defaultdict[object, list[float]](list)
        for key, peer in self.records.items():
            is_same = peer["stage"] == record["stage"] and peer["identity"].get("dataset", {}).get("name") == dataset
            if is_same and is_number(peer["metrics"].get(name)):
                groups[self.rows.get(key, key)].append(float(peer["metrics"][name]))
        freedom = sum(len(values) - 1 for values in groups.values())
        images = (
            smallest_test_split([value for values in groups.values() for value in values]) if _is_accuracy(name) else 0
        )
        one_image = 100 / images if images else 0.0
        if freedom:
            squares = sum((value - fmean(values)) ** 2 for values in groups.values() for value in values)
            between = float(stdtrit(freedom, level)) * math.sqrt(2 * squares / freedom)
            return max(between, one_image), "which seeds" + (f" and {images} test images allow" if images else " allow")
        if images:
            share = min(max(value / 100, 0.0), 1.0)
            sampled = 100 * float(ndtri(level)) * math.sqrt(2 * share * (1 - share) / images)
            return max(sampled, one_image), f"which {images} test images allow"
        return TOLERANCE * max(1.0, abs(value)), "which rounding allows"


def _is_accuracy(name: str) -> bool:
    return name.endswith(ACCURACIES)


def smallest_test_split(accuracies: Sequence[float]) -> int:
    """Return the smallest number of test images that can give all accuracies, in percent; 0 where there is none."""
    counts = np.arange(1, MOST_IMAGES + 1)
    fits = np.ones(len(counts), bool)
    for accuracy in set(accuracies):
        right = accuracy / 100 * counts
        fits &= np.abs(right - right.round()) < 1e-6
    return int(counts[fits][0]) if fits.any() else 0


def leaks(published: Records) -> Iterator[str]:
    """Yield a line for every text in some records that names a path or the host of a machine."""
    for key, record in published.items():
        for field, text in _texts(record):
            if field != BITS and names_machine(text):
                yield f"{key}: {field} holds {text!r}, a path or a host; it cannot be published; run it again without"


def _texts(value: Any, field: str = "") -> Iterator[tuple[str, str]]:
    """Yield all texts inside nested values, each with its dotted field."""
    if isinstance(value, str):
        yield field, value
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _texts(item, f"{field}.{name}".lstrip("."))
    if isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            yield from _texts(item, field)


def names_machine(text: str) -> bool:
    """Whether a text contains a path or the name of this host, as a word of its own."""
    host = socket.gethostname()
    is_name = len(host) > 3 and host != "localhost"
    return bool(PATHS.search(text) or (is_name and re.search(rf"(?<!\w){re.escape(host)}(?!\w)", text)))
