"""The page of a report: one file that works offline, with the result, plots, tables, all rows, pictures, provenance.

DataTables (from itables), plots, thumbnails, and the provenance of every number as JSON all lie inside the file. Its
content security policy forbids every request.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from benchmark.files import file_name
from leaderboards.page.provenance import permalinks, provenance
from leaderboards.page.verdicts import verdicts
from leaderboards.plots.images import Picture, thumbnail
from leaderboards.results.axes import ROW
from leaderboards.results.leaderboard import absent
from leaderboards.results.pairwise import DIFFERENCES, PAIRS
from leaderboards.results.records import Stored, rows_of
from leaderboards.results.scores import main_protocol
from leaderboards.results.text import (
    WORDS,
    accuracy_text,
    covers_text,
    difference_text,
    ipc_text,
    missing_text,
    rank_text,
    recovered_text,
)
from leaderboards.results.units import duration, size
from leaderboards.tables.layout import to_sheet
from leaderboards.tables.paper import MAIN, Table
from leaderboards.tables.sheet import Sheet

TEMPLATES = Path(__file__).parent / "templates"
PICTURES = 2_500_000  # bytes of thumbnails, at most
KINDS = {  # the kinds of pictures; the first kinds find room first
    "sheet": "Distilled images",
    "map": "Among the real images of a class",
    "neighbours": "Beside the nearest real images",
    "strip": "From the first iteration to the last",
}
TITLES = {  # the titles of plots, by the start of their names
    DIFFERENCES: "Differences from random real images",
    "accuracy_against_ipc": "Accuracy by images per class",
    "accuracy_by_protocol": "Accuracy under each protocol",
    "regimes": "Accuracy against all bytes that are sent, all label regimes",
    "accuracy_against_bytes": "Accuracy against the bytes of a set",
    "accuracy_against_seconds": "Accuracy against the time to make a set",
    "accuracy_against": "Accuracy against what a measure finds",
    "numbers": "Further numbers of an evaluator",
    "critical_difference": "Mean ranks, and which methods cannot be told apart",
    "ablation": "Variants of a method",
    PAIRS: "Differences of pairs that differ in one idea",
    "networks": "Accuracy of every student",
    "sensitivity": "Accuracy against one hyperparameter",
    "training": "Training loss of the students",
}
STATUS = {"ok": "measured", "partial": "measured in part", **WORDS}
OPTIONAL = ("recovered", "rank", "published")  # columns that are left out where no row has a value
COSTS = ("images_bytes", "labels_bytes", "distill_seconds", "needed_seconds", "relabel_seconds")


def render(
    stored: Stored,
    leaderboard: pd.DataFrame,
    overviews: Sequence[Sheet],
    tables: Sequence[Table],
    plots: Mapping[str, bytes],
    pictures: Iterable[tuple[Picture, bytes]],
) -> bytes:
    """Return the page.

    Args:
        stored: the records from which the leaderboard was computed.
        leaderboard: the rows of the page.
        overviews: tables of all that is known of a dataset at an IPC.
        tables: tables as in a paper.
        plots: the files of all plots by name, a PNG and an SVG of each.
        pictures: contact sheets, strips, maps and neighbours, as PNG.
    """
    links = permalinks(leaderboard)
    rows = [{**_row(row), "id": link} for link, row in zip(links, rows_of(leaderboard), strict=True)]
    protocol = main_protocol(leaderboard)
    main_tables = [table for table in tables if table.kind == MAIN and table.name.startswith(f"{MAIN}_{protocol}_")]
    images = _plots(plots, protocol)
    thumbnails, missing_count = _pictures(pictures)
    text = (
        _environment()
        .get_template("page.html")
        .render(
            title=stored.title,
            suite=stored.suite,
            summary=_summary(leaderboard),
            covers=covers_text(rows_of(leaderboard[leaderboard["protocol"] == protocol])),
            protocol=protocol,
            verdicts=verdicts(leaderboard),
            rows=rows,
            filled={name for name in OPTIONAL if any(row[name] for row in rows)},
            first=[to_sheet(table) for table in main_tables],
            further=[*overviews, *(to_sheet(table) for table in tables if table not in main_tables)],
            first_plot=images.pop(next(iter(images), ""), None),
            plots=list(images.values()),
            pictures=thumbnails,
            left_out=missing_count,
            absent=list(absent(leaderboard, stored.suite, options=True)),
            provenance=_packed(json.dumps(provenance(stored, leaderboard), separators=(",", ":"))),
            script=_packed(_asset("dt_bundle.js")),
            style=_asset("dt_bundle.css"),
        )
    )
    return text.encode()


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = _code
    return environment


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of the leaderboard as texts, with numbers to sort by."""
    measured = not pd.isna(row["top1_mean"])
    mean = accuracy_text(row) if measured else missing_text(row["status"])
    gap = row["top1_mean"] - row["reference_top1"]
    orders = [row["top1_mean"], row["recovered"], *(row[name] for name in COSTS)]
    mean_order, recovered_order, *cost_orders = [-1e9 if pd.isna(value) else float(value) for value in orders]
    return {
        **{name: row[name] for name in (*ROW, "status", "reason", "refused")},
        "ipc": ipc_text(row["ipc"]),
        "ipc_order": row["ipc"] or 10**9,
        "mean": mean,
        "mean_order": mean_order,
        "recovered": recovered_text(row["recovered"]),
        "recovered_order": recovered_order,
        "rank": rank_text(row),
        "rank_order": 1e9 if pd.isna(row["rank"]) else row["rank"],
        "published": "" if pd.isna(row["reference_top1"]) else f"{row['reference_top1']:.1f}",
        "difference": "" if pd.isna(gap) else difference_text(gap),
        "source": row["reference_source"],
        "seeds": f"{row['seeds']}/{row['cells']}",
        "teachers": "" if pd.isna(row["teachers"]) else str(row["teachers"]),
        "costs": [(duration if name.endswith("seconds") else size)(row[name]) for name in COSTS],
        "cost_orders": cost_orders,
    }


