"""The results in README.md, RESULTS.md and docs/results, between markers of a suite.

``<!-- results: SUITE -->`` to ``<!-- /results -->``: a table of every contestant under two protocols side by side, the
one that ranks and one without the teacher's labels or augmentation, because the order may turn round; with the first
student of every dataset. ``<!-- labels: SUITE -->`` to ``<!-- /labels -->``: what labels alone are worth to random real
images, from protocols that differ in nothing else. ``<!-- pairs: SUITE -->``: the differences of the suite's pairs.
``<!-- control: SUITE -->``: the difference of every method from the control. ``<!-- effects: SUITE -->``: main effects
and interactions of a suite whose rows are named ``term+regulariser``. ``<!-- results: SUITE DATASET -->`` shows one
dataset only, and so for the others. ``<!-- gains: SUITE DATASET, SUITE DATASET -->``: the differences from the control
of several suites side by side. All other results stand in the folder of the publication.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import mean

import pandas as pd

from benchmark.errors import BenchmarkError
from leaderboards.inference import verdicts
from leaderboards.inference.contrasts import contrasts, factorial
from leaderboards.publish import publication as publications
from leaderboards.publish.publication import Publication
from leaderboards.results import axes, pairwise, scores, variants, versions
from leaderboards.results.axes import EVERY_IPC
from leaderboards.results.records import rows_of
from leaderboards.results.roles import CONTROL
from leaderboards.results.text import accuracy_text, difference_text, ipc_text, marks
from leaderboards.tables import layout, paper, typeset

ROOT = Path(__file__).resolve().parents[2]
PATHS = (ROOT / "README.md", ROOT / "RESULTS.md", *sorted((ROOT / "docs" / "results").glob("*.md")))
MARKERS = re.compile(r"(<!-- (results|labels|pairs|control|effects|gains): ([^>]+) -->\n).*?(<!-- /\2 -->)", re.DOTALL)
BESIDE = (scores.PLAIN, scores.HARD)  # the protocol beside the one that ranks: the first of these with a number
FACTORS = "ce", ("pcbn", "bn", "none")  # factors of an ablation: the feature term of reference, and the regularisers
WORDS = {verdicts.AHEAD: "above 0", verdicts.BEHIND: "below 0", verdicts.TIED: "none"}  # the words for an effect
GAINS = (scores.ANY, scores.HARD)  # the protocols of `gains_text`
STYLES = {verdicts.AHEAD: "**{}**", verdicts.BEHIND: "*{}*", verdicts.TIED: "= {}"}
LEGEND = (
    "Points above random real images. **Bold**: ahead; *italic*: behind; =: tied, or the same images; other numbers: "
    "not known; empty: not run, or not asked. Rows are sorted by the mean of their cells, which is no ranking."
)
POOLED = "\N{DAGGER}"  # beside a verdict that rests on the pooled variance
POOLED_NOTE = f"{POOLED} needs the variance that the rows of a block share; the two rows alone do not give it."
LABELS = {  # protocols that differ in labels only
    "hard_same_views": "hard labels",
    scores.AUGMENTED: "one soft label per image",
    scores.ANY: "a soft label per view",
}


def is_clone() -> bool:
    """Return whether the files that show results are there; an installed package has none."""
    return all(path.is_file() for path in PATHS)


def filled(text: str, published: Mapping[str, Publication], folder: Path = ROOT) -> str:
    """Return a text with the results of its suites between their markers.

    Args:
        text: the text of a README or a page.
        published: all publications, by suite.
        folder: the folder of the text; links are relative to it.

    Raises:
        BenchmarkError: there are markers of a suite without a publication.
    """
    texts: dict[str, Callable[[Publication, str], str]] = {
        "results": partial(results_text, folder=folder),
        "labels": labels_text,
        "pairs": pairs_text,
        "control": control_text,
        "effects": effects_text,
    }

    def fill(markers: re.Match[str]) -> str:
        start, kind, names, end = markers.groups()
        parts = []
        for suite, _, dataset in (name.strip().partition(" ") for name in names.split(",")):
            if suite not in published:
                remedy = f"run `python -m benchmark publish --suite {suite} --runs DIR`, or remove the markers"
                raise BenchmarkError(f"there are markers for {kind} of '{suite}', which has none published; {remedy}")
            parts.append((published[suite], dataset))
        text = gains_text(parts) if kind == "gains" else "\n".join(texts[kind](*part) for part in parts)
        return f"{start}{text}{end}"

    return MARKERS.sub(fill, text)


def results_text(publication: Publication, dataset: str = "", folder: Path = ROOT) -> str:
    """Return the results of a suite as Markdown: one table, the devices, the notes, and where all other results are.

    Args:
        publication: the publication of the suite.
        dataset: the only one that the table shows, without the notes of the suite; "" stands for all.
        folder: the folder of the text; the link is relative to it.
    """
    board = variants.contestants(publication.results.report.leaderboard)
    rows = _rows(board[board["dataset"] == dataset] if dataset else board)
    if rows.empty:
        return "Nothing is measured yet.\n"
    text = typeset.to_markdown(layout.to_sheet(_table(rows, publication))).decode()
    devices = sorted({device for device in rows["device"] if device})
    facts = f"Measured on {', '.join(devices)}. " if devices else ""
    cells = [cell for cell in publication.cells if dataset in ("", cell["dataset"])]
    facts += f"{versions.text(cells, publication.records)} "
    notes = "" if dataset else "".join(f"{note} " for note in publication.notes)
    link = Path(os.path.relpath(publications.FOLDER / publication.suite, folder)).as_posix()
    name = f"leaderboards/published/{publication.suite}"
    return f"{text}\n{facts}{notes}Costs, seeds, other protocols and students: [{name}]({link}).\n"


def labels_text(publication: Publication, dataset: str = "") -> str:
    """Return a line per dataset: the control at the largest IPC under the protocols of `LABELS` that were measured."""
    board = publication.results.report.leaderboard
    board = board[board["dataset"] == dataset] if dataset else board
    rows = board[(board["role"] == CONTROL) & board["protocol"].isin(list(LABELS)) & board["top1_mean"].notna()]
    lines = []
    for name, group in rows.groupby("dataset", sort=False):
        rows_of_group = group[(group["student"] == group["student"].iloc[0]) & (group["ipc"] == group["ipc"].max())]
        by_protocol = {row["protocol"]: row for row in rows_of(rows_of_group)}
        parts = [
            f"{accuracy_text(by_protocol[protocol])} % with {words}"
            for protocol, words in LABELS.items()
            if protocol in by_protocol
        ]
        if len(parts) > 1:
            head = rows_of(rows_of_group)[0]
            lines.append(f"- {name}, `{head['method']}` at IPC {ipc_text(head['ipc'])}: {', '.join(parts)}.\n")
    return "".join(lines) or "Nothing is measured yet.\n"


def pairs_text(publication: Publication, dataset: str = "") -> str:
    """Return the differences of the pairs of a suite, with their corrected intervals and verdicts, as Markdown."""
    return _differences(pairwise.of_pairs(_blocks(publication, dataset), publication.pairs))


def control_text(publication: Publication, dataset: str = "") -> str:
    """Return the differences of all methods that compete from the control, like `pairs_text`."""
    return _differences(pairwise.from_control(_blocks(publication, dataset)))


def effects_text(publication: Publication, dataset: str = "") -> str:
    """Return the main effects and interactions of the rows of an ablation, as Markdown."""
    lines = []
    for (name, ipc, protocol, student), block in _blocks(publication, dataset).items():
        effects = factorial(block.rows, *FACTORS)
        for effect, contrast in zip(effects, contrasts(block.model, list(effects.values())), strict=True):
            interval = " to ".join(map(difference_text, contrast.interval)) if contrast.interval else "\N{EN DASH}"
            word = verdicts.verdict(contrast.interval, block.margin)
            cell = f"{name}, IPC {ipc}, {protocol}, {student}"
            lines.append((effect, cell, difference_text(contrast.value), interval, WORDS.get(word, word)))
    return _markdown(("effect", "cell", "points", "interval", "verdict"), "llrrl", lines)


def gains_text(parts: Iterable[tuple[Publication, str]]) -> str:
    """Return the differences from the control as Markdown; the method with the largest mean difference is first.

    There is a row per method, and a column per suite, student, protocol and IPC.

    Args:
        parts: publications, each with the dataset that is shown; "" stands for all.
    """
    values: dict[str, dict[str, float]] = defaultdict(dict)  # the values by method and column
    entries: dict[str, dict[str, str]] = defaultdict(dict)
    columns: dict[str, None] = {}
    for publication, dataset in parts:
        rows = rows_of(pairwise.plotted(_blocks(publication, dataset), ())[pairwise.DIFFERENCES])
        chosen = [row for row in rows if row["protocol"] in GAINS]
        for row in sorted(chosen, key=lambda row: GAINS.index(row["protocol"])):
            place = f"{row['dataset']}, {row['student']}<br>{row['protocol']}, IPC {row['ipc']}"
            column = f"{publication.suite}<br>{place}"
            columns[column] = None
            text = STYLES.get(row["verdict"], "{}").format(difference_text(row["difference"]))
            values[row["method"]][column] = row["difference"]
            entries[row["method"]][column] = f"{text} {POOLED if row['rests_on_pool'] else ''}".strip()
    best_first = sorted(entries, key=lambda method: -mean(values[method].values()))
    lines = [[method, *(entries[method].get(column, "") for column in columns)] for method in best_first]
    return f"{_markdown(['method', *columns], 'l' + 'r' * len(columns), lines)}\n{LEGEND} {POOLED_NOTE}\n"


def _blocks(publication: Publication, dataset: str) -> dict[axes.Block, verdicts.Block]:
    """Return the blocks of a dataset, by dataset, IPC, protocol and student; "" stands for all datasets."""
    blocks = publication.results.report.blocks
    return {cell: block for cell, block in blocks.items() if dataset in ("", cell[0])}


def _differences(compared: pd.DataFrame) -> str:
    """Return a line for each comparison that has an interval (`pairwise.COLUMNS`), as Markdown."""
    lines = []
    for row in rows_of(compared[compared["ci_low"].notna()]):
        low, high = map(difference_text, (row["ci_low"], row["ci_high"]))
        cell = "{dataset}, IPC {ipc}, {protocol}, {student}".format_map(row)
        verdict = f"{row['verdict']} {POOLED if row['rests_on_pool'] else ''}".strip()
        difference = difference_text(row["difference"])
        lines.append((row["method"], row["other"], cell, difference, f"{low} to {high}", verdict))
    text = _markdown(("method", "against", "cell", "difference", "interval", "verdict"), "lllrrl", lines)
    return f"{text}\n{POOLED_NOTE}\n" if POOLED in text else text


def _markdown(headings: Sequence[str], sides: str, lines: Iterable[Sequence[str]]) -> str:
    """Return a table as Markdown; `sides` has ``l`` or ``r`` for every column: left or right."""
    rule = [{"l": ":--", "r": "--:"}[side] for side in sides]
    return "".join(f"| {' | '.join(line)} |\n" for line in (headings, rule, *lines)).replace("_", "\\_")


def _rows(board: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of both protocols with the first student of every dataset, of blocks with a number."""
    results = board[board["top1_mean"].notna()]
    names = list(results["protocol"].unique())
    ranking = scores.ranking(names)
    second = [name for name in BESIDE if name in names and name != ranking][:1]
    results = results[results["protocol"].isin([ranking, *second])]
    students = results[results["protocol"] == ranking].groupby("dataset", sort=False)["student"].first()
    subset = board[board["protocol"].isin([ranking, *second]) & (board["student"] == board["dataset"].map(students))]
    sorted_rows = subset.assign(first=subset["protocol"] != ranking).sort_values("first", kind="stable")
    return sorted_rows.drop(columns="first")[sorted_rows["top1_mean"].notna()]


