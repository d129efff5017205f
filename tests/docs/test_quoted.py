"""Numbers that pages quote with their interval or deviation stand in published tables: none is copied wrongly."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from leaderboards.publish.publication import FOLDER
from leaderboards.publish.readme import PATHS, ROOT

NUMBER = r"([+-]\d+\.\d)"
DIFFERENCE = re.compile(rf"(?<!to ){NUMBER}(?:, | \(){NUMBER} to {NUMBER}")  # +4.8 (+1.7 to +7.9); +4.8, +1.7 to +7.9
EFFECT = re.compile(rf"\| {NUMBER} \| {NUMBER} to {NUMBER} \|")  # of the tables of effects, which have no CSV file
MEAN = re.compile(r"(?<![+\d-])(\d+\.\d) ± (\d+\.\d)")
DIGIT = 0.055  # texts have one digit and tables two or more: half of the last digit of both
ELSEWHERE = {
    *("-0.1 (-0.7 to +0.4", "+0.2 (-0.4 to +0.8", "-0.5 (-1.2 to +0.1", "+0.8 (+0.1 to +1.5"),  # between two suites
    *("+15.7, +6.1 to +25.3", "+15.4, -1.3 to +32.1"),  # of records that were replaced
    *("26.0 ± 1.2", "43.4 ± 1.0"),  # of another paper
    "+0.9 (+0.5 to +1.4",  # between rows that are cut
}


def text_of(page: Path, *, tables: bool) -> str:
    """Return the text of a page in one line, with hyphens for minus signs, with or without its tables."""
    lines = page.read_text("utf-8").replace("\N{MINUS SIGN}", "-").splitlines()
    return " ".join(" ".join(line for line in lines if tables or not line.startswith("|")).split())


def rows_of(name: str, *columns: str) -> Iterator[tuple[float, ...]]:
    """Yield some columns of all published tables of a name, where they have numbers."""
    for path in FOLDER.glob(f"*/{name}"):
        yield from pd.read_csv(path)[[*columns]].dropna().itertuples(index=False, name=None)


@pytest.fixture(scope="module")
def differences() -> list[tuple[float, ...]]:
    """Every two rows of a block in both directions, and effects: the difference and its limits."""
    rows = [*rows_of("pairwise.csv", "difference", "ci_low", "ci_high")]
    rows += [tuple(map(float, found)) for page in PATHS for found in EFFECT.findall(text_of(page, tables=True))]
    return [*rows, *((-value, -high, -low) for value, low, high in rows)]


@pytest.fixture(scope="module")
def means() -> list[tuple[float, ...]]:
    """Accuracies of rows and of teachers: the mean and its deviation."""
    return [*rows_of("leaderboard.csv", "top1_mean", "top1_std"), *rows_of("networks.csv", "top1_mean", "top1_std")]


def unknown(pattern: re.Pattern[str], page: Path, rows: list[tuple[float, ...]]) -> list[str]:
    """Return what a page quotes and no row has."""
    return [
        quoted.group()
        for quoted in pattern.finditer(text_of(page, tables=page.name == "RESULTS.md"))
        if quoted.group() not in ELSEWHERE
        and not any(
            all(abs(float(text) - value) < DIGIT for text, value in zip(quoted.groups(), row, strict=True))
            for row in rows
        )
    ]


@pytest.mark.parametrize("page", PATHS, ids=lambda page: page.name)
def test_a_quoted_number_stands_in_a_published_table(page, differences, means):
    assert not unknown(DIFFERENCE, page, differences)
    assert not unknown(MEAN, page, means)


def test_the_patterns_find_what_pages_quote():
    text = text_of(ROOT / "RESULTS.md", tables=True)
    assert len(DIFFERENCE.findall(text)) > 15
    assert len(MEAN.findall(text)) > 5
