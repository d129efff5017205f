"""The result in sentences: which method is best at each dataset and IPC, by how much, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from leaderboards.inference.verdicts import AHEAD, BEHIND, NO_VERDICT, NOT_KNOWN, TIED
from leaderboards.results.axes import EVERY_IPC
from leaderboards.results.records import rows_of
from leaderboards.results.roles import BOUND, CONTROL
from leaderboards.results.scores import main_protocol
from leaderboards.results.text import accuracy_text, difference_text, mean_text
from leaderboards.results.units import duration

METHOD = "method"  # the role of rows that are neither control, floor nor bound
NAMED = 3  # methods of a verdict that are named; more are counted
WORDS = {
    AHEAD: "Ahead of it over the cells that both have",
    TIED: "Tied with it",
    NOT_KNOWN: "Too close to call with these seeds",
}


AGAINST_CONTROL = {
    AHEAD: "{} is ahead of it",
    TIED: "{} is tied with it",
    NOT_KNOWN: "whether {} is ahead of it is not known",
}


class Verdict(NamedTuple):
    """One sentence and the block of the leaderboard that it is about."""

    block: str
    sentence: str


def verdicts(leaderboard: pd.DataFrame) -> list[Verdict]:
    """Return a verdict per dataset and IPC, under the protocol that ranks and with the first student of the dataset."""
    rows = leaderboard[(leaderboard["protocol"] == main_protocol(leaderboard)) & leaderboard["top1_mean"].notna()]
    students = rows.groupby("dataset", sort=False)["student"].transform("first")
    rows = rows[(rows["student"] == students) & (rows["cut"] == "")]
    results: list[Verdict] = []
    for (dataset, ipc), block in rows[rows["ipc"] != EVERY_IPC].groupby(["dataset", "ipc"], sort=False):
        if len(block) > 1:
            sentences = _sentences(rows_of(block), rows_of(rows[rows["dataset"] == dataset]))
            results.append(Verdict(f"{dataset}, IPC {ipc}", " ".join(sentences)))
    return results


def _sentences(block: Sequence[dict[str, Any]], dataset: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield who is best, who may be as good, how far behind the next method is, its cost, and the controls."""
    sure = [row for row in block if row["verdict_best"] != NO_VERDICT]
    best = max(sure or block, key=lambda row: row["top1_mean"])
    name = f"{best['method']}{_kind(best)}"
    if not sure:
        reason = "one seed" if pd.isna(best["top1_std"]) else "no spread over seeds"
        yield f"{name} has the highest mean, {mean_text(best['top1_mean'])} %: {reason}, no verdict."
    else:
        open_ = any(row["verdict_best"] in (NOT_KNOWN, AHEAD) for row in sure)
        yield f"{name} {'has the highest mean,' if open_ else 'is best with'} {accuracy_text(best)} %."
    for verdict, words in WORDS.items():
        names = [row["method"] for row in sure if row["verdict_best"] == verdict]
        if names:
            ending = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            yield f"{words}: {', '.join(names[:NAMED])}{ending}."
    behind = [row for row in sure if row["verdict_best"] == BEHIND]
    if behind:
        following = max(behind, key=lambda row: row["top1_mean"])
        gap = difference_text(best["top1_mean"] - following["top1_mean"]).removeprefix("+")
        yield f"Next and clearly behind: {following['method']}, by {gap} points."
    if best["role"] == METHOD and not pd.isna(best["distill_seconds"]):
        seconds = best["needed_seconds"]
        words = f", and networks and preparations that random real images do not need took {duration(seconds)}"
        text = words if seconds > 0 else ""
        yield f"A set of {best['method']} takes {duration(best['distill_seconds'])} to distill{text}."
    baselines = [row for row in block if row["role"] == CONTROL and row is not best]
    baselines += [row for row in dataset if row["role"] == BOUND]
    if baselines:
        texts = [f"{row['method']} {mean_text(row['top1_mean'])} %{_against(row, best)}" for row in baselines]
        yield f"For comparison: {', '.join(texts)}."


def _against(row: Mapping[str, Any], best: Mapping[str, Any]) -> str:
    """Return the verdict on the best row against the control, in brackets; "" for other rows, and without a verdict."""
    words = AGAINST_CONTROL.get(best["verdict_control"]) if row["role"] == CONTROL else None
    rests = ", by the variance that rows share" if best["rests_on_pool"] else ""
    return f" ({words.format(best['method'])}{rests})" if words else ""


def _kind(row: Mapping[str, Any]) -> str:
    """Return what a reader must know of the winner: a control or a variant is not a method of its own."""
    if row["role"] != METHOD:
        return f" (a {row['role']})"
    return f" (a variant of {row['base']})" if row["overrides"] else ""
