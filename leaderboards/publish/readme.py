"""The results in README.md: a table per published suite, between ``<!-- results: SUITE -->`` and ``<!-- /results -->``.

The table has the suite's first protocol and every dataset's first student; whatever else is published stands in its
folder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from benchmark.errors import BenchmarkError
from leaderboards.publish.publication import Publication
from leaderboards.results import variants
from leaderboards.results.axes import ROW, axis_values
from leaderboards.results.records import rows_of
from leaderboards.tables import layout, paper, typeset

PLACE = Path(__file__).resolve().parents[2] / "README.md"
BLOCK = re.compile(r"(<!-- results: (\S+) -->\n).*?(<!-- /results -->)", re.DOTALL)


def filled(text: str, published: Mapping[str, Publication]) -> str:
    """Return a README with the results of its suites between their markers.

    Args:
        text: the README.
        published: all that is published, by suite.

    Raises:
        BenchmarkError: markers of a suite of which nothing is published.
    """

    def fill(found: re.Match[str]) -> str:
        start, suite, end = found.groups()
        if suite not in published:
            remedy = f"`python -m benchmark publish --suite {suite} --runs DIR` fills them; or remove them"
            raise BenchmarkError(
                f"README.md has markers for results of '{suite}', of which nothing is published; {remedy}"
            )
        return f"{start}{block(published[suite])}{end}"

    return BLOCK.sub(fill, text)


def block(found: Publication) -> str:
    """Return the results of a suite as Markdown."""
    made = found.said.tables
    rows = _main_rows(variants.plain(found.said.report.leaderboard))
    if rows.empty:
        return "Nothing is measured yet.\n"
    text = typeset.to_markdown(layout.to_sheet(_table(made, rows))).decode()
    devices = sorted({device for device in rows["device"] if device})
    facts = f"Measured on {', '.join(devices)}. " if devices else ""
    notes = "".join(f"{note} " for note in found.notes)
    path = f"leaderboards/published/{found.suite}"
    return f"{text}\n{facts}{notes}Costs, seeds, other protocols and students: [{path}]({path}).\n"


def _main_rows(board: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the first protocol and of every dataset's first student, where one of them has a number."""
    measured = board[board["top1_mean"].notna()]
    measured = measured[measured["protocol"] == measured["protocol"].iloc[:1].squeeze()]
    students = measured.groupby("dataset", sort=False)["student"].first()
    known = {(row["dataset"], row["ipc"], row["protocol"], students[row["dataset"]]) for row in rows_of(measured)}
    return board[[(r["dataset"], r["ipc"], r["protocol"], r["student"]) in known for r in rows_of(board)]]


def _table(made: list[paper.Table], rows: pd.DataFrame) -> paper.Table:
    """Return one table of some rows, put together from the tables that a paper has of them, one per student."""
    wanted = {axis_values(row, ROW) for row in rows_of(rows)}
    parts = [table for table in made if table.kind == paper.MAIN]
    entries: dict[str, dict[paper.Column, paper.Entry]] = {}
    for method, line in ((method, line) for table in parts for method, line in table.entries.items()):
        found = {column: entry for column, entry in line.items() if axis_values(entry.row, ROW) in wanted}
        entries.setdefault(method, {}).update({c: replace(entry, published=()) for c, entry in found.items()})
    footer = frozenset(name for table in parts for name in table.footer)
    order = sorted(variants.ranked(rows), key=lambda method: method in footer)
    contests = {column for method in order if method not in footer for column in entries[method]}
    columns = dict.fromkeys(column for table in parts for column in table.columns if column in contests)
    students = rows.groupby("dataset", sort=False)["student"].first()
    shown = ", ".join(f"{dataset} with {student}" for dataset, student in students.items())
    caption = f"Top-1 accuracy (%), protocol {rows['protocol'].iloc[0]}: {shown}."
    kept = {name: entries[name] for name in order if any(e.mean is not None for e in entries[name].values())}
    return replace(parts[0], caption=caption, columns=tuple(columns), entries=kept, footer=footer, absent=())
