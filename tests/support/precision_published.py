"""Question 8 of docs/preregistration.md, from the published suite ``precision``: chaos, and the precision of students.

    PYTHONPATH=.:tests/support python tests/support/precision_published.py

The pairs of the suite answer the first part of the question; this prints the other two for each dataset:

- chaos: the variance of the differences "bfloat16 - float32" over that of "one rounding step away - float32", over both
  methods (each with its own mean) and all seeds, with the 95 % interval of an F test;
- students: the mean over seeds of "standard_bfloat16 - standard" (of each seed the mean over rows), with its 95 %
  interval, and the median ratio of the seconds of the same evaluations.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from leaderboards.publish import publication
from leaderboards.results.records import keys_of

BASES = ("sre2l", "wmdd")
IPC = 10


def main() -> None:
    """Print both answers for every dataset."""
    published = publication.read_all()["precision"]
    rows = []
    for cell in published.cells:
        for key in keys_of(cell, "evaluate"):
            record = published.records[key]
            names = {name: cell[name] for name in ("dataset", "method", "protocol", "seed")}
            rows.append({**names, "top1": record["metrics"]["top1"], "seconds": record["cost"]["seconds"]})
    for dataset, cells in pd.DataFrame(rows).groupby("dataset"):
        top1 = cells.pivot_table(index="seed", columns=["protocol", "method"], values="top1")
        print(f"{dataset}, IPC {IPC}, {len(top1)} seeds")
        chaos(top1["standard"])
        students(top1, cells.pivot_table(index="seed", columns=["protocol", "method"], values="seconds"))


def chaos(top1: pd.DataFrame) -> None:
    """Print the ratio of the variances of the differences to float32; `top1` [seeds, methods] in percent."""
    gaps = {kind: np.stack([top1[f"{base} {kind}"] - top1[base] for base in BASES]) for kind in ("bf16", "bit")}
    free = gaps["bit"].size - len(BASES)
    variances = {kind: float(((gap - gap.mean(1, keepdims=True)) ** 2).sum() / free) for kind, gap in gaps.items()}
    ratio = variances["bf16"] / variances["bit"]
    low, high = ratio / stats.f.ppf(0.975, free, free), ratio / stats.f.ppf(0.025, free, free)
    deviations = ", ".join(f"{kind} {value**0.5:.2f}" for kind, value in variances.items())
    print(f"  deviation of differences to float32 (points): {deviations}; ratio of variances {ratio:.2f}", end=" ")
    print(f"({low:.2f} to {high:.2f})")
    for kind, gap in gaps.items():
        for base, values in zip(BASES, gap, strict=True):
            print(f"  {base} {kind} - {base}: {values.round(2).tolist()}")


def students(top1: pd.DataFrame, seconds: pd.DataFrame) -> None:
    """Print the mean difference of the two protocols, and the ratio of their seconds; both [seeds, (protocol, row)]."""
    gaps = (top1["standard_bfloat16"] - top1["standard"]).mean(axis=1)
    low, high = stats.t.interval(0.95, len(gaps) - 1, gaps.mean(), stats.sem(gaps))
    ratio = (seconds["standard_bfloat16"] / seconds["standard"]).stack().median()
    print(f"  students in bfloat16 - float32: {gaps.mean():+.2f} ({low:+.2f} to {high:+.2f}); seconds x {ratio:.2f}")


if __name__ == "__main__":
    main()
