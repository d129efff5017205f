"""A table as text, before any format: columns, lines of marked cells, and notes. Every format is made from this."""

from __future__ import annotations

from dataclasses import dataclass, field

from leaderboards.results.text import Mark

Heading = tuple[str, str]  # the heading over several columns ("" for none), the heading of one


@dataclass(frozen=True)
class Cell:
    """One cell of a sheet.

    Attributes:
        text: the number, or the word that stands in its place.
        mark: whether the number is the best of its column, the second, or may be as good.
        measured: False where a word stands in place of a number.
    """

    text: str = ""
    mark: Mark = field(default_factory=Mark)
    measured: bool = True


@dataclass(frozen=True)
class Line:
    """One line of a sheet.

    Attributes:
        heading: the method, or what the line shows.
        cells: one per column.
        kind: ``method``, ``published`` (numbers of a paper for the method above), ``difference`` (of two methods), or
            ``below`` (a line below the methods).
        source: number of the footnote that says where published numbers come from, 0 for none.
    """

    heading: str
    cells: tuple[Cell, ...]
    kind: str = "method"
    source: int = 0

    @property
    def measured(self) -> bool:
        """Whether the line has any number."""
        return any(cell.measured and cell.text for cell in self.cells)


@dataclass(frozen=True)
class Sheet:
    """A table as text.

    Attributes:
        name: the name of its files, without ending.
        caption: one sentence that says what the table shows.
        columns: the headings, without that of the first column.
        lines: the lines, from top to bottom.
        legend: sentences that explain the numbers and marks.
        sources: footnotes; the first has the number 1.
        absent: what was not measured, with the reason.
        first: the heading of the first column.
    """

    name: str
    caption: str
    columns: tuple[Heading, ...]
    lines: tuple[Line, ...]
    legend: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    first: str = "method"

    @property
    def groups(self) -> dict[str, int]:
        """The headings over several columns, each with the number of its columns; {} where there are none."""
        counts: dict[str, int] = {}
        for group, _ in self.columns:
            counts[group] = counts.get(group, 0) + 1
        return {} if set(counts) == {""} else counts
