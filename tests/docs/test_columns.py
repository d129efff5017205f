"""The page of the columns: it explains every column of every CSV file, and no other."""

from __future__ import annotations

import csv
import re

import pytest
from fake_store import FakeStore, measured

from benchmark.config_files import CONFIGS
from leaderboards.publish import reproduction
from leaderboards.results import run_diff
from leaderboards.results.cells import MARKS

ROOT = CONFIGS.parent
SECTION = re.compile(r"^## (.*)\n((?:(?!## ).*\n)*)", flags=re.MULTILINE)
PAGE = {  # heading -> the columns below it
    heading.strip("`"): re.findall(r"`([^`]+)`", " ".join(re.findall(r"^\|(.*?)\|", text, flags=re.MULTILINE)))
    for heading, text in SECTION.findall((ROOT / "docs" / "columns.md").read_text())
}
SHARED = PAGE.pop("Several files")
MANUAL = {"reproduction.csv": reproduction.COLUMNS, "report --compare A B --csv FILE": run_diff.COLUMNS}


@pytest.fixture(scope="module")
def headers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The columns of every file of a small report, and of the published ones."""
    store = FakeStore(str(tmp_path_factory.mktemp("store")))
    measured(store, ipcs=(1,), datasets=("digits",))
    store.cells[0] |= dict.fromkeys(MARKS, "reproduced") | {
        "outside": ["methods/mine.py"],
        "reproduced_difference": 0.5,
    }
    files = {name: data.decode().splitlines() for name, data in store.results().files.items() if name.endswith(".csv")}
    found = {name: set(next(csv.reader(lines))) for name, lines in files.items() if "/" not in name}
    for path in sorted((ROOT / "leaderboards" / "published").glob("*/*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            found.setdefault(path.name, set()).update(next(csv.reader(file)))
    return found | {name: set(columns) for name, columns in MANUAL.items()}


def matches(entry: str, column: str) -> bool:
    """Return whether an entry of the page is a column: words in capitals stand for any name."""
    return re.fullmatch(re.sub(r"\b[A-Z]+(?=\b|_)|(?<=_[wg])X", ".+", entry.replace(".", r"\.")), column) is not None


def test_every_column_of_every_file_is_explained(headers):
    assert set(headers) == set(PAGE)
    unknown = {
        name: [column for column in columns if not any(matches(entry, column) for entry in (*PAGE[name], *SHARED))]
        for name, columns in headers.items()
    }
    assert not {name: columns for name, columns in unknown.items() if columns}


def test_the_page_names_no_column_that_no_file_has(headers):
    entries = [(name, entry, headers[name]) for name, entries in PAGE.items() for entry in entries]
    entries += [("several files", entry, set().union(*headers.values())) for entry in SHARED]
    assert not [(name, entry) for name, entry, columns in entries if not any(matches(entry, one) for one in columns)]


def test_a_column_is_explained_once():
    for name, entries in PAGE.items():
        assert sorted({*entries, *SHARED}) == sorted([*entries, *SHARED]), name
