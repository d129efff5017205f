"""A benchmark suite for dataset distillation: every method under one interface, one protocol and one leaderboard.

From Python: `evaluate`, `distill`, `run_suite` and `load_leaderboard`. They are imported when they are first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.interface import distill, evaluate, load_leaderboard, run_suite

__version__ = "0.1.0"
__all__ = ["distill", "evaluate", "load_leaderboard", "run_suite"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'benchmark' has no attribute {name!r}")
    from benchmark import interface

    return getattr(interface, name)
