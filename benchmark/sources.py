"""Where files lie: those of the benchmark, and those in folders outside of it that a user adds.

A folder of the user has the same subfolders: ``methods/``, ``evaluators/measures/``, ``configs/datasets/`` and so on.
It is named by ``--extra DIR``, by the environment variable ``DISTILLBENCH_EXTRA``, by the table ``distillbench`` of a
file in the working directory (``benchmark.toml``, or ``pyproject.toml`` below ``tool``), or by an installed package
(entry points of the group ``distillbench``). A name exists once: there is no order among the folders.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import importlib.util
import os
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmark.errors import BenchmarkError, Faults, unknown
from benchmark.files import checksum

ENVIRONMENT = "DISTILLBENCH_EXTRA"  # several folders are separated as in PATH
GROUP = "distillbench"  # the group of entry points; each names a package whose folder has the subfolders
SUBFOLDERS = ("methods", "evaluators", "configs")
INSTALLED = Path(__file__).resolve().parent / "builtin"  # in an installed wheel; a checkout has them beside `benchmark`
ROOT = INSTALLED if INSTALLED.is_dir() else INSTALLED.parent.parent

_own: dict[str, ModuleType] = {}  # modules of components, where other packages may have their names


def add(folders: Iterable[str | Path]) -> None:
    """Add folders of the user, for this process and for those that it starts.

    Raises:
        Faults: a folder does not exist, or has none of the subfolders, or a file has the name of another one.
    """
    sources_and_folders = [*_named(), *(("--extra", Path(folder)) for folder in folders)]
    all_folders = _distinct(folder for _, folder in sources_and_folders)
    if all_folders:
        _refuse_faults(all_folders, {folder.absolute(): source for source, folder in reversed(sources_and_folders)})
        os.environ[ENVIRONMENT] = os.pathsep.join(map(str, all_folders))


def _refuse_faults(folders: tuple[Path, ...], named_by: Mapping[Path, str]) -> None:
    faults = []
    for folder in folders:
        if not folder.is_dir():
            faults.append(f"{named_by[folder]} {folder}: there is no such folder")
        elif not any((folder / name).is_dir() for name in SUBFOLDERS):
            faults.append(f"{named_by[folder]} {folder}: it has none of the subfolders {', '.join(SUBFOLDERS)}")
    files: dict[Path, list[Path]] = {}
    for folder in (ROOT, *folders):
        for path in _files(folder):
            files.setdefault(path.relative_to(folder), []).append(path)
    advice = "two files have one name; rename one, or leave out the folder of one"
    faults += [f"{' and '.join(map(str, paths))}: {advice}" for paths in files.values() if paths[1:]]
    if faults:
        raise Faults(faults)


def extra() -> tuple[Path, ...]:
    """Return the folders of the user, as absolute paths."""
    return _distinct(folder for _, folder in _named())


def _named() -> Iterator[tuple[str, Path]]:
    """Yield what names a folder of the user, and the folder."""
    yield from ((ENVIRONMENT, Path(name)) for name in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if name)
    yield from _of_working_directory(Path.cwd())
    yield from ((f"entry point of the group {GROUP}", folder) for folder in _of_packages())


def _distinct(folders: Iterable[Path]) -> tuple[Path, ...]:
    """Return the absolute paths of folders, each once, without the benchmark's own folder."""
    return tuple(dict.fromkeys(folder.absolute() for folder in folders if folder.resolve() != ROOT))


def subfolders(name: str) -> Iterator[Path]:
    """Yield the subfolders of a name, as in ``configs/suites``, in the folders of the user."""
    yield from (folder / name for folder in extra() if (folder / name).is_dir())


def parts() -> dict[str, Path]:
    """Return the files in folders of the user that components share, by their names: any of them may be imported."""
    folders = (folder for name in SUBFOLDERS[:2] for folder in subfolders(f"{name}/parts"))
    return {
        outside_name(path): path for folder in folders for path in sorted(folder.rglob("[!.]*.py")) if path.is_file()
    }


def parts_beside(path: Path) -> dict[str, Path]:
    """Return the parts in the user's folder of a component's file, by their names; {} for a file of the benchmark."""
    name = outside_name(path)
    room = path.parents[name.count("/") - 1]  # as FOLDER/methods
    return {part: file for part, file in parts().items() if file.is_relative_to(room)} if name else {}


def outside_name(path: Path) -> str:
    """Return the name of a file in a folder of the user, as in ``methods/mine.py``; "" for a file of the benchmark."""
    return next((str(path.relative_to(folder)) for folder in extra() if path.is_relative_to(folder)), "")


def component_name(path: Path) -> str:
    """Return the name of a file of a component, as in ``methods/wmdd.py``; "" for any other file."""
    for folder in (ROOT, *extra()):
        if path.is_relative_to(folder) and path.relative_to(folder).parts[0] in SUBFOLDERS[:2]:
            return str(path.relative_to(folder)) if folder == ROOT else str(path)
    return ""


