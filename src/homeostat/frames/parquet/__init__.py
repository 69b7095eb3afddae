"""What a Parquet file would unpack to, known before anybody unpacks it.

A small file may hold a page that says that it unpacks to 2 GB, and pyarrow ends the whole process when it is asked
about some broken footers. So files that come from elsewhere are looked at here first.
"""

from __future__ import annotations

from homeostat.frames.parquet.footer import Column, Footer, read_footer
from homeostat.frames.parquet.pages import PageBudget
from homeostat.frames.parquet.texts import text_bytes

__all__ = ["Column", "Footer", "PageBudget", "check_pages", "read_footer", "text_bytes"]


def check_pages(content: bytes | memoryview, most_bytes: int) -> Footer:
    """The footer of a file whose pages all together unpack to no more than so many bytes.

    Raises `TooLarge` where they unpack to more, `InvalidData` where the file is broken or has nested columns.
    """
    footer = read_footer(content)
    budget = PageBudget(content, most_bytes)
    for group in footer.groups:
        for part in group:
            budget.take(part)
    return footer
