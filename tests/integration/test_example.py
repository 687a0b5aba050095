"""The example of README's "Use the loss in your training" runs, and the package shows its types."""

import re
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "train_with_asymmetric_loss.py"


def test_the_example_trains_both_losses(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--steps", "30"])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    header, *lines, warning = capsys.readouterr().out.splitlines()
    assert "chance" in warning
    assert header.split()[-3:] == ["all", "dark", "bright"]
    found = {name: [float(v) for v in values] for name, *values in map(str.split, lines)}
    assert list(found) == ["noisy", "MAE", "Asy_MAE"]
    assert found["noisy"] == pytest.approx([20.17] * 3, abs=0.05)  # 20 log10(255 / 25)
    assert found["MAE"] != found["Asy_MAE"]
    assert min(found["MAE"][0], found["Asy_MAE"][0]) > found["noisy"][0] + 0.2


def test_the_lines_that_matter_are_marked_and_few():
    lines = SCRIPT.read_text().splitlines()
    marked = [line for line in lines if line.rstrip().endswith(("# (1)", "# (2)", "# (3)"))]
    assert len(marked) == 3
    assert all("AsymmetricLoss" in line or "criterion(output, label)" in line for line in marked)


def test_types_are_shipped():
    assert (ROOT / "asyrepro" / "py.typed").is_file()
    text = (ROOT / "pyproject.toml").read_text()
    packed = re.search(
        r"^\[tool\.setuptools\.package-data\]\nasyrepro = \[(.*?)\]", text, re.M | re.S
    )[1]
    assert '"py.typed"' in packed