def component_files(package: str) -> dict[str, Path]:
    """Return the files of a package's components by name, sorted."""
    folders = map(Path, _package(package).__path__)
    return {path.stem: path for path in sorted(path for folder in folders for path in folder.glob("[!_.]*.py"))}


def load_module(package: str, name: str) -> ModuleType:
    """Return the module of a component; what its import raises is raised here."""
    _package(package)
    importlib.invalidate_caches()  # the file may be newer than this process
    with _own_modules():
        module = importlib.import_module(f"{package}.{name}")
    file = Path(str(module.__file__))
    for path in (file, *parts_beside(file).values()):
        checksum_at_import(path)
    return module


@cache
def checksum_at_import(path: Path) -> str:
    """Return the checksum of a component's file when this process imported it; a later change has no effect here."""
    return checksum(path)


def _package(name: str) -> ModuleType:
    """Return a package of components; its path holds the folders of the user too."""
    with _own_modules():
        for index in range(name.count(".") + 1):
            module = importlib.import_module(".".join(name.split(".")[: index + 1]))
    for package in (name, f"{name.partition('.')[0]}.parts"):
        with _own_modules():
            parts = importlib.import_module(package)
        paths = [str(folder) for folder in subfolders(package.replace(".", "/")) if str(folder) not in parts.__path__]
        if paths:
            parts.__path__ = [*parts.__path__, *paths]
    return module


@contextmanager
def _own_modules() -> Iterator[None]:
    """Import the benchmark's own ``methods`` and ``evaluators``, whatever else has these names.

    In a wheel they lie inside of `benchmark`, so that they take no names from a user's folders and packages; beside an
    editable installation, such a package comes first in the working directory. They are modules of these names only
    while a component is imported.
    """
    if not _are_hidden():
        yield
        return
    other_modules = _pop_component_modules()
    sys.modules.update(_own or {name: _new_package(name) for name in SUBFOLDERS[:2]})
    try:
        yield
    finally:
        _own.update(_pop_component_modules())
        sys.modules.update(other_modules)


@cache
def _are_hidden() -> bool:
    """Return whether Python finds none or other packages under the names of the benchmark's own."""
    specs = {name: importlib.util.find_spec(name) for name in SUBFOLDERS[:2]}
    origins = {name: Path(spec.origin).resolve() for name, spec in specs.items() if spec and spec.origin}
    return any(origins.get(name) != ROOT / name / "__init__.py" for name in SUBFOLDERS[:2])


def _pop_component_modules() -> dict[str, ModuleType]:
    """Take the modules of components out of ``sys.modules``."""
    names = [name for name in sys.modules if name.partition(".")[0] in SUBFOLDERS[:2]]
    return {name: sys.modules.pop(name) for name in names}


def _new_package(name: str) -> ModuleType:
    path = ROOT / name
    spec = importlib.util.spec_from_file_location(name, path / "__init__.py", submodule_search_locations=[str(path)])
    assert spec is not None and spec.loader is not None, f"{path} is a package"
    package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    return package


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder that have names: of components, of what they share, and of configurations."""
    for pattern in ("methods/**/[!_.]*.py", "evaluators/**/[!_.]*.py", "configs/*/[!.]*.yaml"):
        yield from folder.glob(pattern)


def _of_working_directory(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files of a working directory that name folders, and these."""
    for name, keys in (("benchmark.toml", ("distillbench",)), ("pyproject.toml", ("tool", "distillbench"))):
        path = folder / name
        if path.is_file():
            table = _table(path, path.stat().st_mtime_ns, keys)
            if strange := [key for key in table if key != "extra"]:
                raise BenchmarkError(f"{path}: {'.'.join(keys)}: {unknown('key', strange[0], ['extra'])}")
            texts = table.get("extra", [])
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                raise BenchmarkError(f"{path}: {'.'.join(keys)}.extra: expected a list of folders")
            yield from ((f"{path.name}:", folder / text) for text in texts)


@cache
def _table(path: Path, _changed: int, keys: tuple[str, ...]) -> dict[str, Any]:
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"{path}: not TOML ({error})") from error
    for key in keys:
        if key not in table and (near := difflib.get_close_matches(key, table, n=1, cutoff=0.8)):
            raise BenchmarkError(f"{path}: {unknown('table', near[0], [key])}")
        table = table.get(key, {})
        if not isinstance(table, dict):
            raise BenchmarkError(f"{path}: {key}: expected a table, [{'.'.join(keys)}]")
    return table


@cache
def _of_packages() -> tuple[Path, ...]:
    """Return the folders of installed packages that announce themselves."""
    folders = []
    for entry in importlib.metadata.entry_points(group=GROUP):
        spec = importlib.util.find_spec(entry.module)
        if spec is None or not spec.submodule_search_locations:
            raise BenchmarkError(f"entry point '{entry.name}' of the group {GROUP}: {entry.module} is not a package")
        folders += [Path(location) for location in spec.submodule_search_locations]
    return tuple(folders)
