"""Writes the table of docs/settings.md from the settings themselves: `make docs-settings`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from homeostat.settings import Setting, table

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
START, END = "<!-- table -->\n", "<!-- end of table -->\n"


def shown(value: Any) -> str:
    """A value as it is written in a TOML file."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        return f'`"{value}"`'
    if isinstance(value, tuple):
        return "<br>".join(shown(item) for item in value) or "`[]`"
    return f"`{value}`"


def row(setting: Setting) -> str:
    """One line of the table; the preset `classic` is shown where it differs."""
    classic = "" if setting.classic == setting.default else shown(setting.classic)
    return f"| `{setting.name}` | {setting.help} | {shown(setting.default)} | {classic} |"


def generated() -> str:
    """The whole table."""
    head = "| setting | what it is | default | `classic` |\n| --- | --- | --- | --- |\n"
    return head + "".join(row(setting) + "\n" for setting in table())


def renewed(page: str) -> str:
    """The page with the table as it should be."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{generated()}\n{END}{after}"


def main() -> None:
    """Rewrite the page."""
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
