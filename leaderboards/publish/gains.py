"""The differences from the control in one table: a row per method, a column per suite, student, protocol and IPC."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from statistics import mean

from leaderboards.inference import verdicts
from leaderboards.publish.publication import Publication
from leaderboards.results import pairwise, scores
from leaderboards.results.records import rows_of
from leaderboards.results.text import difference_text

PROTOCOLS = (scores.ANY, scores.HARD)
POOLED = "\N{DAGGER}"  # beside a verdict that rests on the pooled variance
STYLES = {verdicts.AHEAD: "**{}**", verdicts.BEHIND: "*{}*", verdicts.TIED: "= {}"}
POOLED_NOTE = f"{POOLED} needs the variance that the rows of a block share; the two rows alone do not give it."
LEGEND = (
    "Points above random real images. **Bold**: ahead; *italic*: behind; =: tied, or the same images; other numbers: "
    "not known; empty: not run, or not asked. Rows are sorted by the mean of their cells, which is no ranking."
)


def table(parts: Iterable[tuple[Publication, str]]) -> str:
    """Return the differences from the control as Markdown; the method with the largest mean difference is first.

    Args:
        parts: publications, each with the dataset that is shown; "" stands for all.
    """
    values: dict[str, dict[str, float]] = defaultdict(dict)  # the values by method and column
    entries: dict[str, dict[str, str]] = defaultdict(dict)
    columns: dict[str, None] = {}
    for publication, dataset in parts:
        rows = rows_of(pairwise.plotted(publication.results.report.blocks, ())[pairwise.DIFFERENCES])
        chosen = [row for row in rows if row["protocol"] in PROTOCOLS and dataset in ("", row["dataset"])]
        for row in sorted(chosen, key=lambda row: PROTOCOLS.index(row["protocol"])):
            place = f"{row['dataset']}, {row['student']}<br>{row['protocol']}, IPC {row['ipc']}"
            column = f"{publication.suite}<br>{place}"
            columns[column] = None
            text = STYLES.get(row["verdict"], "{}").format(difference_text(row["difference"]))
            values[row["method"]][column] = row["difference"]
            entries[row["method"]][column] = f"{text} {POOLED if row['rests_on_pool'] else ''}".strip()
    best_first = sorted(entries, key=lambda method: -mean(values[method].values()))
    rows_of_text = [[method, *(entries[method].get(column, "") for column in columns)] for method in best_first]
    lines = [["method", *columns], [":--"] + ["--:"] * len(columns), *rows_of_text]
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines).replace("_", "\\_")
    return f"{text}\n{LEGEND} {POOLED_NOTE}\n"
