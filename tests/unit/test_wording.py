"""How the report says numbers and lists (asyrepro.report.wording)."""

import pytest

from asyrepro.report import grid, wording


@pytest.mark.parametrize(
    ("value", "decimals", "sign", "text"),
    [
        (30.1234, 2, False, "30.12"),
        (-15.083, 3, False, "\u221215.083"),
        (0.0402, 2, True, "+0.04"),
        (-0.0026, 3, True, "\u22120.003"),
        (-0.00001, 4, False, "0.0000"),
        (-0.00001, 4, True, "0.0000"),
        (2.46957e12, 2, True, "diverged"),
        (-1000, 3, False, "diverged"),
        (999.94, 1, True, "+999.9"),
        (float("nan"), 2, True, "\u2013"),
        (float("inf"), 2, False, "\u221e"),
        (float("inf"), 2, True, "+\u221e"),
        (-float("inf"), 2, False, "diverged"),
    ],
)
def test_numbers_as_text(value, decimals, sign, text):
    assert wording.number(value, decimals, sign) == text


def test_intervals():
    assert wording.interval(-0.0014, 0.0516, 3) == "[\u22120.001, +0.052]"
    assert wording.interval(1.05, 1.15, 2, sign=False) == "[1.05, 1.15]"
    assert wording.interval(float("nan"), float("nan"), 3) == ""
    assert wording.interval(-8.7e12, 0.1, 3) == "[diverged]"
    assert wording.interval(0.1, float("inf"), 3) == "[+0.100, +\u221e]"


def test_a_grid_in_markdown():
    made = grid.Grid("", ["loss", "PSNR"], [["MAE|x", [("30.20", True)]]], text_columns=1)
    lines = grid.markdown_rows(made).splitlines()
    assert lines[1].startswith("|:-") and lines[1].endswith("-:|")
    assert [cell.strip() for cell in lines[2].split(" | ")] == [r"| MAE\|x", "**30.20** |"]
