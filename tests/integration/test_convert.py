"""Weights of other programs: asyrepro convert, and a run that begins from weights."""

import pytest
import torch
from helpers import assert_refused, call, refuses, train
from torch import nn
from torch.nn import functional as F

from asyrepro.models import EDSR, SRCNN, DnCNN
from asyrepro.system.errors import CheckpointError, ConfigError
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


DIV2K = torch.tensor([0.4488, 0.4371, 0.4040])


def convolution(weights, name, x):
    return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)


def edsr_pytorch(x, weights, scale):
    """EDSR-PyTorch's forward, of images in [0, 255]: the means are convolutions of 1 x 1."""
    x = F.conv2d(x, weights["sub_mean.weight"], weights["sub_mean.bias"])
    x = features = convolution(weights, "head.0", x)
    for k in range(2):
        inner = F.relu(convolution(weights, f"body.{k}.body.0", x))
        x = x + 0.1 * convolution(weights, f"body.{k}.body.2", inner)
    x = features + convolution(weights, "body.2", x)
    for k, factor in enumerate({3: [3], 4: [2, 2]}[scale]):
        x = F.pixel_shuffle(convolution(weights, f"tail.0.{2 * k}", x), factor)
    return F.conv2d(
        convolution(weights, "tail.1", x), weights["add_mean.weight"], weights["add_mean.bias"]
    )


def basicsr(x, weights, scale, img_range):
    """BasicSR's forward, of images in [0, 1], brought to img_range inside."""
    mean = DIV2K[:, None, None]
    x = features = convolution(weights, "conv_first", (x - mean) * img_range)
    for k in range(2):
        inner = F.relu(convolution(weights, f"body.{k}.conv1", x))
        x = x + 0.1 * convolution(weights, f"body.{k}.conv2", inner)
    x = features + convolution(weights, "conv_after_body", x)
    for k, factor in enumerate({3: [3], 4: [2, 2]}[scale]):
        x = F.pixel_shuffle(convolution(weights, f"upsample.{2 * k}", x), factor)
    return convolution(weights, "conv_last", x) / img_range + mean


def named(shapes, white):
    """Random weights of these layers, {name: (outputs, inputs)}, whose biases matter."""
    torch.manual_seed(0)
    weights = {}
    for name, (outputs, inputs) in shapes.items():
        weights[f"{name}.weight"] = torch.randn(outputs, inputs, 3, 3) / (9 * inputs) ** 0.5
        weights[f"{name}.bias"] = 0.1 * white * torch.randn(outputs)
    return weights


def of_edsr_pytorch(scale, white):
    steps = {3: [("tail.0.0", 9)], 4: [("tail.0.0", 4), ("tail.0.2", 4)]}[scale]
    layers = ["body.0.body.0", "body.0.body.2", "body.1.body.0", "body.1.body.2", "body.2"]
    shapes = {"head.0": (8, 3), **dict.fromkeys(layers, (8, 8))}
    shapes |= {name: (8 * more, 8) for name, more in steps} | {"tail.1": (3, 8)}
    eye = torch.eye(3)[..., None, None]
    shifts = {"sub_mean.weight": eye, "sub_mean.bias": -white * DIV2K,
              "add_mean.weight": eye, "add_mean.bias": white * DIV2K}  # fmt: skip
    return shifts | named(shapes, white)


def of_basicsr(scale, white):
    steps = {3: [("upsample.0", 9)], 4: [("upsample.0", 4), ("upsample.2", 4)]}[scale]
    layers = ["body.0.conv1", "body.0.conv2", "body.1.conv1", "body.1.conv2", "conv_after_body"]
    shapes = {"conv_first": (8, 3), **dict.fromkeys(layers, (8, 8))}
    shapes |= {name: (8 * more, 8) for name, more in steps} | {"conv_last": (3, 8)}
    return named(shapes, white)


def edsr(scale=3):
    return EDSR(scale, blocks=2, channels=8, residual_scaling=0.1)


