"""The results in README.md: a table per published suite, between ``<!-- results: SUITE -->`` and ``<!-- /results -->``.

The table has the first protocol of the suite and the first student of every dataset. All other results stand in the
folder of the publication.
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
from leaderboards.results.axes import BLOCK, ROW, axis_values
from leaderboards.results.records import rows_of
from leaderboards.tables import layout, paper, typeset

PATH = Path(__file__).resolve().parents[2] / "README.md"
MARKERS = re.compile(r"(<!-- results: (\S+) -->\n).*?(<!-- /results -->)", re.DOTALL)


def filled(text: str, published: Mapping[str, Publication]) -> str:
    """Return the text of a README with the results of its suites between their markers.

    Args:
        text: the text of the README.
        published: all publications, by suite.

    Raises:
        BenchmarkError: there are markers of a suite without a publication.
    """

    def fill(markers: re.Match[str]) -> str:
        start, suite, end = markers.groups()
        if suite not in published:
            remedy = f"run `python -m benchmark publish --suite {suite} --runs DIR`, or remove the markers"
            raise BenchmarkError(f"README.md has markers for results of '{suite}', which has none published; {remedy}")
        return f"{start}{results_text(published[suite])}{end}"

    return MARKERS.sub(fill, text)


def results_text(publication: Publication) -> str:
    """Return the results of a suite as Markdown: one table, the devices, the notes, and where all other results are."""
    rows = _main_rows(variants.main(publication.results.report.leaderboard))
    if rows.empty:
        return "Nothing is measured yet.\n"
    text = typeset.to_markdown(layout.to_sheet(_table(publication.results.tables, rows))).decode()
    devices = sorted({device for device in rows["device"] if device})
    facts = f"Measured on {', '.join(devices)}. " if devices else ""
    notes = "".join(f"{note} " for note in publication.notes)
    path = f"leaderboards/published/{publication.suite}"
    return f"{text}\n{facts}{notes}Costs, seeds, other protocols and students: [{path}]({path}).\n"


def _main_rows(board: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the first protocol and of the first student of every dataset, of blocks with a number."""
    measured = board[board["top1_mean"].notna()]
    measured = measured[measured["protocol"] == measured["protocol"].iloc[:1].squeeze()]
    students = measured.groupby("dataset", sort=False)["student"].first()
    blocks = {axis_values({**row, "student": students[row["dataset"]]}, BLOCK) for row in rows_of(measured)}
    return board[[axis_values(row, BLOCK) in blocks for row in rows_of(board)]]


def _table(tables: list[paper.Table], rows: pd.DataFrame) -> paper.Table:
    """Return one table of some rows, merged from the main tables of the paper, of which there is one per student."""
    wanted = {axis_values(row, ROW) for row in rows_of(rows)}
    parts = [table for table in tables if table.kind == paper.MAIN]
    entries: dict[str, dict[paper.Column, paper.Entry]] = {}
    for method, line in ((method, line) for table in parts for method, line in table.entries.items()):
        kept = {column: entry for column, entry in line.items() if axis_values(entry.row, ROW) in wanted}
        entries.setdefault(method, {}).update({c: replace(entry, published=()) for c, entry in kept.items()})
    footer = frozenset(name for table in parts for name in table.footer)
    listed = [method for method in variants.ranked(rows) if method in entries]
    order = sorted(listed, key=lambda method: method in footer)
    competing = {column for method in order if method not in footer for column in entries[method]}
    columns = dict.fromkeys(column for table in parts for column in table.columns if column in competing)
    students = rows.groupby("dataset", sort=False)["student"].first()
    with_students = ", ".join(f"{dataset} with {student}" for dataset, student in students.items())
    caption = f"Top-1 accuracy (%), protocol {rows['protocol'].iloc[0]}: {with_students}."
    measured = {name: entries[name] for name in order if any(e.mean is not None for e in entries[name].values())}
    return replace(parts[0], caption=caption, columns=tuple(columns), entries=measured, footer=footer, absent=())
