"""Draw the figures of RESULTS.md from the published records into ``docs/figures``."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from leaderboards.plots.palette import BLUE, VERMILION
from leaderboards.plots.style import images, plotting
from leaderboards.publish import publication
from leaderboards.results.axes import EVERY_IPC
from leaderboards.results.roles import BOUND, CONTROL

FOLDER = Path(__file__).resolve().parents[1] / "figures"
PROTOCOLS = {"standard": ("o", BLUE), "hard": ("D", VERMILION)}  # name -> marker, colour


def methods(suite: str, dataset: str) -> Figure:
    """Return all methods of a published suite on a dataset: a panel per IPC, accuracy under two protocols."""
    published = publication.read(suite)
    assert published, f"suite {suite} is not published"
    board = published.results.report.leaderboard
    board = board[(board["dataset"] == dataset) & board["top1_mean"].notna()]
    ipcs = sorted(set(board["ipc"]) - {EVERY_IPC})
    rows = max(len(set(board.loc[board["ipc"] == ipc, "method"])) for ipc in ipcs)
    figure = Figure(figsize=(7, 1.2 + 0.21 * rows), layout="constrained")
    for axes, ipc in zip(figure.subplots(1, len(ipcs), squeeze=False)[0], ipcs, strict=True):
        _panel(axes, board[board["ipc"] == ipc], board[board["role"] == BOUND])
        axes.set_title(f"{dataset}, IPC {ipc}", loc="left")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, bound: pd.DataFrame) -> None:
    """Draw a dot for every method and protocol, best method first; lines show random real images and the full set."""
    order = rows[rows["protocol"] == next(iter(PROTOCOLS))].sort_values("top1_mean")["method"].tolist()
    for protocol, (marker, colour) in PROTOCOLS.items():
        own = rows[rows["protocol"] == protocol].set_index("method").reindex(order)
        style = {"fmt": marker, "color": colour, "markersize": 3.5, "elinewidth": 1, "label": protocol}
        axes.errorbar(own["top1_mean"], range(len(order)), xerr=own["top1_std"], **style)
        for value in rows.loc[(rows["role"] == CONTROL) & (rows["protocol"] == protocol), "top1_mean"]:
            axes.axvline(value, color=colour, linewidth=0.8, linestyle=":")
    for value in bound["top1_mean"].head(1):
        axes.axvline(value, color="0.3", linewidth=0.8, linestyle="--")
    axes.set_yticks(range(len(order)), order, fontsize=7)
    axes.set_xlim(0, 100)
    axes.set_xlabel("top-1 accuracy (%)")


def main() -> None:
    """Draw all figures."""
    with plotting():
        drawn = images(methods("every_method", "digits"))
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "every_method_digits.svg").write_bytes(drawn["svg"])


if __name__ == "__main__":
    main()
