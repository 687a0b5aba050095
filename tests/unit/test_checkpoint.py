"""Files are whole or absent. What is refused: test_bad_checkpoints.py."""

import os
from fractions import Fraction

import numpy as np
import pytest
import torch
from helpers import refuses
from torch import nn

from asyrepro.system.errors import CheckpointError, ConfigError
from asyrepro.training import checkpoint, foreign


def test_what_is_saved_is_read_back(tmp_path):
    state = {"network": nn.Linear(2, 3).state_dict(), "step": 7, "history": [{"loss": 0.5}]}
    checkpoint.save(tmp_path / "a" / "c.pt", state)
    read = checkpoint.load(tmp_path / "a" / "c.pt")
    assert checkpoint.digest(read["network"]) == checkpoint.digest(state["network"])
    assert read["step"] == 7 and read["history"] == [{"loss": 0.5}]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["c.pt"]  # no temporary left


def test_digest_sees_a_single_bit():
    weights = {"w": torch.ones(5)}
    other = {"w": torch.ones(5)}
    assert checkpoint.digest(weights) == checkpoint.digest(other)
    other["w"][3] = torch.nextafter(torch.tensor(1.0), torch.tensor(2.0))
    assert checkpoint.digest(weights) != checkpoint.digest(other)


def test_digest_sees_names_shapes_and_types_but_no_order():
    one, two, ints = torch.ones(6), torch.zeros(6), torch.zeros(6, dtype=torch.int32)
    different = [
        {"a": one, "b": two}, {"a": two, "b": one}, {"a": one, "c": two},
        {"a": one, "b": two.view(2, 3)}, {"a": one, "b": ints},
    ]  # fmt: skip
    assert len({checkpoint.digest(weights) for weights in different}) == len(different)
    assert checkpoint.digest({"b": two, "a": one}) == checkpoint.digest(different[0])


def test_numbers_of_numpy_are_stored_as_pythons(tmp_path):
    state = {"lr": np.float64(0.1), "steps": (np.int64(3), [np.bool_(True)]), "m": {1: None}}
    checkpoint.save(tmp_path / "c.pt", {"x": checkpoint.storable(state, "x")})
    read = checkpoint.load(tmp_path / "c.pt")["x"]
    assert read == {"lr": 0.1, "steps": (3, [True]), "m": {1: None}}
    assert type(read["lr"]) is float and type(read["steps"][0]) is int


@pytest.mark.parametrize("value", [np.ones(2), np.float32(1), Fraction(1, 3), print, lambda: 0])
def test_what_could_not_be_read_back_is_refused_with_its_place(value):
    with refuses(ConfigError, "x['rates'][1]", type(value).__name__):
        checkpoint.storable({"rates": [1, value]}, "x")


CONFIG = """
    model: {{name: mine, network: {{_target_: {}, in_channels: 1}}}}
    task: {{_target_: asyrepro.tasks.Denoising, sigma: 25}}
    loss: {{name: mae}}
    dataset: {{name: bsd300}}
    seed: 0
    channels_last: true
"""


@pytest.mark.parametrize("trusted", ["torch.nn.Conv2d", "torch.nn", "torch"])
def test_a_network_of_ones_own_is_let_through_where_it_is_trusted(trusted):
    state = {"config": CONFIG.format("torch.nn.Conv2d")}
    with refuses(CheckpointError, "torch.nn.Conv2d"):
        checkpoint.configuration(state, "weights.pt")
    assert checkpoint.configuration(state, "weights.pt", [trusted]).model.name == "mine"


def test_a_trusted_module_that_is_not_here_is_named():
    state = {"config": CONFIG.format("not_here.Net")}
    with refuses(CheckpointError, "not_here.Net", "No module named 'not_here'") as caught:
        checkpoint.configuration(state, "weights.pt", ["not_here"])
    assert "trust=" not in str(caught.value)


