"""Short training on digits, for tests of everything around it: ten epochs of a student instead of 150.

The fixture `short_training` of conftest.py holds it in the process of a test; ``python -m short WORDS`` is
``python -m benchmark WORDS`` with it. A plan tells workers their schedules, so those of Ray need nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from benchmark.vision import datasets
from benchmark.vision.descriptions import DatasetConfig

STUDENT, FULL, TEACHER = 10, 3, 3  # epochs: of a student, of one on the full set, of a teacher
PATHS = os.pathsep.join(map(str, (Path(__file__).resolve().parents[2], Path(__file__).resolve().parent)))
ENVIRONMENT = {"PYTHONPATH": PATHS, "OMP_NUM_THREADS": "1"}  # for a process that imports this file


def load_dataset(name: str, load: Callable[[str], DatasetConfig] = datasets.load_dataset) -> DatasetConfig:
    """Return a dataset; where it is digits, with short training."""
    config = load(name)
    if config.source != "digits":
        return config
    student = config.student.model_copy(update={"epochs": STUDENT, "full_epochs": FULL})
    return config.model_copy(
        update={"student": student, "teacher": config.teacher.model_copy(update={"epochs": TEACHER})}
    )


def shorten() -> None:
    """Shorten the training of this process."""
    datasets.load_dataset = load_dataset


if __name__ == "__main__":
    from benchmark.cli.main import main

    shorten()
    main()
