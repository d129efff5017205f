"""Numbers of the leaderboard as text: means, differences, ranks, IPC, and which number of a block is marked as best."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from leaderboards.inference.verdicts import AHEAD, NO_VERDICT, NOT_KNOWN, TIED
from leaderboards.results import axes
from leaderboards.results.axes import BLOCK, EVERY_IPC, axis_values
from leaderboards.results.cells import DIFFERENCE, TIER
from leaderboards.results.pairwise import Blocks

# the words that stand in place of a number
WORDS = {"failed": "failed", "blocked": "blocked", "missing": "not run", "skipped": "skipped"}
SIGNS = {TIED: "≈", NOT_KNOWN: "?", AHEAD: "▲"}
DIGITS = 2  # the digits to which two means are compared before one is called better

LEGEND = {
    TIED: "tied with the best (equivalence shown within 1 point)",
    NOT_KNOWN: "not known from these seeds",
    AHEAD: "ahead of the row with the best mean, over the cells that both have",
}


class Mark(NamedTuple):
    """How a number is marked in its block."""

    rank: int = 0  # 1: the best, 2: the second, 0: all others
    sign: str = ""  # the verdict against the best, `SIGNS`


def marks(rows: Sequence[Mapping[str, Any]], blocks: Blocks) -> list[Mark]:
    """Return the mark of every row: the best of its block, the second, and which rows may be as good as the best.

    A row competes with those of the given rows that share its dataset, IPC, protocol and student. A row with one seed
    is the best only where all have one. Equal means share a rank. No row is marked that has no number, no competitor,
    no IPC of its own (such as the full set), or is cut.

    Args:
        rows: rows of a leaderboard, of one block or of several.
        blocks: the verdicts on the rows of every block.
    """
    positions = defaultdict[axes.Block, list[int]](list)
    for position, row in enumerate(rows):
        if row["ipc"] != EVERY_IPC and not pd.isna(row["top1_mean"]) and not row["cut"]:
            positions[axis_values(row, BLOCK)].append(position)
    marks_of_rows = [Mark()] * len(rows)
    for block, members in positions.items():
        several = [position for position in members if not pd.isna(rows[position]["top1_std"])] or members
        means = {position: round(float(rows[position]["top1_mean"]), DIGITS) for position in several}
        best = max(means, key=lambda position: means[position])
        levels = sorted(set(means.values()), reverse=True)[:2]
        for position in members if len(members) > 1 else ():
            sign = ""
            if position != best:
                comparison = blocks[block].compare(rows[position]["method"], rows[best]["method"], plan=False)
                several_seeds = not pd.isna(rows[position]["top1_std"])
                is_unknown = several_seeds and comparison.verdict == NO_VERDICT  # no sign would say: behind
                sign = SIGNS.get(NOT_KNOWN if is_unknown else comparison.verdict, "")
            mean = means.get(position)
            marks_of_rows[position] = Mark(levels.index(mean) + 1 if mean in levels else 0, sign)
    return marks_of_rows


def marks_legend(rows: Sequence[Mapping[str, Any]], signs: Collection[str] = tuple(SIGNS.values())) -> str:
    """Return what the signs and texts beside accuracies mean, for those that stand in a table.

    Args:
        rows: the rows of a leaderboard.
        signs: `Mark.sign` of the rows.
    """
    signed = [f"{SIGNS[verdict]} {words}" for verdict, words in LEGEND.items() if SIGNS[verdict] in signs]
    rows_with_mean = [row for row in rows if not pd.isna(row["top1_mean"])]
    rows_with_spread = [row for row in rows_with_mean if not pd.isna(row["top1_std"])]
    sentences = []
    if sum(row["ipc"] != EVERY_IPC and not row["cut"] for row in rows_with_spread) > 1:
        names = dict.fromkeys(row["method"] for row in rows_with_mean if row["ipc"] == EVERY_IPC or row["cut"])
        unsaid = f" (not said of {', '.join(['the best itself', *names])})"
        signed.append(f"no sign: behind the best, corrected for the number of comparisons{unsaid}")
        sentences.append(f"Beside a number: {', '.join(signed)}")
    if len(rows_with_spread) < len(rows_with_mean):
        sentences.append("A number without ± is one seed and has no verdict")
    if any(row["status"] == "partial" for row in rows):
        sentences.append("n/N: n of N cells are done")
    return "".join(f"{sentence}. " for sentence in sentences).strip()


def mean_text(mean: float, deviation: float | None = None) -> str:
    """Return ``62.1 ± 0.4``, or ``62.1`` where the deviation is unknown (None or not a number)."""
    return f"{mean:.1f}{_spread(deviation)}"


def difference_text(difference: float, deviation: float | None = None) -> str:
    """Return ``+1.2 ± 0.4``: a difference always has a sign, and one that rounds to 0 has a plus."""
    rounded = round(difference, 1)
    sign = "\N{MINUS SIGN}" if rounded < 0 else "+"
    return f"{sign}{abs(rounded):.1f}{_spread(deviation)}"


def covers_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return in one sentence what the intervals of some rows cover, and which rows differ; "" without an interval.

    Args:
        rows: the rows of a leaderboard with standings.
    """
    methods_by_cover: dict[str, dict[str, list[str]]] = {}  # what is covered -> method -> protocols
    protocols: dict[str, set[str]] = {}
    for row in rows:
        if row.get("covers"):
            methods_by_cover.setdefault(row["covers"], {}).setdefault(row["method"], []).append(row["protocol"])
            protocols.setdefault(row["method"], set()).add(row["protocol"])
    if not methods_by_cover:
        return ""
    usual = max(methods_by_cover, key=lambda covers: len(methods_by_cover[covers]))
    exceptions = []
    for covers, methods in methods_by_cover.items():
        names = [
            name if set(under) == protocols[name] else f"{name} ({', '.join(dict.fromkeys(under))})"
            for name, under in methods.items()
        ]
        exceptions += [f"of {', '.join(names)}: {covers}"] if covers != usual else []
    warning = " Another teacher may change numbers by more than that." if "one teacher" in usual else ""
    return f"Intervals of means cover {'; '.join([usual, *exceptions])}.{warning}"


