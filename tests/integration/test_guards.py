"""Committed runs keep their identity, whatever becomes of the configurations' files."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "scripts"))

import guards

SAMPLE = {"mae", "asy_mse", "asy_mae_table1"}


def test_composed_configurations_keep_their_identity():
    rows = [row for row in guards.manifest() if row["loss"] in SAMPLE and row["profile"] != "full"]
    assert len(rows) > 50
    assert guards.composed(rows) == []


def test_committed_runs_are_recognised():
    assert guards.committed() == []
