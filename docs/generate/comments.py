"""What the source says of the fields of a class: how each is declared, and the comment beside it."""

from __future__ import annotations

import ast
import io
import tokenize
from typing import NamedTuple


class Declared(NamedTuple):
    """A field in the source: its declaration without the comment, and the comment, "" for none."""

    code: str
    comment: str


def declared(source: str, name: str) -> dict[str, Declared]:
    """Return the fields that a class declares itself, in their order.

    Args:
        source: of the module that defines the class.
        name: of the class.
    """
    texts = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    return {
        line.target.id: Declared(
            ast.unparse(line), " ".join(texts[n] for n in range(line.lineno, line.end_lineno + 1) if n in texts)
        )
        for item in ast.walk(ast.parse(source))
        if isinstance(item, ast.ClassDef) and item.name == name
        for line in item.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    }