@pytest.mark.parametrize("scale", [3, 4])
@pytest.mark.parametrize("white", [1.0, 255.0])
def test_edsr_of_other_programs_computes_the_same_borders_included(tmp_path, scale, white):
    x, path, ours = torch.rand(1, 3, 9, 7), tmp_path / "theirs.pt", edsr(scale)
    weights = of_edsr_pytorch(scale, white)
    torch.save(weights, path)
    foreign.load_into(ours, x, path, white)
    expected = edsr_pytorch(white * x, weights, scale) / white
    torch.testing.assert_close(ours(x), expected, atol=1e-5, rtol=0)

    weights = of_basicsr(scale, white)
    torch.save({"params": weights}, path)
    foreign.load_into(ours, x, path, white)
    torch.testing.assert_close(ours(x), basicsr(x, weights, scale, white), atol=1e-5, rtol=0)


def test_the_range_must_be_told_and_fit(tmp_path):
    x, path = torch.rand(1, 3, 9, 7), tmp_path / "theirs.pt"
    torch.save(of_basicsr(3, 255.0), path)
    with refuses(ConfigError, "theirs.pt", "range=1", "range=255"):
        foreign.load_into(edsr(), x, path)
    torch.save(of_edsr_pytorch(3, 255.0), path)
    with refuses(CheckpointError, "theirs.pt", "sub_mean.bias", "range=1"):
        foreign.load_into(edsr(), x, path, 1.0)
    torch.save(DnCNN(5, 8).state_dict(), path)
    with refuses(ConfigError, "range=255", "DnCNN"):
        foreign.load_into(DnCNN(5, 8), x[:, :1], path, 255.0)


def test_srcnn_of_another_range(tmp_path):
    torch.manual_seed(0)
    theirs, ours, x = SRCNN(init="kaiming"), SRCNN(), torch.rand(1, 1, 12, 11)
    for layer in (theirs.extract, theirs.map, theirs.reconstruct):
        nn.init.normal_(layer.bias, std=20)
    torch.save(theirs.state_dict(), tmp_path / "theirs.pt")
    foreign.load_into(ours, x, tmp_path / "theirs.pt", 255.0)
    torch.testing.assert_close(ours(x), theirs(255 * x) / 255, atol=1e-5, rtol=0)


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


def test_the_command_converts_edsr_of_another_range(tmp_path):
    path, output = tmp_path / "theirs.pt", tmp_path / "ours.pt"
    weights = of_edsr_pytorch(3, 255.0)
    torch.save(weights, path)
    given = ["convert", path, "model=edsr", "task=super_resolution", "task.scale=3"]
    given += ["model.network.blocks=2", "model.network.channels=8", f"output={output}"]
    assert_refused(call(*given), "range=")
    assert call(*given, "range=255").status == 0
    converted = checkpoint.load(output)["network"]
    torch.testing.assert_close(converted["tail.bias"], weights["tail.1.bias"] / 255)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float64])
def test_weights_of_another_precision_are_cast(published, tmp_path, kind):
    theirs = {k: v.to(kind) for k, v in foreign.state_dict(published).items()}
    path, ours = tmp_path / "other.pth", DnCNN(5, 8, batch_norm=False, bias=True)
    torch.save(theirs, path)
    foreign.load_into(ours, torch.rand(1, 1, 12, 11), path)
    assert torch.equal(ours.first.weight, theirs["model.0.weight"].float())
    with refuses(CheckpointError, "first.weight", kind, "torch.float32"):
        weights = {k: v.to(kind) for k, v in ours.state_dict().items()}
        checkpoint.check_weights(ours, weights, path)


def test_a_network_that_does_not_fit_the_task_is_refused(tmp_path):
    path, weights = tmp_path / "x.pth", SRCNN(image_channels=3).state_dict()
    torch.save({f"net.{name}": value for name, value in weights.items()}, path)
    given = ["convert", path, "model=srcnn", "task=super_resolution"]
    assert_refused(call(*given, "model.network.image_channels=3"), "(1, 1, ", "model.network")


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
