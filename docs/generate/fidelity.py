"""Write docs/fidelity.md: what the codes of the methods' authors do, and what we do.

docs/generate/fidelity.yaml holds the facts about the codes. Our values come from the recipes, from the protocol native
and from the teachers of the datasets, so that the page cannot say what no longer holds.

    python docs/generate/fidelity.py            print the page
    python docs/generate/fidelity.py --write    write docs/fidelity.md
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from benchmark.api import Frozen
from benchmark.plan import recipes
from benchmark.plan.protocol import load_protocol
from benchmark.plan.suite import MethodEntry
from benchmark.vision.datasets import load_dataset

FACTS = Path(__file__).with_suffix(".yaml")
PAGE = Path(__file__).resolve().parents[1] / "fidelity.md"
INTRODUCTION = """# Faithful to the codes

Most numbers of the field come from the codes of the authors, which are not always what the papers say. This page says
what each code does and where we differ. `python docs/generate/fidelity.py --write` makes it: our values come from the
recipes, from the protocol `native` and from the teacher of the dataset.

The loss of every method and its gradient are held against the formulas in float64, at a relative distance of 1e-5
(`tests/methods/test_recovery_formulas.py`, `test_fadrm.py`, `test_gvbsm.py`, `test_delt.py`, `test_dwa.py`,
`test_cim.py`, `test_edc.py`, `test_mtt.py`, `test_datm.py`, `test_idm.py`, `test_ncfm.py`,
`parts/test_gradients.py`, `parts/test_matching.py`,
`parts/test_statistics.py`). MTT's gradient passes many training steps: in float32 it is within 1e-3. The gradients of
M3D, HDD and NCFM are held against finite differences; that of CIM in a network is within 2e-4.

What differs for all methods:

- Random numbers come from named generators, so a run can be repeated. The codes use global ones, or the clock.
- Training images are read as squares: the short side is scaled (bicubic), the centre is cut out. At 224 px the short
  side is 256 px. Random crops of real images (teachers, RDED, statistics of G-VBSM) are crops of the whole image, as in
  the codes, but the image is first scaled to 256 x 256 px; the codes crop the file at its own size.
- The files of our published runs on ImageNette (at 224, 64 and 32 px) are not those of the papers. All 13,394 files are
  224 x 224 pixels, JPEG of quality 75. Images of other shapes were squeezed into this square: golf balls are ellipses.
  `data fetch imagenette` loads fast.ai's files, which were not squeezed. With them all keys change, and numbers may.
  Our files have less detail than fast.ai's, whose short side is 320 px or more; at 224 px we also enlarge them to 256
  px. What all this does to accuracies was not measured: fast.ai's files were not at hand.
- The files of our published runs on CIFAR-10 (cifar10 and cifar10_small) are not the original ones either. All 60,000
  are JPEG of quality 75 with colours at half the resolution. `data fetch cifar10` loads the original files: all keys
  change. What this does to accuracies was not measured.
- Teachers are those of the dataset, whatever a code trains: SRe2L++ and EDC, for example, have teachers of their own on
  CIFAR-10.
- Weight decay leaves out biases and the weights of norms of teachers, students and scoring runs. The codes of SRe2L's
  line do so for students; most others decay all weights.
- The learning rate of a student changes at every step, in SRe2L's code and those that follow it once an epoch.
- Networks that torchvision has start as its own do (`tests/benchmark/vision/test_models.py`), but for those of scoring
  runs and of scdd, which copy the dataset's teacher: their layers start as torch's own do.
- Boxes of crops and of CutMix need not end at whole pixels; their distribution is the same.
- An epoch of a student or a teacher is divided into batches of equal size; the codes have a smaller last batch.
- Accuracy is that of the last epoch, and the test images are read once. Some codes report the best epoch.
- The images are those of the last iteration, as in the codes of SRe2L's line, whose choice of the best iteration has no
  effect. MTT, FTD, DATM and DataDAM report the best iteration.
- Images are normalised by the mean and deviation of their dataset (of ImageNet for Tiny ImageNet). Some codes have
  others: RDED those of ImageNet everywhere, CDA those of Tiny ImageNet there, G-VBSM and EDC those of CIFAR-100 on
  CIFAR-10. DC, DSA, DM, MTT, TESLA, IDM, NCFM, CIM, DELT and DWA have the deviation 0.2023, 0.1994, 0.2010 on CIFAR-10,
  ours is 0.2470, 0.2435, 0.2616: the same step of a method on normalised pixels is then a larger step on pixels.
