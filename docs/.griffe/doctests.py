"""Shows the doctests of docstrings as examples: without a heading they would be read as nested quotations."""

from __future__ import annotations

from typing import Any

import griffe


def with_headings(text: str) -> str:
    """The docstring with each block of `>>>` lines, up to the next blank one, put under a heading of its own."""
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        if line.startswith(">>>") and not inside:
            inside = True
            lines.append("Examples:")
        inside = inside and bool(line.strip())
        lines.append(f"    {line}" if inside else line)
    return "\n".join(lines)


class Doctests(griffe.Extension):
    """Gives every doctest its heading, once the docstring is known."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for each module, class, function and attribute."""
        if obj.docstring is not None and ">>>" in obj.docstring.value:
            obj.docstring.value = with_headings(obj.docstring.value)
