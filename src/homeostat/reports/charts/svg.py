"""Elements of SVG, escaped, and how wide text will be."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from markupsafe import Markup, escape

Floats = npt.NDArray[np.float64]

# How wide letters are, in parts of the font's size, in the wider one of DejaVu Sans and Liberation Sans (of Arial's
# widths): between the two lies what browsers show where the page names no font that they have.
_LETTERS = {
    0.2: "\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}",
    0.28: "il'",
    0.36: " \N{NO-BREAK SPACE}.,:;/\\|·fj",
    0.42: "It!()[]r-⁰¹²³⁴⁵⁶⁷⁸⁹",
    0.56: 'cszJ*_`"?–⁻',
    0.62: "aeokvxy",
    0.64: "bdghnpqu0123456789{}$€FLT",
    0.73: "ABCEKPRSVXYZ",
    0.8: "DGHNOQU&",
    0.85: "w+−×±<>=≤≥~^#",
    1.03: "mMW%@…—→",
}
_WIDTHS = {letter: width for width, letters in _LETTERS.items() for letter in letters}
# What a letter gains where it is bold.
_BOLD = 0.08


@dataclass(frozen=True)
class Size:
    """How wide a chart is drawn, in pixels: every chart keeps the same margins, so that times align down the page."""

    name: str
    width: float
    left: float
    right: float
    font: float

    @property
    def plot_left(self) -> float:
        """Where the plot begins."""
        return self.left

    @property
    def plot_right(self) -> float:
        """Where the plot ends."""
        return self.width - self.right

    @property
    def is_wide(self) -> bool:
        """Whether there is room for figures beside names."""
        return self.width > 600


WIDE = Size("wide", 920, 66, 158, 12)
PHONE = Size("phone", 360, 62, 88, 11)


def attribute(value: object) -> str:
    """A value as an attribute: numbers to a tenth of a pixel.

    >>> attribute(12.3456), attribute(7.0)
    ('12.3', '7')
    """
    return _tenth(value) if isinstance(value, float) else str(value)


def _tenth(value: float) -> str:
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def tag(element: str, /, *children: str, **attributes: object) -> Markup:
    """One element with escaped attributes and text; `class_` is `class`, and underscores are dashes.

    >>> str(tag("text", "<b>", x=1.0, class_="end"))
    '<text x="1" class="end">&lt;b&gt;</text>'
    """
    listed = Markup("").join(
        Markup(' {}="{}"').format(name.rstrip("_").replace("_", "-"), attribute(value))
        for name, value in attributes.items()
        if value is not None
    )
    if not children:
        return Markup("<{}{}/>").format(element, listed)
    return Markup("<{0}{1}>{2}</{0}>").format(element, listed, joined(escape(child) for child in children))


def joined(parts: Iterable[Markup]) -> Markup:
    """Elements one after the other."""
    return Markup("").join(parts)


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """At most how wide text is in common sans-serif fonts, in pixels: fonts differ by a sixth, so most are narrower.

    >>> round(text_width("retrained", 10.0), 1), round(text_width("retrained", 10.0, bold=True), 1)
    (46.8, 54.0)
    """
    return sum(_letter_width(letter) + _BOLD * bold for letter in text) * size


@lru_cache(maxsize=4096)
def _letter_width(letter: str) -> float:
    """A letter's width in parts of the font's size."""
    known = _WIDTHS.get(letter)
    if known is not None:
        return known
    category = unicodedata.category(letter)
    if category in ("Mn", "Me", "Cf"):
        # What is drawn over the letter before it, or not at all.
        return 0.0
    base = unicodedata.normalize("NFD", letter)[0]
    if base != letter:
        return _letter_width(base)
    if category == "So" and unicodedata.east_asian_width(letter) == "W":
        return 1.3
    # Of scripts beyond Latin, small letters are as wide as Latin ones but for a few; capitals may be wider than "W".
    return {"Ll": 0.75, "Lu": 1.1}.get(category, 1.03)


def fitted(text: str, size: float, width: float, *, bold: bool = False) -> str:
    """The text, cut with an ellipsis to what fits in `width` pixels; names without spaces keep both of their ends.

    >>> fitted("a_very_long_feature_name", 12.0, 80.0), fitted("a sentence of words", 12.0, 82.0)
    ('a_ver…ame', 'a sentence…')
    """
    if text_width(text, size, bold=bold) <= width:
        return text
    for kept in range(min(len(text) - 1, 200), 0, -1):
        tail = 0 if " " in text else kept * 2 // 5
        shown = text[: kept - tail].rstrip() + "…" + text[len(text) - tail :]
        if text_width(shown, size, bold=bold) <= width:
            return shown
    return "…"


def label(text: str, x: float, y: float, *, size: float, width: float, class_: str, bold: bool = False) -> Markup:
    """Text that is cut to fit, with the whole of it as its tooltip."""
    shown = fitted(text, size, width, bold=bold)
    if shown == text:
        return tag("text", text, x=x, y=y, class_=class_)
    return tag("text", tag("title", text), shown, x=x, y=y, class_=class_)


def picture(
    ident: str, title: str, description: str, width: float, height: float, *body: Markup, **data: str
) -> Markup:
    """A whole drawing with its title and description for those who hear it."""
    return tag(
        "svg",
        tag("title", title, id=f"{ident}-t"),
        tag("desc", description, id=f"{ident}-d"),
        *body,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_tenth(width)} {_tenth(height)}",
        role="img",
        aria_labelledby=f"{ident}-t {ident}-d",
        **data,
    )


def line_path(xs: Sequence[float] | Floats, ys: Sequence[float] | Floats) -> str:
    """A path through the points, broken where one is missing; a lone point is a dot.

    >>> line_path([0.0, 1.0, 2.0, 3.0], [5.0, 6.0, float("nan"), 7.0])
    'M0 5L1 6M3 7h0.1'
    """
    pieces: list[str] = []
    run = 0
    for x, y in zip(xs, ys, strict=True):
        if not math.isfinite(y):
            if run == 1:
                pieces.append("h0.1")
            run = 0
            continue
        pieces.append(f"{'L' if run else 'M'}{_tenth(float(x))} {_tenth(float(y))}")
        run += 1
    if run == 1:
        pieces.append("h0.1")
    return "".join(pieces)


def floats(values: Iterable[float | None]) -> Floats:
    """Values as an array, with NaN for what is missing or infinite."""
    array = np.array([math.nan if value is None else value for value in values], dtype=np.float64)
    array[~np.isfinite(array)] = math.nan
    return array


def thinned(xs: Floats, ys: Floats, buckets: int) -> npt.NDArray[np.intp]:
    """Which points draw the same line: the first, lowest, highest and last of each bucket (M4: Jugel and others, 2014).

    >>> thinned(np.arange(6.0), np.array([0.0, 9.0, 1.0, 2.0, 3.0, 4.0]), 1).tolist()
    [0, 1, 5]
    """
    if len(xs) <= 4 * buckets:
        return np.arange(len(xs))
    bucket = np.clip(((xs - xs[0]) / ((xs[-1] - xs[0]) or 1.0) * buckets).astype(np.intp), 0, buckets - 1)
    kept: set[int] = set()
    starts = np.flatnonzero(np.r_[True, bucket[1:] != bucket[:-1]])
    for start, end in zip(starts, np.r_[starts[1:], len(xs)], strict=True):
        present = start + np.flatnonzero(np.isfinite(ys[start:end]))
        if not len(present):
            kept.add(int(start))
            continue
        chosen = (present[0], present[-1], present[np.argmin(ys[present])], present[np.argmax(ys[present])])
        kept.update(int(index) for index in chosen)
    return np.array(sorted(kept), dtype=np.intp)
