"""Protocols that give the numbers of another protocol in every cell, such as labels that are stored in another way.

Tables say so in a note, because a table of such a protocol would only repeat the other one.
"""

from __future__ import annotations

import pandas as pd

from leaderboards.results import scores

CELLS = 3  # the fewest cells that both protocols have
AXES = ["ipc", "method", "teacher", "draw", "seed"]
Place = tuple[str, str, str]  # dataset, student, protocol


def repeats(cells: pd.DataFrame) -> dict[Place, str]:
    """Return the protocol that another one repeats: equal accuracies in all its cells on a dataset with a student.

    The protocol that ranks repeats none; of others, the later one in the suite repeats the earlier one.

    Args:
        cells: one row per cell, as `cells.cells_table` returns them.
    """
    finished_cells = cells[cells["status"] == "ok"]
    repeated: dict[Place, str] = {}
    for (dataset, student), rows in finished_cells.groupby(["dataset", "student"], sort=False):
        numbers = rows.pivot_table(index=AXES, columns="protocol", values="top1", sort=False)
        names = sorted(rows["protocol"].unique(), key=lambda name: name != scores.ANY)  # stable: else as in the suite
        for position, name in enumerate(names):
            originals = [other for other in names[:position] if (dataset, student, other) not in repeated]
            accuracies = numbers[name].dropna()
            equal_names = [
                other
                for other in originals
                if len(accuracies) >= CELLS and accuracies.equals(numbers.loc[accuracies.index, other].rename(name))
            ]
            if equal_names:
                repeated[str(dataset), str(student), str(name)] = str(equal_names[0])
    return repeated


def without_repeats(board: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a leaderboard whose protocol repeats no other."""
    return board[board["repeats"] == ""]


def repeats_text(board: pd.DataFrame) -> list[str]:
    """Return a sentence per dataset and protocol that repeats another."""
    rows = board.loc[board["repeats"] != "", ["dataset", "student", "protocol", "repeats"]].drop_duplicates()
    return [
        f"Protocol {row.protocol} gives the same accuracy as {row.repeats} in every cell: {row.dataset}, {row.student}."
        for row in rows.itertuples()
    ]