def _summary(leaderboard: pd.DataFrame) -> str:
    counts = Counter(leaderboard["status"])
    parts = [f"{counts[status]} {word}" for status, word in STATUS.items() if counts[status]]
    return f"{len(leaderboard)} rows: {', '.join(parts)}."


def _plots(files: Mapping[str, bytes], protocol: str) -> dict[str, dict[str, str]]:
    """Return the title of every plot, and the smaller of its PNG and its SVG as a data URL, by name.

    Differences come first, then the plots of one protocol.
    """
    kinds = {"png": "image/png", "svg": "image/svg+xml"}
    smallest: dict[str, tuple[str, bytes]] = {}
    for path, data in files.items():
        name, _, kind = path.rpartition("/")[2].rpartition(".")
        if name not in smallest or len(data) < len(smallest[name][1]):
            smallest[name] = kinds[kind], data
    end = f"_{file_name(protocol)}"
    names = sorted(smallest, key=lambda name: (not name.startswith((DIFFERENCES, PAIRS)), not name.endswith(end)))
    return {name: {"title": _title(name), "url": _url(*smallest[name])} for name in names}


def _title(name: str) -> str:
    """Return the title of a plot: what it shows, and the rest of its name (dataset, protocol)."""
    for start, title in TITLES.items():
        if name.startswith(start):
            ending = name.removeprefix(start).replace("_", " ").strip()
            return f"{title}: {ending}" if ending else title
    return name.replace("_", " ").capitalize()


def _pictures(pictures: Iterable[tuple[Picture, bytes]]) -> tuple[list[dict[str, Any]], int]:
    """Return thumbnails by kind, dataset and IPC until there is no more room, and the number of those left out."""
    room, missing_count = PICTURES, 0
    groups: dict[tuple[str, str, int], list[dict[str, str]]] = {}
    for picture, png in sorted(pictures, key=lambda pair: list(KINDS).index(pair[0].kind)):
        data = thumbnail(png)
        if len(data) > room:
            missing_count += 1
            continue
        room -= len(data)
        group = groups.setdefault((picture.kind, picture.dataset, picture.ipc), [])
        group.append({"method": picture.method, "url": _url("image/jpeg", data)})
    return [
        {"title": f"{KINDS[kind]}: {dataset}, IPC {ipc_text(ipc)}", "images": images}
        for (kind, dataset, ipc), images in groups.items()
    ], missing_count


def _code(text: str) -> Markup:
    """Return an escaped text in which what stands between backticks is code."""
    return Markup(re.sub(r"`(.+?)`", r"<code>\1</code>", str(escape(text))))


def _url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _packed(text: str) -> str:
    """Return a compressed text, which the browser unpacks."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _asset(name: str) -> str:
    return resources.files("itables").joinpath("html", name).read_text(encoding="utf-8")
