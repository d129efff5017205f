"""The meaning of a field: the comment that stands beside it in the source."""

from __future__ import annotations

import ast
import io
import tokenize


def comments(source: str, name: str) -> dict[str, str]:
    """Return the comment beside every field of a class, by the name of the field.

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
        statement.target.id: " ".join(lines)
        for item in ast.walk(ast.parse(source))
        if isinstance(item, ast.ClassDef) and item.name == name
        for statement in item.body
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
        if (lines := [texts[n] for n in range(statement.lineno, statement.end_lineno + 1) if n in texts])
    }
