"""Files are whole or absent. What is refused, code from strangers above all: test_bad_input.py."""

import pytest
import torch
from torch import nn

from asyrepro import checkpoint


def test_what_is_saved_is_read_back(tmp_path):
    state = {"network": nn.Linear(2, 3).state_dict(), "step": 7, "history": [{"loss": 0.5}]}
    checkpoint.save(tmp_path / "a" / "c.pt", state)
    read = checkpoint.load(tmp_path / "a" / "c.pt")
    assert checkpoint.digest(read["network"]) == checkpoint.digest(state["network"])
    assert read["step"] == 7 and read["history"] == [{"loss": 0.5}]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["c.pt"]  # no temporary left


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "c.pt"
    checkpoint.save(path, {"step": 1})
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(path, {"step": 2})
    assert checkpoint.load(path)["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["c.pt"]


def test_digest_sees_a_single_bit():
    weights = {"w": torch.ones(5)}
    other = {"w": torch.ones(5)}
    assert checkpoint.digest(weights) == checkpoint.digest(other)
    other["w"][3] = torch.nextafter(torch.tensor(1.0), torch.tensor(2.0))
    assert checkpoint.digest(weights) != checkpoint.digest(other)
