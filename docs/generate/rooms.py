"""Draw the rooms of the code and the arrows between them, from the imports.

A room is a package inside one of the four top packages, or a module that lies directly in a top package; the files of
``methods/`` are one room. An arrow ``a -> b`` says: some file of room a imports from room b, at the top of the file or
inside a function.

    python docs/generate/rooms.py            print the section of docs/architecture.md
    python docs/generate/rooms.py --write    write it into the page
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"
PACKAGES = ("benchmark", "methods", "evaluators", "leaderboards")
FLAT = ("methods",)  # the modules of these packages form one room
START, END = "<!-- rooms: python docs/generate/rooms.py --write -->\n", "<!-- /rooms -->\n"
GROUND = "ground modules"  # the node that stands for the modules below all rooms of benchmark/ in a drawing

Arrows = Mapping[str, frozenset[str]]


def rooms() -> dict[str, list[Path]]:
    """Return the files of every room, by the name of the room."""
    files: dict[str, list[Path]] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if name := _room(path):
                files.setdefault(name, []).append(path)
    return files


def arrows() -> Arrows:
    """Return the rooms that every room imports from."""
    files = rooms()
    return {
        name: frozenset(
            target
            for path in paths
            for module in _imports(path)
            if (target := _nearest(module, files)) and target != name
        )
        for name, paths in files.items()
    }


def floors(graph: Arrows) -> dict[str, int]:
    """Return the floor of every room: 0 where it imports no room, else one above the highest room that it imports.

    Raises:
        ValueError: two rooms import each other, directly or through others.
    """
    done: dict[str, int] = {}

    def floor(name: str, trail: tuple[str, ...]) -> int:
        if name in trail:
            raise ValueError(f"rooms import in a circle: {' -> '.join((*trail, name))}")
        if name not in done:
            done[name] = max((floor(target, (*trail, name)) + 1 for target in graph[name]), default=0)
        return done[name]

    for name in graph:
        floor(name, ())
    return done


def section() -> str:
    """Return the generated section of the architecture page: three drawings and the list of all arrows."""
    graph = arrows()
    levels = floors(graph)
    count = sum(map(len, graph.values()))
    inside = _inside(graph, "benchmark")
    lowest = min(levels[name] for name in inside if (ROOT / name.replace(".", "/")).is_dir())
    return "\n".join(
        [
            "### The packages\n",
            _mermaid(_merged(graph, lambda name: name.partition(".")[0])),
            "### Inside `benchmark`\n",
            _mermaid(_merged(inside, lambda name: name if levels[name] >= lowest else GROUND)),
            "### Inside `evaluators` and `methods`\n",
            _mermaid(_merged({**_inside(graph, "evaluators"), **_inside(graph, "methods")}, str)),
            "### Inside `leaderboards`\n",
            _mermaid(_merged(_inside(graph, "leaderboards"), str)),
            "### Every arrow\n",
            f"{len(graph)} rooms, {count} arrows, {max(levels.values()) + 1} floors. "
            "A room imports only from lower floors.\n",
            "| floor | room | what it holds | imports from |",
            "| --: | :-- | :-- | :-- |",
            *(
                f"| {levels[name]} | `{name}` | {_title(name)} | {', '.join(f'`{t}`' for t in sorted(graph[name]))} |"
                for name in sorted(graph, key=lambda name: (name.partition(".")[0], levels[name], name))
            ),
            "",
        ]
    )


def filled(text: str) -> str:
    """Return the page with its generated section made anew."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{section()}\n{END}{after}"


def _room(path: Path) -> str | None:
    """Return the room of a file, or None for the docstring of a top package and the entry point."""
    package, *parts = path.relative_to(ROOT).with_suffix("").parts
    if parts in (["__init__"], ["__main__"]):
        return package if package in FLAT else None
    if package in FLAT and len(parts) == 1:
        return package
    return f"{package}.{parts[0]}"


def _imports(path: Path) -> Iterator[str]:
    for statement in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        if isinstance(statement, ast.ImportFrom):
            yield from (f"{statement.module}.{alias.name}" for alias in statement.names)


def _nearest(module: str, names: Mapping[str, object]) -> str | None:
    """Return the room that a module lies in, or None for code from elsewhere."""
    while module and module not in names:
        module = module.rpartition(".")[0]
    return module or None


def _inside(graph: Arrows, package: str) -> Arrows:
    """Return the arrows between the rooms of one package."""
    own = {name for name in graph if name.partition(".")[0] == package}
    return {name: graph[name] & own for name in graph if name in own}


def _merged(graph: Arrows, node: Callable[[str], str]) -> Arrows:
    """Return the arrows between the nodes that stand for rooms."""
    merged: dict[str, set[str]] = {}
    for name, targets in graph.items():
        merged.setdefault(node(name), set()).update(node(target) for target in targets)
    return {name: frozenset(targets - {name}) for name, targets in merged.items()}


def _mermaid(graph: Arrows) -> str:
    ids = {name: name.replace(".", "_").replace(" ", "_") for name in sorted(graph)}
    lines = [f'  {ids[name]}["{name}"]' for name in sorted(graph)]
    lines += [f"  {ids[name]} --> {ids[target]}" for name in sorted(graph) for target in sorted(graph[name])]
    return "\n".join(["```mermaid", "flowchart TD", *lines, "```", ""])


def _title(name: str) -> str:
    """Return the first line of the docstring of a room, without its full stop."""
    path = ROOT / name.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0].rstrip(".").replace("|", "\\|")


def main() -> None:
    """Print the section, or write it into the page."""
    parser = argparse.ArgumentParser(description="Draw the rooms of the code and the arrows between them.")
    parser.add_argument("--write", action="store_true", help="write the section into docs/architecture.md")
    if parser.parse_args().write:
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(section())


if __name__ == "__main__":
    main()