def cut_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return what the methods of some rows that are cut have less than others; "" where none is cut."""
    reasons = dict.fromkeys(f"{row['method']}: {row['cut']}" for row in rows if row["cut"])
    return f"No rank and no verdict for {'; '.join(reasons)}." if reasons else ""


def missing_text(status: str) -> str:
    """Return the word that stands in place of a number, by the status of its row."""
    return WORDS.get(status, "no number")


def part_text(row: Mapping[str, Any]) -> str:
    """Return `` (2/3)`` where only some cells of a row are done, else an empty text."""
    return f" ({row['seeds']}/{row['cells']})" if row["status"] == "partial" else ""


def tier_text(row: Mapping[str, Any]) -> str:
    """Return `` (submitted)`` or `` (reproduced, +0.3)`` for what others submitted, with the difference here."""
    parts = [row[TIER]] if row.get(TIER) else []
    if parts and not pd.isna(row.get(DIFFERENCE)):
        parts.append(difference_text(row[DIFFERENCE]))
    return f" ({', '.join(parts)})" if parts else ""


def accuracy_text(row: Mapping[str, Any]) -> str:
    """Return the mean of a row with its deviation, `` (2/3)`` behind it where cells are missing, and its tier."""
    return mean_text(row["top1_mean"], row["top1_std"]) + part_text(row) + tier_text(row)


def ipc_text(ipc: int) -> str:
    """Return an IPC as text: ``all`` for a method whose set is the same at every IPC."""
    return "all" if ipc == EVERY_IPC else str(ipc)


def recovered_text(fraction: float) -> str:
    """Return the recovered fraction in percent, an empty text where it is unknown.

    Below -1 the fraction says only how close random images are to the full set, so the text is ``< -100 %``.
    """
    if pd.isna(fraction):
        return ""
    return "< -100 %" if fraction < -1 else f"{100 * fraction:.0f} %"


def rank_text(row: Mapping[str, Any]) -> str:
    """Return a rank with its interval, ``3 (2-4)`` with an en dash, or an empty text where there is no rank."""
    if pd.isna(row["rank"]):
        return ""
    low, high = row["rank_low"], row["rank_high"]
    return f"{row['rank']}" if pd.isna(low) or low == high else f"{row['rank']} ({low}\N{EN DASH}{high})"


def _spread(deviation: float | None) -> str:
    return "" if pd.isna(deviation) else f" ± {deviation:.1f}"
