"""One table with everything that judges a set: accuracies by protocol, ranks, scores, distances, bytes and seconds.

A table per dataset, IPC and student that was judged under several protocols, whose sets were measured, or where
barycenters are compared; a row per method. What no row has is left out, so a suite shows as much as it asks for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from leaderboards.results import measures, scores
from leaderboards.results.axes import EVERY_IPC, METHOD, SCORED, STUDENT, axis_values
from leaderboards.results.records import rows_of
from leaderboards.results.text import ipc_text, mean_text, rank_text, recovered_text
from leaderboards.tables.typeset import HTML, LATEX, MARKDOWN, Markup, latex, markdown_grid
from leaderboards.tables.units import duration, size

NUMBERS = {  # column of the files that it draws on -> heading, format
    "fgsm_top1": ("FGSM", "{:.1f}"),
    "pgd_top1": ("PGD", "{:.1f}"),
    "corruption_top1": ("corrupted", "{:.1f}"),
    "hlr": ("HLR", "{:.2f}"),
    "ior": ("IOR", "{:.2f}"),
    "lrs_w0.5": ("LRS", "{:.2f}"),
    "ars_g0.5": ("ARS", "{:.2f}"),
    "teacher.w2": ("W2, teacher", "{:#.3g}"),
    "neutral.w2": ("W2, neutral", "{:#.3g}"),
    "teacher.statistics_error": ("statistics error", "{:#.3g}"),
    "transport_cost": ("transport cost", "{:#.3g}"),
    "barycenter_seconds": ("barycenter, s", "{:#.2g}"),
}
BARYCENTER = ("transport_cost", "barycenter_seconds")
SOLVERS = 2  # different transport costs from which on their comparison is worth a table
COSTS = {"images_bytes": ("images", size), "distill_seconds": ("distill", duration)}
LEGEND = {
    "FGSM": "FGSM, PGD, corrupted: top-1 (%) on test images under attack, and the mean over six corruptions",
    "recovered": "recovered: 0 % as random real images, 100 % as the full set (protocol standard)",
    "rank": "rank: under protocol standard, with its 95 % interval",
    "HLR": "HLR: lost against the full set with hard labels, lower is better",
    "IOR": "IOR: gained over random real images",
    "LRS": "LRS, ARS: label- and augmentation-robust score (w = g = 0.5), 0.269 for no advantage",
    "W2, teacher": "W2: exact 2-Wasserstein distance to the real features of a class, through two networks; last row: "
    "as many real images against the others",
    "statistics error": "statistics error: of a class's batch-norm statistics, relative",
    "transport cost": "transport cost: of the barycenter to the real features of its class",
}
LABELS = "bytes of labels"  # the row of what the labels of a set take
FLOOR = "real images"  # the row of what as many real images reach against others


@dataclass(frozen=True)
class Cell:
    """One cell: its text, and whether it is the best of its column or within noise of it."""

    text: str = ""
    best: bool = False
    tied: bool = False


@dataclass(frozen=True)
class Overview:
    """A table of everything.

    Attributes:
        name: of its files.
        caption: what it shows.
        columns: their headings, without that of the method.
        rows: by method, the most accurate first, then the full set, the bytes of labels and what chance reaches.
    """

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: dict[str, tuple[Cell, ...]]

    @property
    def legend(self) -> list[str]:
        """How to read the columns that are there."""
        return [text for column, text in LEGEND.items() if column in self.columns]


def overviews(
    board: pd.DataFrame, sets: pd.DataFrame, attacked: pd.DataFrame, spent: pd.DataFrame, scored: pd.DataFrame
) -> list[Overview]:
    """Return every table of everything.

    Args:
        board: a leaderboard with standings.
        sets: as `measures.table` returns them.
        attacked: as `evaluations.table` returns it; its protocols are shown by what it holds, not by their top-1.
        spent: as `costs.table` returns it.
        scored: as `scores.table` returns it.
    """
    measured = board[board["top1_mean"].notna() & ~board["protocol"].isin(attacked["protocol"])]
    sized = {axis_values(row, METHOD): row for row in rows_of(measures.methods_of(sets))}
    known: dict[Any, dict[str, Any]] = {}
    for row in [*rows_of(spent), *rows_of(scored), *rows_of(attacked)]:
        known.setdefault(axis_values(row, SCORED), {}).update(row)
    found = []
    for axes, own in measured[measured["ipc"] != EVERY_IPC].groupby(STUDENT, sort=False):
        dataset, _, student = axes
        whole = measured[(measured[STUDENT] == [dataset, EVERY_IPC, student]).all(axis=1)]
        rows = pd.concat([own, whole])
        facts = {}
        for row in rows_of(rows):
            facts[row["method"]] = {
                **known.get(axis_values(row, SCORED), {}),
                **sized.get(axis_values(row, METHOD), {}),
            }
        measured_sets = any("teacher.w2" in values for values in facts.values())
        spreads = {
            f"{values['transport_cost']:.3g}" for values in facts.values() if not pd.isna(values.get("transport_cost"))
        }
        if len(spreads) < SOLVERS:
            facts = {method: {**values, **dict.fromkeys(BARYCENTER)} for method, values in facts.items()}
        if own["protocol"].nunique() > 1 or measured_sets or len(spreads) >= SOLVERS:
            found.append(_overview(axes, rows, facts))
    return found


def files(found: Iterable[Overview]) -> dict[str, bytes]:
    """Return every table as Markdown, LaTeX and CSV, by the names of their files."""
    writers = {"md": to_markdown, "tex": to_latex, "csv": to_csv}
    return {f"tables/{table.name}.{kind}": write(table) for table in found for kind, write in writers.items()}


def to_csv(table: Overview) -> bytes:
    """Return a table as CSV, its texts as they are shown; exact numbers are in the files that it draws on."""
    lines = [[cell.text for cell in row] for row in table.rows.values()]
    frame = pd.DataFrame(lines, pd.Index(table.rows, name="method"), table.columns)
    return frame.to_csv(lineterminator="\n").encode()


def to_markdown(table: Overview) -> bytes:
    """Return a table as Markdown."""
    mark = MARKDOWN
    head = [["method", *map(mark.escape, table.columns)], [":--", *("--:" for _ in table.columns)]]
    body = [[mark.escape(method), *(_marked(cell, mark) for cell in row)] for method, row in table.rows.items()]
    grid = markdown_grid([*head, *body])
    notes = "\n".join(f"- {mark.escape(line)}" for line in table.legend)
    return f"**{mark.escape(table.caption)}**\n\n{grid}\n\n{notes}\n".encode()


def to_latex(table: Overview) -> bytes:
    """Return a table as LaTeX for a document that uses booktabs and graphicx."""
    lines = [[_marked(cell, LATEX) for cell in row] for row in table.rows.values()]
    frame = pd.DataFrame(lines, [*map(LATEX.escape, table.rows)], [*map(LATEX.escape, table.columns)])
    body = frame.style.to_latex(hrules=True, column_format=f"l{'r' * len(table.columns)}")
    return latex(table.name, table.caption, body, len(table.columns), [*map(LATEX.escape, table.legend)])


def to_html(table: Overview) -> dict[str, Any]:
    """Return what a page needs to show a table, escaped."""
    mark = HTML
    return {
        "name": table.name,
        "caption": mark.escape(table.caption),
        "columns": [mark.escape(name) for name in table.columns],
        "lines": [(mark.escape(name), [_marked(cell, mark) for cell in row]) for name, row in table.rows.items()],
        "legend": mark.escape("; ".join(table.legend)),
    }


def _overview(axes: Any, rows: pd.DataFrame, facts: Mapping[str, Mapping[str, Any]]) -> Overview:
    dataset, ipc, student = axes
    protocols = list(dict.fromkeys(rows["protocol"]))
    main = scores.ANY if scores.ANY in protocols else protocols[0]
    best = rows[rows["ipc"] != EVERY_IPC].groupby("protocol")["top1_mean"].max()
    order = rows[rows["protocol"] == main].sort_values("top1_mean", ascending=False)["method"]
    last = set(rows.loc[rows["ipc"] == EVERY_IPC, "method"])
    methods = sorted(dict.fromkeys([*order, *rows["method"]]), key=lambda method: method in last)
    table = {method: _line(rows[rows["method"] == method], main, best, facts[method]) for method in methods}
    table |= _below(rows, facts.values())
    every = [*protocols, "recovered", "rank", *(heading for heading, _ in [*NUMBERS.values(), *COSTS.values()])]
    columns = [name for name in every if any(line.get(name, Cell()).text for line in table.values())]
    filled = {method: tuple(line.get(name, Cell()) for name in columns) for method, line in table.items()}
    text = f"Everything that judges a set: {dataset}, IPC {ipc_text(ipc)}, student {student}. Top-1 (%) by protocol."
    return Overview(f"overview_{dataset}_ipc{ipc}_{student}", text, tuple(columns), filled)


def _line(rows: pd.DataFrame, main: str, best: Any, facts: Mapping[str, Any]) -> dict[str, Cell]:
    """Return the cells of a method by column."""
    by_protocol = {row["protocol"]: row for row in rows_of(rows)}
    found = {name: _accuracy(row, best) for name, row in by_protocol.items()}
    found |= dict(_numbers(facts))
    for row in [by_protocol[main]] if main in by_protocol else []:
        found |= {"recovered": Cell(recovered_text(row["recovered"])), "rank": Cell(rank_text(row))}
        found |= {heading: Cell(text(row[name])) for name, (heading, text) in COSTS.items()}
    return found


def _below(rows: pd.DataFrame, facts: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Cell]]:
    """Return the lines below the methods: the bytes of labels by protocol, and what chance reaches."""
    stored = rows[rows["ipc"] != EVERY_IPC].groupby("protocol")["labels_bytes"].mean()
    found = {LABELS: {str(protocol): Cell(size(count)) for protocol, count in stored.items()}}
    floors = [{name: values.get(f"{name}_floor") for name in NUMBERS} for values in facts]
    chance = [line for line in map(dict, map(_numbers, floors)) if line]
    return {**found, FLOOR: chance[0]} if chance else found


def _accuracy(row: Mapping[str, Any], best: Any) -> Cell:
    competes = row["ipc"] != EVERY_IPC
    is_best = competes and row["top1_mean"] == best[row["protocol"]]
    return Cell(
        mean_text(row["top1_mean"], row["top1_std"]),
        is_best,
        competes and not is_best and row["tied_with_best"] is True,
    )


def _numbers(values: Mapping[str, Any]) -> Iterator[tuple[str, Cell]]:
    for name, (heading, pattern) in NUMBERS.items():
        if not pd.isna(values.get(name)):
            yield heading, Cell(pattern.format(values[name]))


def _marked(cell: Cell, mark: Markup) -> str:
    text = mark.escape(cell.text)
    return f"{mark.bold(text) if cell.best else text}{mark.about if cell.tied else ''}"
