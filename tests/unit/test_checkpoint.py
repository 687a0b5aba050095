"""Files are whole or absent. What is refused, code from strangers above all: test_bad_input.py."""

import pytest
import torch
from torch import nn

from asyrepro.system.errors import CheckpointError
from asyrepro.training import checkpoint


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


def test_networks_that_the_users_own_configurations_name_are_made(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "CONFIGS", tmp_path)
    (tmp_path / "model").mkdir()
    config = """
        model: {name: mine, network: {_target_: torch.nn.Conv2d, in_channels: 1}}
        task: {_target_: asyrepro.tasks.Denoising, sigma: 25}
        loss: {name: mae}
        dataset: {name: bsd300}
        seed: 0
        channels_last: true
    """
    state = {"config": config}
    with pytest.raises(CheckpointError, match="which is not of this program"):
        checkpoint.configuration(state, "weights.pt")
    (tmp_path / "model" / "mine.yaml").write_text("network: {_target_: torch.nn.Conv2d}")
    (tmp_path / "model" / "broken.yaml").write_text("network: [")
    assert checkpoint.configuration(state, "weights.pt").model.name == "mine"
