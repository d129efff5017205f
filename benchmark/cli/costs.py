"""What `plan` prints about graphics cards: the hours of each stage, and on what they rest."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import humanize
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from benchmark.cli.options import out
from benchmark.plan.cost import Card, Costs, Span
from benchmark.plan.graph import Plan, Planner, PlanOptions
from benchmark.run.queue import TASK_SECONDS
from benchmark.vision.datasets import load_dataset

CARDS = 8


def print_costs(plan: Plan, data: Path, card: Card, todo: Collection[str], *, mixed: bool = False) -> None:
    """Print the hours of a graphics card, if a node would use one.

    Args:
        plan: the plan of the selected cells.
        data: the data directory. Datasets that are not there count with the sizes in their files.
        card: the card whose hours are shown.
        todo: keys of the nodes that count, where all datasets are on disk; else all nodes count.
        mixed: count all work as if it were done in mixed precision.
    """
    names = {planned.cell.dataset for planned in plan.cells}
    if not any(load_dataset(name).resources.gpus for name in names):
        return
    planner = Planner(PlanOptions(data, "cuda", nominal=True))
    nominal = planner.plan(plan.suite)
    infos = {name: info for name in names if (info := planner.dataset(name)[1])}
    on_disk = all(key in plan.nodes for key in nominal.nodes)
    counted_keys = todo if on_disk else nominal.nodes
    costs = Costs(nominal.nodes, infos, card, todo=counted_keys, mixed=mixed)
    if any(cost.nodes for cost in costs.stages.values()):
        out.print(cost_table(costs))


def cost_table(costs: Costs) -> RenderableType:
    """Return the hours of each stage, of the starts of tasks, and of several cards."""
    table = Table("stage", "nodes", "hours", "not counted", box=None, header_style="bold")
    precision = ", all in mixed precision" if costs.mixed else ""
    table.title = f"hours of one card{precision}: {costs.card.title}"
    for stage, cost in costs.stages.items():
        if cost.nodes:
            uncounted = ", ".join(f"{name} ({count})" for name, count in cost.uncounted.items())
            table.add_row(stage, str(cost.nodes), hours(cost.work), uncounted or "·")
    starts = costs.starts(TASK_SECONDS)
    table.add_row("start of tasks", "", hours(costs.starts()), f"{hours(starts)} where nodes share tasks of 7 minutes")
    table.add_row("all", "", hours(costs.work + costs.starts()), "", style="bold")
    several = (costs.work + starts) * (1 / CARDS)
    several = Span(max(several.low, costs.chain.low), max(several.high, costs.chain.high))
    rows, distilled = costs.card.rows, costs.stages["distill"]
    lines = [
        f"{CARDS} cards: {hours(several)} hours or more; the longest chain of nodes takes {hours(costs.chain)} hours.",
        f"{distilled.images:,} distilled images take {humanize.naturalsize(distilled.image_bytes)}.",
        f"{_sources(sum(row.measured for row in rows), len(rows))} The hours leave out the work of processors and what "
        "stands under 'not counted'.",
    ]
    return Group(table, *map(Text, lines))


def _sources(own_rows: int, rows: int) -> str:
    """Say where the throughputs of a card come from."""
    if own_rows == rows:
        return "All rows of the card's table were measured on it."
    return (
        f"{own_rows} of {rows} rows of the card's table were measured on it; each row names its source, and a range is "
        "what the source allows."
    )


def hours(span: Span) -> str:
    """Return a range of hours: ``3.1 to 12``."""
    low, high = (f"{seconds / 3600:.{0 if seconds >= 36000 else 1}f}" for seconds in (span.low, span.high))
    return low if low == high else f"{low} to {high}"
