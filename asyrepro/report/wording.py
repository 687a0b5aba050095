"""How the report says numbers and lists."""

from __future__ import annotations

import math
import re

import pandas as pd

from asyrepro.data import STAND_IN

MINUS = "\u2212"  # a true minus sign
NOTHING = "\u2013"  # an en dash, where a number is missing
INFINITE = "\u221e"
DIVERGED = "diverged"
LARGE = 1e3  # from here on a number is that of runs that failed, and its size says nothing


def number(value: float, decimals: int, sign: bool = False, unit: str = "") -> str:
    """Text of a number with a true minus sign, a dash where it is missing; zero has no sign.

    From :data:`LARGE` on it is :data:`DIVERGED`, but the PSNR of an image without error is
    infinite. ``unit`` is put behind a number alone.
    """
    if pd.isna(value):
        return NOTHING
    if value == math.inf:
        return "+" * sign + INFINITE + unit
    if abs(value) >= LARGE:
        return DIVERGED
    value = round(value, 9)  # sums in another order must not be rounded another way
    text = f"{value:{'+' if sign else ''}.{decimals}f}"
    return (text.lstrip("+-") if float(text) == 0 else text.replace("-", MINUS)) + unit


def probability(value: float) -> str:
    """``75 %``, ``> 99 %``; empty where there is none."""
    return "" if pd.isna(value) else "> 99 %" if value > 0.995 else f"{100 * value:.0f} %"


def p(value: float) -> str:
    """``0.031``, ``< 0.001``; a dash where there is none."""
    return "< 0.001" if value < 0.001 else number(value, 3)


def interval(lower: float, upper: float, decimals: int, sign: bool = True) -> str:
    """``[-0.100, +0.200]``, empty where there is none, ``[diverged]`` where a bound is."""
    if pd.isna(lower):
        return ""
    bounds = [number(bound, decimals, sign) for bound in (lower, upper)]
    return f"[{DIVERGED if DIVERGED in bounds else ', '.join(bounds)}]"


def change(row, decimals: int) -> str:
    """``+0.100 [-0.100, +0.200]`` of a row with change, lower and upper."""
    text = number(row.change, decimals, sign=True)
    if text == DIVERGED:
        return text
    return f"{text} {interval(row.lower, row.upper, decimals)}".strip()


def marked(text: str, stand_in: bool) -> str:
    """A title, which says so where stand-in data were used."""
    return f"{text} ({STAND_IN})" if stand_in else text


def minus(text: str) -> str:
    """The text with a true minus sign before numbers; hyphens within words and ranges stay."""
    return re.sub(r"(?<![^\s(\[])-(?=\d)", MINUS, text)


def listed(items) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *first, last = map(str, items)
    return f"{', '.join(first)} and {last}" if first else last


def tables(found) -> str:
    """``Table 2`` or ``Tables 2, 3 and 4``."""
    known = sorted({int(table) for table in found})
    return f"Table{'s' * (len(known) > 1)} {listed(known)}"


def seeds(counts) -> str:
    """``1 seed``, ``6 seeds`` or ``4 to 6 seeds``, of several things' numbers of seeds."""
    least, most = int(min(counts)), int(max(counts))
    return f"{least if least == most else f'{least} to {most}'} seed{'s' * (most != 1)}"


def span(counts) -> str:
    """``600`` or ``160 to 28,000``; a dash for none."""
    if not len(counts):
        return NOTHING
    low, high = int(min(counts)), int(max(counts))
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def are(count: int) -> str:
    """``none is``, ``1 is``, ``4 are``: how many things of which more is said."""
    return f"{count or 'none'} {'are' if count > 1 else 'is'}"


def counted(count: int, one: str, several: str | None = None) -> str:
    """``1 loss``, ``4 losses``: a number and its noun."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"
