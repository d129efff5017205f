"""What `submit` packs: the files of the user, and whether the results of the run were made under them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from benchmark import sources
from benchmark.cli.options import out, suite_stem
from benchmark.config_files import CONFIGS, files
from benchmark.errors import BenchmarkError
from benchmark.vision.descriptions import load_dataset

if TYPE_CHECKING:
    from leaderboards.publish.publication import Publication


def user_files(published: Publication, suite: str) -> dict[str, Path]:
    """Return the files of the user that a publication needs, by their names in the repository.

    Raises:
        BenchmarkError: one of them, or the file of the suite, is not here.
    """
    names = dict.fromkeys(name for cell in published.cells for name in cell.get("outside") or ())
    paths = {name: folder / name for name in names for folder in sources.extra() if (folder / name).is_file()}
    paths |= _suite_file(suite) | (sources.parts() if any(name.endswith(".py") for name in names) else {})
    if missing_names := sorted(names.keys() - paths.keys()):
        raise BenchmarkError(f"submit: the suite needs {', '.join(missing_names)}; name their folder by --extra DIR")
    return paths


def check_sets(published: Publication, runs: str) -> None:
    """Refuse results that are merged into published ones whose sets are elsewhere.

    Raises:
        BenchmarkError: the store lacks the record of a set.
    """
    from benchmark.files import Folder
    from benchmark.record import RECORD
    from leaderboards.publish.sets import checksums

    store = Folder(runs)
    names = {f"{name.partition('/')[0]}/{RECORD}" for name in checksums(published)}
    if store.read(names).keys() != names:
        raise BenchmarkError(
            f"submit: suite '{published.suite}' is published already, with sets that are not in {runs}; copy its file "
            "to a suite of your own (configs/suites/NAME.yaml), run that suite and submit it"
        )


def check_keys(published: Publication, suite: str, runs: str, data: Path) -> None:
    """Plan the suite with the files that are here now, and compare its keys with those of the run.

    Raises:
        BenchmarkError: a cell was evaluated under other files.
    """
    from benchmark.files import Folder
    from benchmark.plan.graph import Planner, PlanOptions
    from benchmark.plan.suite import load_suite
    from benchmark.record import keys_of, read_manifest, run_command
    from benchmark.run.manifest import stale_cells

    planner = Planner(PlanOptions(data, "cpu"))
    manifest = read_manifest(Folder(runs), published.suite)
    manifest["cells"] = [cell for cell in manifest["cells"] if published.records.keys() & keys_of(cell, "evaluate")]
    if stale := stale_cells(planner.plan(load_suite(suite)), manifest, planner):
        raise BenchmarkError(
            f"submit: {len(stale)} of {len(manifest['cells'])} cells were run under other files than those that are "
            f"here now: their keys differ; restore the files, or run again {run_command(suite, runs)}"
        )
    for name in dict.fromkeys(cell["dataset"] for cell in manifest["cells"]):
        if planner.dataset(name)[1] is None:
            line = f"keys of dataset {name} are not checked: it is not in {data}; name its folder by --data"
            out.print(line, markup=False, highlight=False, soft_wrap=True)


def without_address(sources: Iterable[str]) -> list[str]:
    """Return a sentence for every dataset among the files of the user that nobody else can download."""
    names = [PurePosixPath(name).stem for name in sources if name.startswith("configs/datasets/")]
    configs = [config for config in map(load_dataset, names) if config.source == "folder" and not config.fetch]
    return [f"The images of {config.name} have no public address: ask the authors for them." for config in configs]


def _suite_file(suite: str) -> dict[str, Path]:
    """Return the file of a suite by its name in the repository; {} for a suite of the benchmark."""
    name = suite_stem(suite)
    path = files("suites").get(name) if name == suite else Path(suite)
    if path is None or not path.is_file():
        raise BenchmarkError(f"submit: the file of suite '{name}' is needed; name it: --suite DIR/{name}.yaml")
    is_own = path.resolve().is_relative_to(CONFIGS)
    return {} if is_own else {f"configs/suites/{name}.yaml": path}
