"""YAML without surprises: no key twice, no number that looks like text, and nothing that would fill the memory.

The numbers are those of YAML 1.2: ``1e-3`` is a number, ``1:30`` and ``010`` are texts. All else is as in PyYAML's
``safe_load``, which runs no code.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

try:  # libyaml, where PyYAML has it, is ten times as fast
    from yaml import CSafeLoader as SafeLoader
except ImportError:
    from yaml import SafeLoader  # type: ignore[assignment]

DEEPEST = 100  # levels of a file; libyaml's loader would crash at some ten thousand
MOST_VALUES = 100_000  # the most values of a file, each value counted as often as aliases repeat it
FLOAT, INT = "tag:yaml.org,2002:float", "tag:yaml.org,2002:int"
NUMBERS = {
    FLOAT: r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
    INT: r"[-+]?(0|[1-9][0-9_]*|0x[0-9a-fA-F]+|0o[0-7]+)",
}


def parse(text: str) -> Any:
    """Return the value of a YAML document.

    Raises:
        yaml.YAMLError: it is not YAML, has a key twice, is nested too deeply, or repeats too much by aliases.
    """
    _check_depth(text)
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {})
        return loader.construct_document(node)
    except (ValueError, OverflowError) as error:
        raise yaml.YAMLError(str(error)) from error
    finally:
        loader.dispose()


class _Loader(SafeLoader):
    """PyYAML's safe loader with the numbers of YAML 1.2, which refuses a key that stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Return a mapping; raise an error that names the line of a second key."""
        keys = set[tuple[str, str]]()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in keys:
                    raise yaml.YAMLError(f"line {key.start_mark.line + 1}: '{key.value}' stands twice")
                keys.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in NUMBERS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern in NUMBERS.items():
    _Loader.add_implicit_resolver(_tag, re.compile(rf"^({_pattern})$"), list("-+.0123456789"))


def _check_depth(text: str) -> None:
    """Raise an error where lists and mappings are nested too deeply; events are read without recursion."""
    depth = 0
    for event in yaml.parse(text, Loader=SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise yaml.YAMLError("is nested too deeply")


def _count(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Return how many values a node stands for; aliases make this more than there are in the file.

    Raises:
        yaml.YAMLError: they are more than `MOST_VALUES`, or a node holds itself.
    """
    if id(node) in sizes:
        if not sizes[id(node)]:
            raise yaml.YAMLError("an alias stands for a value that holds it")
        return sizes[id(node)]
    sizes[id(node)] = 0  # until all values in it are counted
    items = node.value if isinstance(node, yaml.CollectionNode) else []
    parts = [part for item in items for part in (item if isinstance(item, tuple) else (item,))]
    size = 1 + sum(_count(part, sizes) for part in parts)
    if size > MOST_VALUES:
        raise yaml.YAMLError(f"its aliases stand for more than {MOST_VALUES:,} values")
    sizes[id(node)] = size
    return size
