"""Tables of a paper as CSV, Markdown, LaTeX (booktabs) and HTML: one layout, three ways of marking text."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from leaderboards.results.axes import ROW
from leaderboards.results.references import Reference
from leaderboards.results.text import difference_text, ipc_text, mean_text, missing_text, part_text
from leaderboards.tables.paper import Entry, Table

CSV_COLUMNS = [
    *(*ROW, "status", "reason"),
    *("top1_mean", "top1_std", "seeds", "rank", "tied_with_best"),
    *("published_top1", "published_std", "difference", "source"),
]
WIDE = 6  # columns from which on a LaTeX table is shrunk to the width of the text


@dataclass(frozen=True)
class Markup:
    """How a format writes what a table needs."""

    escape: Callable[[str], str]
    bold: Callable[[str], str]
    underline: Callable[[str], str]
    above: Callable[[str], str]  # a superscript
    plus_minus: str = "±"
    minus: str = "\N{MINUS SIGN}"
    about: str = "≈"


@dataclass(frozen=True)
class Line:
    """One line of a table: a heading, a text per column, and what kind of line it is."""

    heading: str
    cells: tuple[str, ...]
    kind: str = "measured"  # or published, difference


def _latex_escape(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    plain = {"λ": r"$\lambda$", "\N{MINUS SIGN}": "$-$", "±": r"$\pm$", "≈": r"$\approx$", "°": r"$^\circ$"}
    table = special | plain | {character: f"\\{character}" for character in "&%$#_{}"}
    return "".join(table.get(character, character) for character in text)


def _markdown_escape(text: str) -> str:
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", text)


MARKDOWN = Markup(
    _markdown_escape, "**{}**".format, "<u>{}</u>".format, lambda text: f"<sup>{_markdown_escape(text)}</sup>"
)
LATEX = Markup(
    _latex_escape,
    r"\textbf{{{}}}".format,
    r"\underline{{{}}}".format,
    r"\textsuperscript{{{}}}".format,
    r"$\pm$",
    "$-$",
    r"$\approx$",
)
HTML = Markup(html.escape, "<strong>{}</strong>".format, "<u>{}</u>".format, "<sup>{}</sup>".format)


def lines(table: Table, markup: Markup) -> list[Line]:
    """Return the lines of a table: per method what was measured, then a line per publication."""
    numbers = {origin: place for place, origin in enumerate(_origins(table), start=1)}
    found = []
    for method, entries in table.entries.items():
        cells = tuple(_measured(entries.get(column), markup) for column in table.columns)
        found.append(Line(markup.escape(method), cells))
        for origin in dict.fromkeys(_origin(row) for entry in entries.values() for row in entry.published):
            texts = tuple(_published(entries.get(column), origin, markup) for column in table.columns)
            found.append(Line(f"published{markup.above(str(numbers[origin]))}", texts, "published"))
    for heading, values in table.differences:
        cells = tuple(_difference(values.get(column), markup) for column in table.columns)
        found.append(Line(markup.escape(heading), cells, "difference"))
    return found


def sources(table: Table) -> list[str]:
    """Return where the published numbers of a table come from, with every note, in the order of their footnotes."""
    found = []
    for (source, protocol), rows in _origins(table).items():
        notes = dict.fromkeys(f"{row.dataset}: {row.note}" for row in rows if row.note)
        found.append("; ".join([source, protocol, *notes]))
    return found


def _origins(table: Table) -> dict[tuple[str, str], list[Reference]]:
    """Return the published numbers of a table by where they come from."""
    found: dict[tuple[str, str], list[Reference]] = {}
    for line in table.entries.values():
        for row in (row for entry in line.values() for row in entry.published):
            found.setdefault(_origin(row), []).append(row)
    return found


def _origin(row: Reference) -> tuple[str, str]:
    return row.source, row.protocol


def legend(table: Table, markup: Markup) -> str:
    """Return how to read the numbers of a table."""
    ranked = f"{markup.bold('best')}, {markup.underline('second')}, {markup.about} within noise of the best"
    tie = "the interval of the difference includes 0"
    text = f"Mean {markup.plus_minus} standard deviation over seeds; {ranked} ({tie})."
    if table.differences:
        text += f" Differences: {markup.plus_minus} one standard error."
    return text + (" Published: the number and how far ours is from it." if sources(table) else "")


def to_markdown(table: Table) -> bytes:
    """Return a table as Markdown, as GitHub reads it, with its footnotes."""
    mark = MARKDOWN
    headings = ["method", *(f"{mark.escape(group)}<br>{mark.escape(name)}" for group, name in table.columns)]
    indent = {"published": "&nbsp;&nbsp;"}
    numbers = [[indent.get(line.kind, "") + line.heading, *line.cells] for line in lines(table, mark)]
    rows = [headings, [":--", *("--:" for _ in table.columns)], *numbers]
    notes = [f"{place}. {mark.escape(origin)}" for place, origin in enumerate(sources(table), start=1)]
    gaps = [f"- {mark.escape(text)}" for text in table.absent]
    parts = [
        f"**{mark.escape(table.caption)}**",
        markdown_grid(rows),
        legend(table, mark),
        "\n".join(notes),
        "\n".join(gaps),
    ]
    return ("\n\n".join(part for part in parts if part) + "\n").encode()


def markdown_grid(rows: Iterable[Sequence[str]]) -> str:
    """Return lines of escaped cells, the headings and the rule below them first, as a table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def to_latex(table: Table) -> bytes:
    """Return a table as LaTeX for a document that uses booktabs and graphicx."""
    mark = LATEX
    columns = pd.MultiIndex.from_tuples([(mark.escape(group), mark.escape(name)) for group, name in table.columns])
    found = lines(table, mark)
    index = [line.heading if line.kind != "published" else rf"\quad {line.heading}" for line in found]
    frame = pd.DataFrame([line.cells for line in found], index=index, columns=columns)
    shape = f"l{'r' * len(columns)}"
    body = frame.style.to_latex(hrules=True, multicol_align="c", column_format=shape)
    for line in found:
        if line.kind == "difference":  # what is computed from the lines above stands below a rule
            body = body.replace(f"\n{line.heading} &", f"\n\\midrule\n{line.heading} &", 1)
            break
    places = enumerate(sources(table), start=1)
    notes = [legend(table, mark), *(f"{mark.above(str(place))}{mark.escape(origin)}." for place, origin in places)]
    return latex(table.name, table.caption, body, len(columns), [*notes, *map(mark.escape, table.absent)])