"""
ASPECTS = ("loss", "optimiser", "initialisation", "data", "labels", "student")
GROUPS = {"recipe": "our recipe", "student": "protocol `native`", "teacher": "the teacher of the dataset"}


class Aspect(Frozen):
    """What a code does, and what we do; ``""``: the same."""

    code: str
    ours: str = ""


class Facts(Frozen):
    """The facts about the code of one method."""

    code: str
    dataset: str
    ipc: int
    loss: Aspect
    optimiser: Aspect
    initialisation: Aspect
    data: Aspect
    labels: Aspect
    student_text: Aspect
    recipe: dict[str, Any]
    student: dict[str, Any]
    teacher: dict[str, Any] = Field(default_factory=dict)

    def aspect(self, name: str) -> Aspect:
        """Return what the code does in one aspect."""
        aspect: Aspect = getattr(self, "student_text" if name == "student" else name)
        return aspect


def load() -> dict[str, Facts]:
    """Return the facts by method."""
    return {name: Facts(**facts) for name, facts in yaml.safe_load(FACTS.read_text(encoding="utf-8")).items()}


def ours(method: str, facts: Facts) -> dict[str, dict[str, Any]]:
    """Return our values, by group and by field, for the dataset and IPC of the facts."""
    config = load_dataset(facts.dataset)
    protocol = load_protocol("native").for_method(MethodEntry(method=method), facts.dataset, facts.ipc)
    assert protocol is not None, f"configs/protocols/native.yaml: add {method}"
    regime, evaluator = (part.model_dump(mode="json") for part in protocol.components(config, full_data=False))
    return {
        "recipe": recipes.resolve_method(method, facts.dataset, facts.ipc, {}).model_dump(mode="json"),
        "student": {**evaluator, **regime, **evaluator["schedule"]},
        "teacher": config.teacher.model_dump(mode="json"),
    }


def differences(code: Mapping[str, Any], mine: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the fields whose values differ, each with the value of the code and ours.

    Raises:
        KeyError: we have no such field.
    """
    return {name: (value, mine[name]) for name, value in code.items() if mine[name] != value}


def page() -> str:
    """Return the page."""
    facts = load()
    head = ["method", *ASPECTS]
    rows = [
        [f"[{name}](#{name})", *("differs" if entry.aspect(aspect).ours else "=" for aspect in ASPECTS)]
        for name, entry in facts.items()
    ]
    overview = [
        "## Overview\n",
        "`=` says that we know of no difference beside those above. Values of fields follow in the sections.\n",
        _table(head, rows),
        "There is no code to compare with for `mmd` (WMDD's authors publish its numbers, but no recipe), `m3d` (its",
        "code could not be read), `kmeans_real` (ours), `random_real`, `noise` and `full`. `herding` is iCaRL's, but",
        "for features that keep their length.",
        "`el2n`, `forgetting`, `aum` and `ccs` have no protocol `native`; their docstrings say how haizhongzheng/CCS",
        "differs.\n",
    ]
    sections = [line for name, entry in facts.items() for line in _section(name, entry)]
    return "\n".join([INTRODUCTION, *overview, *sections]).rstrip() + "\n"


def _section(name: str, facts: Facts) -> Iterator[str]:
    yield f"## {name}\n"
    yield f"The code is {facts.code}; values are those of `{facts.dataset}` at {facts.ipc} images per class.\n"
    rows = [[name, facts.aspect(name).code, facts.aspect(name).ours or "="] for name in ASPECTS]
    yield _table(["", "the code", "ours"], rows)
    mine = ours(name, facts)
    for group, title in GROUPS.items():
        code: dict[str, Any] = getattr(facts, group)
        if not code:
            continue
        different = differences(code, mine[group])
        equal = [f"`{field}: {_text(value)}`" for field, value in code.items() if field not in different]
        yield f"In {title}, these values are those of the code: {', '.join(equal)}.\n"
        if different:
            yield _table(
                ["field", "the code", "ours"],
                [[f"`{field}`", _text(theirs), _text(value)] for field, (theirs, value) in different.items()],
            )
    yield "Sources of the recipes:\n"
    for recipe in recipes.read_recipes(name):
        at = f" at IPC {', '.join(map(str, recipe.ipc))}" if recipe.ipc else ""
        yield f"- `{recipe.dataset}`{at}: {recipe.source}"
    yield ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, [":--"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines) + "\n"


def main() -> None:
    """Print the page, or write it."""
    parser = argparse.ArgumentParser(description="Write what the codes of the authors do, and what we do.")
    parser.add_argument("--write", action="store_true", help="write docs/fidelity.md")
    if parser.parse_args().write:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        print(page())


if __name__ == "__main__":
    main()
