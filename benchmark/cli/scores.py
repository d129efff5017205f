"""A table that grows while a suite runs: a line for every row of the leaderboard whose last cell is done."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmark.run.campaign import Campaign
    from benchmark.run.queue import Event

Row = tuple[str, int, str, str, str]  # dataset, IPC, method, protocol, student


class Scores:
    """Waits for the cells of every row of the leaderboard."""

    def __init__(self, campaign: Campaign) -> None:
        """Start with the rows that have an unfinished cell."""
        self.store = campaign.store
        self.keys: dict[Row, dict[str, None]] = {}  # the keys of all evaluations of a row
        self.rows: dict[str, list[Row]] = {}  # the rows that an evaluation belongs to
        for planned in campaign.plan.cells:
            cell = planned.cell
            row = (cell.dataset, cell.ipc, cell.method, cell.protocol, cell.student)
            for key in () if planned.skipped else planned.nodes.get("evaluate", ()):
                self.keys.setdefault(row, {})[key] = None
        self.missing_keys = {row: set(keys) & campaign.todo.keys() for row, keys in self.keys.items()}
        for row, row_keys in self.missing_keys.items():
            for key in row_keys:
                self.rows.setdefault(key, []).append(row)

    def lines(self, event: Event) -> list[str]:
        """Return a line for every row that an event completes."""
        if event.status != "done":
            return []
        complete = []
        for row in self.rows.get(event.node.key, ()):
            self.missing_keys[row].discard(event.node.key)
            if not self.missing_keys[row]:
                complete.append(self._line(row))
        return complete

    def _line(self, row: Row) -> str:
        dataset, ipc, method, protocol, student = row
        records = [self.store.record(key) for key in self.keys[row]]
        values = [record["metrics"]["top1"] for record in records if record and "top1" in record["metrics"]]
        mean = f"{statistics.fmean(values):5.1f}" if values else "    ?"
        deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
        return f"{mean}{deviation} %  {method}  ({dataset}, IPC {ipc or 'all'}, {protocol}, {student})"