def latex(name: str, caption: str, body: str, columns: int, notes: Sequence[str]) -> bytes:
    """Return a float for a document that uses booktabs and graphicx.

    Args:
        name: of its label.
        caption: as plain text.
        body: a tabular; it is shrunk to the width of the text where it has many columns.
        columns: their number.
        notes: as LaTeX; a line each.
    """
    if columns > WIDE:
        body = f"\\resizebox{{\\textwidth}}{{!}}{{%\n{body.rstrip()}%\n}}\n"
    small = (
        "\\par\\smallskip\n\\begin{minipage}{\\textwidth}\\footnotesize\n" + "\\\\\n".join(notes) + "\n\\end{minipage}"
    )
    head = "% needs \\usepackage{booktabs,graphicx}\n\\begin{table*}[t]\n\\centering\n"
    heading = f"\\caption{{{LATEX.escape(caption)}}}\n\\label{{tab:{name}}}\n"
    return f"{head}{heading}{body}{small}\n\\end{{table*}}\n".encode()


def to_csv(table: Table) -> bytes:
    """Return a table's numbers as CSV: a row per method and column, one more for every further publication."""
    entries: dict[Any, Entry] = {}  # what stands at every IPC is written once
    for line in table.entries.values():
        entries |= {(e.row["dataset"], e.row["ipc"], e.row["method"], e.row["student"]): e for e in line.values()}
    rows = [row for entry in entries.values() for row in _plain(entry)]
    frame = pd.DataFrame(rows, columns=CSV_COLUMNS).astype({"rank": "Int64"})
    return frame.to_csv(index=False, lineterminator="\n").encode()


def to_html(table: Table) -> dict[str, Any]:
    """Return what a page needs to show a table: headings, lines and notes, escaped."""
    groups: dict[str, int] = {}
    for group, _ in table.columns:
        groups[group] = groups.get(group, 0) + 1
    return {
        "name": table.name,
        "caption": html.escape(table.caption),
        "groups": {html.escape(group): count for group, count in groups.items()},
        "columns": [html.escape(name) for _, name in table.columns],
        "lines": lines(table, HTML),
        "legend": legend(table, HTML),
        "sources": [html.escape(origin) for origin in sources(table)],
        "absent": table.absent,
    }


def _measured(entry: Entry | None, markup: Markup) -> str:
    if entry is None:
        return "\N{EN DASH}"
    if entry.mean is None:
        return missing_text(entry.row["status"])
    number = mean_text(entry.mean, entry.std, markup.plus_minus)
    marked = {1: markup.bold, 2: markup.underline}.get(entry.rank, str)(number)
    return f"{marked}{markup.about if entry.tied else ''}{part_text(entry.row)}"


def _published(entry: Entry | None, origin: tuple[str, str], markup: Markup) -> str:
    found = [row for row in entry.published if _origin(row) == origin] if entry else []
    if not entry or not found:
        return ""
    gap = "" if entry.mean is None else f" ({difference_text(entry.mean - found[0].top1, minus=markup.minus)})"
    return f"{found[0].top1:.1f}{gap}"


def _difference(value: tuple[float, float | None] | None, markup: Markup) -> str:
    if value is None:
        return ""
    return difference_text(*value, markup.plus_minus, markup.minus)


def _plain(entry: Entry) -> Iterator[Mapping[str, Any]]:
    mean = None if entry.mean is None else round(entry.mean, 2)
    axes = {name: entry.row[name] for name in CSV_COLUMNS[:7]}
    measured = {
        **axes,
        "ipc": ipc_text(entry.row["ipc"]),
        "top1_mean": mean,
        "top1_std": entry.std,
        "seeds": entry.seeds,
        "rank": entry.rank or None,
        "tied_with_best": entry.tied or None,
    }
    empty: list[Reference | None] = [None]
    for published in entry.published or empty:
        if published is None:
            yield measured
        else:
            gap = None if mean is None else round(mean - published.top1, 2)
            number = {"published_top1": published.top1, "published_std": published.std}
            yield {**measured, **number, "difference": gap, "source": published.origin}
