"""Weights of other programs: asyrepro convert, and a run that begins from weights."""

import pytest
import torch
from helpers import assert_refused, call, train
from torch import nn

from asyrepro.models import DnCNN
from asyrepro.training import checkpoint, foreign


class Theirs(nn.Module):
    """DnCNN as others write it: one sequence, of which no name agrees with ours."""

    def __init__(self, layers, norm, bias):
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=bias), nn.ReLU())
        for _ in range(layers - 2):
            self.model.append(nn.Conv2d(8, 8, 3, padding=1, bias=bias))
            if norm:
                self.model.append(nn.BatchNorm2d(8))
            self.model.append(nn.ReLU())
        self.model.append(nn.Conv2d(8, 1, 3, padding=1, bias=bias))

    def forward(self, x):
        return x - self.model(x)


@pytest.mark.parametrize(("norm", "bias"), [(True, False), (False, True)])
def test_a_network_with_other_names_computes_the_same(tmp_path, norm, bias):
    torch.manual_seed(0)
    theirs, ours = Theirs(5, norm, bias), DnCNN(5, 8, batch_norm=norm, bias=bias)
    for _ in range(3):
        theirs(torch.rand(4, 1, 9, 9))  # so that the running means are not 0 and 1
    weights = theirs.state_dict()
    old = {name: value for name, value in weights.items() if not name.endswith("tracked")}
    x = torch.rand(2, 1, 12, 11)
    for number, content in enumerate((weights, old)):
        torch.save(content, tmp_path / f"{number}.pth")
        foreign.load_into(ours, x, tmp_path / f"{number}.pth")
        torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


NETWORK = ["model=dncnn_public", "model.network.layers=5", "model.network.channels=8"]


@pytest.fixture
def published(tmp_path):
    torch.manual_seed(1)
    path = tmp_path / "theirs.pth"
    torch.save(Theirs(5, False, True).state_dict(), path, _use_new_zipfile_serialization=False)
    return path


def test_converted_weights_are_evaluated(published, tmp_path):
    output = tmp_path / "ours.pt"
    given = ["convert", published, *NETWORK, "task=denoising", "task.sigma=15", f"output={output}"]
    assert call(*given).status == 0
    assert_refused(call(*given), "output=")  # nothing is overwritten
    said = call("evaluate", f"checkpoint={output}", "testset=bundled_validation")
    assert said.status == 0 and "public" in said.out


def test_what_does_not_fit_is_named_on_both_sides(published, tmp_path):
    given = ["convert", published, *NETWORK, "task=denoising", f"output={tmp_path / 'ours.pt'}"]
    names = ("model.6.weight (8, 8, 3, 3)", "last.weight (1, 8, 3, 3)")
    assert_refused(call(*given, "model.network.layers=4"), *names)
    assert not (tmp_path / "ours.pt").exists()


def test_a_run_begins_from_weights_and_is_another_run(published, tmp_path):
    common = [*NETWORK, "task=denoising", "testset=null", "recipe.optimizer.lr=1e-9"]
    runs = train(tmp_path, *common), train(tmp_path, *common, "study=b", f"from={published}")
    anew, tuned = (checkpoint.load(run.weights) for run in runs)
    before = foreign.state_dict(published)["model.0.weight"]
    torch.testing.assert_close(tuned["network"]["first.weight"], before, atol=1e-6, rtol=0)
    assert not torch.allclose(anew["network"]["first.weight"], before, atol=1e-2)
    assert checkpoint.digest(foreign.state_dict(published)) in tuned["config"]
    assert "from_sha256" not in anew["config"] and str(tmp_path) not in tuned["config"]
