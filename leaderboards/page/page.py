"""One page for a report: self-contained, offline; tables that sort and filter, plots, pictures, provenance.

Everything lies inside the one file: DataTables as itables ships it, plots, thumbnails, and the provenance of every
number as JSON. The page forbids itself any request by its content security policy.
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

from leaderboards.plots.images import Picture, thumbnail
from leaderboards.results.axes import CELL, ROW, axis_values
from leaderboards.results.leaderboard import absent
from leaderboards.results.records import STAGES, Record, Stored, keys_of, rows_of
from leaderboards.results.text import WORDS, ipc_text, missing_text, rank_text, recovered_text
from leaderboards.tables import overview, typeset
from leaderboards.tables.overview import Overview
from leaderboards.tables.paper import Table
from leaderboards.tables.units import duration, size

TEMPLATES = Path(__file__).parent / "templates"
PICTURES = 2_500_000  # bytes of thumbnails, at most
KINDS = {  # of pictures, those first that find room first
    "sheet": "Distilled images",
    "map": "Among the real images of a class",
    "neighbours": "Beside the nearest real images",
    "strip": "From the first iteration to the last",
}
KEYS = 4  # of a set's parts that are named; the record of what was made from them names all
STATUS = {"ok": "measured", "partial": "measured in part", **WORDS}
OPTIONAL = ("recovered", "rank", "published")  # columns that are shown where any row has something there


def render(
    stored: Stored,
    leaderboard: pd.DataFrame,
    overviews: Sequence[Overview],
    tables: Sequence[Table],
    plots: Mapping[str, bytes],
    pictures: Iterable[tuple[Picture, bytes]],
) -> bytes:
    """Return the page.

    Args:
        stored: the records that the leaderboard was made of.
        leaderboard: what to show.
        overviews: tables of everything.
        tables: as in a paper.
        plots: files by name, a PNG and an SVG of each.
        pictures: contact sheets and strips, as PNG.
    """
    rows = [{**_row(row), "id": name} for name, row in zip(_ids(leaderboard), rows_of(leaderboard), strict=True)]
    shown, left_out = _pictures(pictures)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = _code
    text = environment.get_template("page.html").render(
        title=stored.title,
        suite=stored.suite,
        summary=_summary(leaderboard),
        rows=rows,
        given={name for name in OPTIONAL if any(row[name] for row in rows)},
        overviews=[overview.to_html(table) for table in overviews],
        tables=[typeset.to_html(table) for table in tables],
        plots=_plots(plots),
        pictures=shown,
        left_out=left_out,
        absent=list(absent(leaderboard, stored.suite)),
        provenance=_packed(json.dumps(provenance(stored, leaderboard), separators=(",", ":"))),
        script=_packed(_asset("dt_bundle.js")),
        style=_asset("dt_bundle.css"),
    )
    return text.encode()


def provenance(stored: Stored, leaderboard: pd.DataFrame) -> dict[str, Any]:
    """Return where every number comes from, as plain values: ``rows`` by permalink, and the ``nodes`` they refer to."""
    nodes: dict[tuple[str, ...], int] = {}
    facts: list[dict[str, Any]] = []
    pool: dict[str, int] = {}
    cells: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for cell in sorted(stored.cells, key=lambda cell: [str(value) for value in axis_values(cell, CELL)]):
        found = []
        for stage in STAGES:
            keys, records = tuple(keys_of(cell, stage)), stored.records(cell, stage)
            if records and keys not in nodes:
                nodes[keys] = len(facts)
                facts.append(_facts(stage, keys, records, pool))
            found += [nodes[keys]] if keys in nodes else []
        metrics = (stored.records(cell, "evaluate") or [{}])[0].get("metrics", {})
        number = {"draw": cell["draw"], "seed": cell["seed"], "top1": metrics.get("top1"), "nodes": found}
        cells.setdefault(axis_values(cell, ROW), []).append(number)
    named = zip(_ids(leaderboard), leaderboard[ROW].itertuples(index=False, name=None), strict=True)
    return {"rows": {name: cells[axes] for name, axes in named}, "nodes": facts, "texts": list(pool)}


def _seconds(records: Sequence[Record]) -> float | str:
    """Return the seconds of all nodes, "" where one was made elsewhere and nobody knows."""
    known = [record.get("cost", {}).get("seconds") for record in records]
    return "" if None in known else round(sum(known), 2)


def _facts(stage: str, keys: tuple[str, ...], records: Sequence[Record], pool: dict[str, int]) -> dict[str, Any]:
    """Return what is recorded of the nodes of a stage; long texts that repeat are numbered."""
    first = records[0]
    component = first.get("identity", {}).get("component", {})
    cost, history = first.get("cost", {}), first.get("provenance", {})
    versions = "  ".join(f"{name} {version}" for name, version in sorted(history.get("versions", {}).items()))
    hyperparameters = "\n".join(_flat(component.get("params", {})))
    name = f"{component.get('name', '')} (version {component.get('version', '?')})"
    return {
        "stage": stage,
        "component": name if component else "",
        "keys": list(keys[:KEYS]),
        "parts": len(keys),
        "device": cost.get("device", ""),
        "precision": cost.get("precision", ""),
        "seconds": _seconds(records),
        "commit": history.get("commit", ""),
        "finished": max(str(record.get("provenance", {}).get("finished", "")) for record in records),
        "versions": pool.setdefault(versions, len(pool)),
        "hyperparameters": pool.setdefault(hyperparameters, len(pool)),
    }


def _flat(values: Mapping[str, Any], start: str = "") -> Iterable[str]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{start}{name}.")
        else:
            yield f"{start}{name}: {value}"


def _ids(leaderboard: pd.DataFrame) -> list[str]:
    """Return a readable name for every row, the same on every page that has it."""
    seen = Counter[str]()
    found = []
    for axes in leaderboard[ROW].itertuples(index=False, name=None):
        texts = [ipc_text(value) if name == "ipc" else str(value) for name, value in zip(ROW, axes, strict=True)]
        plain = re.sub(r"[^\w.+-]+", "_", "-".join(["row", *texts]))
        seen[plain] += 1
        found.append(plain if seen[plain] == 1 else f"{plain}-{seen[plain]}")
    return found


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    known = not pd.isna(row["top1_mean"])
    gap = row["top1_mean"] - row["reference_top1"]
    published = "" if pd.isna(row["reference_top1"]) else f"{row['reference_top1']:.1f}"
    costs = {name: row[name] for name in ("images_bytes", "labels_bytes", "distill_seconds", "relabel_seconds")}
    return {
        **{name: row[name] for name in ROW},
        "ipc": ipc_text(row["ipc"]),
        "ipc_order": row["ipc"] or 10**9,
        "status": row["status"],
        "reason": row["reason"],
        "mean": f"{row['top1_mean']:.1f}" if known else missing_text(row["status"]),
        "std": f"{row['top1_std']:.1f}" if known and not pd.isna(row["top1_std"]) else "",
        "order": row["top1_mean"] if known else -1,
        "recovered": recovered_text(row["recovered"]),
        "recovered_order": -1e9 if pd.isna(row["recovered"]) else row["recovered"],
        "rank": rank_text(row),
        "rank_order": 1e9 if pd.isna(row["rank"]) else row["rank"],
        "refused": row["refused"],
        "published": published,
        "difference": "" if pd.isna(gap) else f"{gap:+.1f}",
        "source": row["reference_source"],
        "seeds": f"{row['seeds']}/{row['cells']}",
        "costs": [(duration if name.endswith("seconds") else size)(value) for name, value in costs.items()],
        "cost_orders": [-1 if pd.isna(value) else float(value) for value in costs.values()],
    }


def _summary(leaderboard: pd.DataFrame) -> str:
    counts = Counter(leaderboard["status"])
    parts = [f"{counts[status]} {word}" for status, word in STATUS.items() if counts[status]]
    return f"{len(leaderboard)} rows: {', '.join(parts)}."


def _plots(files: Mapping[str, bytes]) -> list[dict[str, str]]:
    """Return the smaller of the PNG and the SVG of every plot, as data URLs."""
    kinds = {"png": "image/png", "svg": "image/svg+xml"}
    found: dict[str, tuple[str, bytes]] = {}
    for name, data in files.items():
        stem, _, kind = name.rpartition("/")[2].rpartition(".")
        if stem not in found or len(data) < len(found[stem][1]):
            found[stem] = kinds[kind], data
    return [{"name": _caption(stem), "url": _url(*image)} for stem, image in found.items()]


def _caption(stem: str) -> str:
    words = stem.replace("_", " ").replace("ipc", "IPC").replace("mmd", "MMD")
    return words[:1].upper() + words[1:]


def _pictures(pictures: Iterable[tuple[Picture, bytes]]) -> tuple[list[dict[str, Any]], int]:
    """Return thumbnails by dataset and IPC, sheets first, as many as there is room for, and how many are left out."""
    room, left_out = PICTURES, 0
    groups: dict[tuple[str, str, int], list[dict[str, str]]] = {}
    for picture, png in sorted(pictures, key=lambda pair: list(KINDS).index(pair[0].kind)):
        data = thumbnail(png)
        if len(data) > room:
            left_out += 1
            continue
        room -= len(data)
        group = groups.setdefault((picture.kind, picture.dataset, picture.ipc), [])
        group.append({"method": picture.method, "url": _url("image/jpeg", data)})
    return [
        {"title": f"{KINDS[kind]}: {dataset}, IPC {ipc_text(ipc)}", "images": images}
        for (kind, dataset, ipc), images in groups.items()
    ], left_out


def _code(text: str) -> Markup:
    """Return a text escaped, what stands between backticks as code."""
    return Markup(re.sub(r"`(.+?)`", r"<code>\1</code>", str(escape(text))))


def _url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _packed(text: str) -> str:
    """Return a text compressed, for the browser to unpack."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _asset(name: str) -> str:
    return resources.files("itables").joinpath("html", name).read_text(encoding="utf-8")
