"""Files are whole or absent, and a checkpoint from a stranger cannot run code."""

import pickle

import pytest
import torch
from torch import nn

from asyrepro import checkpoint
from asyrepro.errors import CheckpointError


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


class Evil:
    def __reduce__(self):
        return (open, ("/tmp/asyrepro-was-here", "w"))


def damaged(path, kind):
    if kind == "missing":
        return "there is no checkpoint at"
    if kind == "truncated":
        checkpoint.save(path, {"step": 1, "weights": torch.rand(1000)})
        path.write_bytes(path.read_bytes()[:2000])
        return "damaged"
    if kind == "text":
        path.write_text("not a checkpoint")
        return "damaged"
    if kind == "empty":
        path.write_bytes(b"")
        return "damaged"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Evil()))
        return "was not loaded|damaged"
    if kind == "torch pickle":
        torch.save({"format": 1, "code": Evil()}, path)
        return "was not loaded"
    if kind == "foreign":
        torch.save({"weights": torch.ones(2)}, path)
        return "not a checkpoint of this program"
    torch.save({"format": 99}, path)
    return "has format 99, this program reads 1: update asyrepro"


@pytest.mark.parametrize(
    "kind",
    ["missing", "truncated", "text", "empty", "pickle", "torch pickle", "foreign", "newer"],
)
def test_bad_checkpoints_are_refused_in_words(tmp_path, kind):
    message = damaged(tmp_path / "c.pt", kind)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(tmp_path / "c.pt")


def test_weights_of_another_network_are_refused():
    network, other = nn.Linear(2, 3), nn.Linear(2, 4)
    with pytest.raises(CheckpointError, match="weights of another network than Linear"):
        checkpoint.load_weights(network, other.state_dict(), "x.pt")
    with pytest.raises(CheckpointError, match=r"first difference: bias"):
        checkpoint.load_weights(network, {"weight": torch.zeros(3, 2)}, "x.pt")


def test_weights_that_are_not_finite_are_refused():
    network = nn.Linear(2, 3)
    broken = {k: v.clone() for k, v in network.state_dict().items()}
    broken["bias"][1] = float("nan")
    with pytest.raises(CheckpointError, match=r"not finite \(bias\)"):
        checkpoint.load_weights(network, broken, "x.pt")


def test_digest_sees_a_single_bit():
    weights = {"w": torch.ones(5)}
    other = {"w": torch.ones(5)}
    assert checkpoint.digest(weights) == checkpoint.digest(other)
    other["w"][3] = torch.nextafter(torch.tensor(1.0), torch.tensor(2.0))
    assert checkpoint.digest(weights) != checkpoint.digest(other)