def test_what_a_trusted_module_does_not_define_is_to_be_trusted_by_its_name():
    state = {"config": CONFIG.format("torch.nn.functional.conv2d")}
    with refuses(CheckpointError, "trust=torch.nn,torch.nn.functional.conv2d"):
        checkpoint.configuration(state, "weights.pt", ["torch.nn"])


def test_a_folder_is_answered_with_the_weights_in_it(tmp_path):
    checkpoint.save(tmp_path / "weights.pt", {})
    with refuses(CheckpointError, tmp_path / "weights.pt"):
        checkpoint.load(tmp_path)


NESTED = "padding: {{_target_: {}, width: 3}}"


@pytest.mark.parametrize(
    "option",
    [
        *("width: 4000", "_convert_: all", "_recursive_: false", "_args_: [4000]", "_width: 5"),
        NESTED.format("torch.nn.ReLU"),
    ],
)
def test_a_trusted_network_has_options_of_its_own(option):
    state = {"config": CONFIG.format(f"torch.nn.Conv2d, {option}")}
    assert checkpoint.configuration(state, "weights.pt", ["torch.nn"]).model.name == "mine"


@pytest.mark.parametrize(
    ("option", "name"),
    [
        *(("_partial_: true", "_partial_"), ("_recursive_: 7", "_recursive_")),
        *(("_convert_: {_target_: os.mkdir}", "_convert_"), (NESTED.format("os.mkdir"), "trust=")),
    ],
)
def test_a_trusted_network_is_no_way_to_what_is_not_trusted(option, name):
    state = {"config": CONFIG.format(f"torch.nn.Conv2d, {option}")}
    with refuses(CheckpointError, "model.network", name):
        checkpoint.configuration(state, "weights.pt", ["torch.nn"])


@pytest.mark.parametrize("name", ["torch.nnx.Conv2d", "torch.serialization.os.mkdir"])
def test_what_a_trusted_package_does_not_define_is_not_trusted_with_it(name):
    state = {"config": CONFIG.format(name)}
    with refuses(CheckpointError, name):
        checkpoint.configuration(state, "weights.pt", ["torch.nn", "torch.serialization"])


WEIGHTS = {"a.weight": torch.ones(2, 3), "a.bias": torch.zeros(2)}
MODULE = {f"module.{name}": value for name, value in WEIGHTS.items()}


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(
    "content",
    [
        WEIGHTS,
        MODULE,
        {"params": WEIGHTS},
        {"params": {}, "params_ema": WEIGHTS},
        {"state_dict": MODULE, "epoch": 3},
        {"model": {"state_dict": WEIGHTS}, "optimizer": {}},
        {"net": WEIGHTS},
        {"model_state_dict": WEIGHTS, "epoch": 3},
    ],
)
def test_weights_of_other_programs_are_found_in_their_wrappers(tmp_path, content, old):
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=not old)
    found = foreign.state_dict(tmp_path / "w.pth")
    assert checkpoint.digest(found) == checkpoint.digest(WEIGHTS)


def test_a_weight_may_be_called_as_a_wrapper_is(tmp_path):
    weights = {"model": torch.ones(2, 3), "net": torch.zeros(2)}
    torch.save(weights, tmp_path / "w.pth")
    assert checkpoint.digest(foreign.state_dict(tmp_path / "w.pth")) == checkpoint.digest(weights)


class Evil:
    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("old", [False, True])
def test_weights_of_other_programs_run_no_code(tmp_path, old):
    content = {"state_dict": WEIGHTS, "made": Evil(tmp_path / "evil")}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=not old)
    with pytest.raises(CheckpointError):
        foreign.state_dict(tmp_path / "w.pth")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("content", [[1], {}, {"state_dict": {}}, {"a": torch.ones(1), "b": 2}])
def test_a_file_without_weights_says_so(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with refuses(CheckpointError, tmp_path / "w.pth"):
        foreign.state_dict(tmp_path / "w.pth")