def _table(rows: pd.DataFrame, publication: Publication) -> paper.Table:
    """Return one table of some rows: for every dataset and protocol a column per IPC."""
    dictionaries = rows_of(rows)
    competing = [row for row in dictionaries if row["ipc"] != EVERY_IPC]
    columns = tuple(sorted(dict.fromkeys(map(_column, competing)), key=_order(rows)))
    entries: dict[str, dict[paper.Column, paper.Entry]] = {}
    for row, mark in zip(dictionaries, marks(dictionaries, publication.results.report.blocks), strict=True):
        row_columns = [_column(row)] if row["ipc"] != EVERY_IPC else [c for c in columns if c[0] == _column(row)[0]]
        entries.setdefault(row["method"], {}).update(dict.fromkeys(row_columns, paper.Entry(row, mark)))
    footer = {row["method"] for row in dictionaries if row["ipc"] == EVERY_IPC}
    ranking = rows[rows["protocol"] == rows["protocol"].iloc[0]]
    best_first = [*variants.ranked(ranking), *entries]
    order = sorted(dict.fromkeys(best_first), key=lambda method: method in footer)
    students = rows.groupby("dataset", sort=False)["student"].first()
    with_students = ", ".join(f"{dataset} with {student}" for dataset, student in students.items())
    caption = f"Top-1 accuracy (%): {with_students}."
    ordered_entries = {name: entries[name] for name in order if entries.get(name)}
    return paper.Table("headline", paper.MAIN, caption, columns, ordered_entries)


def _column(row: Mapping[str, object]) -> paper.Column:
    return f"{row['dataset']}, {row['protocol']}", f"IPC {row['ipc']}"


def _order(rows: pd.DataFrame) -> Callable[[paper.Column], tuple[int, int]]:
    """Return a sort key for columns: datasets as in the suite, of each the protocol that ranks first."""
    datasets, protocols = list(rows["dataset"].unique()), list(rows["protocol"].unique())

    def key(column: paper.Column) -> tuple[int, int]:
        dataset, protocol = column[0].rsplit(", ", 1)
        return datasets.index(dataset), protocols.index(protocol)

    return key
