"""The snippets of docs/using-the-loss.md, run against minimal stand-ins of the programs."""

import re
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from helpers import ROOT
from torch import nn

from asyrepro.losses import AsymmetricLoss

TEXT = (ROOT / "docs" / "using-the-loss.md").read_text()
SNIPPETS = dict(re.findall(r"```python\n# (\w+)\n(.*?)```", TEXT, re.DOTALL))


@pytest.fixture
def pair():
    label = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return (label + 0.1).requires_grad_(), label


def module(monkeypatch, name, **contents):
    made = ModuleType(name)
    vars(made).update(contents)
    monkeypatch.setitem(sys.modules, name, made)


def run(name):
    found = {"__name__": name}
    exec(compile(SNIPPETS[name], name, "exec"), found)
    return found


def test_basicsr_builds_it_from_its_registry(monkeypatch, pair):
    class Registry(dict):
        def register(self):
            return lambda kind: self.setdefault(kind.__name__, kind)

    registry = Registry()
    for package in ("basicsr", "basicsr.utils"):
        module(monkeypatch, package)
    module(monkeypatch, "basicsr.utils.registry", LOSS_REGISTRY=registry)
    run("basicsr")
    options = {"type": "AsymmetricPixLoss", "loss_weight": 0.5, "base": "mae"}  # its build_loss
    loss = registry[options.pop("type")](**options)
    expected = 0.5 * AsymmetricLoss("mae")(*pair)
    torch.testing.assert_close(loss(*pair, weight=None), expected)


def test_kairs_model_is_given_it(pair):
    options = {"G_lossfn_type": "asy_mse", "G_lossfn_weight": 1.0}
    model = SimpleNamespace(opt_train=options, device="cpu")
    run("kair")["define_loss"](model)
    loss = model.G_lossfn_weight * model.G_lossfn(*pair)  # its optimize_parameters
    torch.testing.assert_close(loss, AsymmetricLoss("mse")(*pair))


def test_edsrs_grey_values_are_divided(pair):
    loss = run("edsr")["Asymmetric"](SimpleNamespace(rgb_range=255))
    output, label = pair
    torch.testing.assert_close(loss(output * 255, label * 255), 255 * AsymmetricLoss()(*pair))


def test_lightnings_step_returns_a_loss(monkeypatch, pair):
    class LightningModule(nn.Module):
        def log(self, name, value):
            self.logged = {name: value}

    module(monkeypatch, "lightning", LightningModule=LightningModule)
    model = run("lightning")["Restoration"](nn.Conv2d(3, 3, 1))
    loss = model.training_step(pair, 0)
    loss.backward()
    model.configure_optimizers().step()
    assert model.logged["train_loss"] is loss and loss.isfinite()
