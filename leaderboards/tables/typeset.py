"""Sheets as Markdown for a code host and as LaTeX for a paper, both by templates."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from leaderboards.tables.sheet import Sheet

WIDE = 6  # a LaTeX table with more columns is shrunk to the width of the text
LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "°": r"$^\circ$"},
    **{
        "λ": r"$\lambda$",
        "±": r"$\pm$",
        "≈": r"$\approx$",
        "↑": r"$\uparrow$",
        "↓": r"$\downarrow$",
        "▲": r"$\triangle$",
    },
    **{"<": "$<$", ">": "$>$", "|": "$|$", "²": "$^2$", "\N{MINUS SIGN}": "$-$", "\N{EN DASH}": "--", "`": ""},
}


def files(sheets: Iterable[Sheet]) -> dict[str, bytes]:
    """Return every sheet as Markdown and LaTeX, by the names of their files."""
    writers = {"md": to_markdown, "tex": to_latex}
    return {f"tables/{sheet.name}.{kind}": write(sheet) for sheet in sheets for kind, write in writers.items()}


def to_markdown(sheet: Sheet) -> bytes:
    """Return a sheet as a Markdown table, with its notes, as GitHub renders it."""
    return MARKDOWN.get_template("table.md").render(sheet=sheet).encode()


def to_latex(sheet: Sheet) -> bytes:
    """Return a sheet as a LaTeX float for a paper that uses the packages booktabs and graphicx.

    A missing number is a dash, a line without any number is left out, and so are the reasons: they stand in the
    Markdown.
    """
    return TYPESETTER.get_template("table.tex").render(sheet=sheet, wide=len(sheet.columns) > WIDE).encode()


def escape_markdown(text: str) -> str:
    """Return a text that Markdown shows as it is."""
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", text)


def escape_latex(text: str) -> str:
    """Return a text that LaTeX shows as it is; a hyphen before a number becomes a minus sign."""
    signed = re.sub(r"(?<!\w)-(?=\d)", "\N{MINUS SIGN}", text)
    return "".join(LATEX.get(character, character) for character in signed)


def _code(text: str) -> str:
    """Return a text for Markdown in which only what stands between backticks is code."""
    parts = text.split("`")
    return "".join(f"`{part}`" if position % 2 else escape_markdown(part) for position, part in enumerate(parts))


def _environment(escape: Callable[[str], str], **delimiters: str) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **delimiters,  # type: ignore[arg-type]
    )
    environment.filters |= {"e": escape, "code": _code}
    return environment


MARKDOWN = _environment(escape_markdown)
TYPESETTER = _environment(
    escape_latex,
    **{"block_start_string": "<%", "block_end_string": "%>", "variable_start_string": "<<"},
    **{"variable_end_string": ">>", "comment_start_string": "<#", "comment_end_string": "#>"},
)
