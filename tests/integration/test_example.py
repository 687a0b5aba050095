"""The example of README's "Use the loss in your training" runs, and the package shows its types."""

import re
import runpy
import sys

import numpy as np
import pytest
from helpers import ROOT
from scipy.stats import ttest_1samp

SCRIPT = ROOT / "scripts" / "train_with_asymmetric_loss.py"


def test_the_example_trains_both_losses_over_seeds(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--steps", "30", "--seeds", "2"])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    header, *lines, conclusion = capsys.readouterr().out.splitlines()
    assert header.split()[-3:] == ["all", "dark", "bright"]
    found = {line[:16].strip(): [float(v) for v in line[16:].split()] for line in lines}
    assert list(found) == ["noisy"] + [f"{n}, seed {s}" for s in (0, 1) for n in ("MAE", "Asy_MAE")]
    assert found["noisy"] == pytest.approx([20.17] * 3, abs=0.05)  # 20 log10(255 / 25)
    changes = [found[f"Asy_MAE, seed {s}"][0] - found[f"MAE, seed {s}"][0] for s in (0, 1)]
    assert 0 not in changes
    assert min(found["MAE, seed 0"][0], found["Asy_MAE, seed 0"][0]) > found["noisy"][0] + 0.2
    mean = float(re.search(r"([-+][\d.]+) dB", conclusion)[1])
    assert mean == pytest.approx(sum(changes) / 2, abs=0.011)


@pytest.mark.parametrize(
    ("changes", "word"),
    [([0.1, 0.11, 0.09], "better"), ([-0.1, -0.11, -0.09], "worse"), ([0.3, -0.2, 0.1], "zero")],
)
def test_the_sentence_follows_from_the_seeds(changes, word):
    sentence = runpy.run_path(str(SCRIPT))["conclusion"](np.array(changes))
    low, high = map(float, re.search(r"\[(.*), (.*)\]", sentence).groups())
    expected = ttest_1samp(changes, 0).confidence_interval(0.95)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-3)
    assert word in sentence
