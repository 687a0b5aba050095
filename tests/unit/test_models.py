"""The four networks: sizes, shapes, what they compute, and how they start."""

import numpy as np
import pytest
import torch
from helpers import refuses
from scipy.signal import correlate2d
from torch import nn

from asyrepro.models import EDSR, SRCNN, DnCNN, GRUNet
from asyrepro.models.dphsir import QuasiRecurrent, SlicedConv3d, upsample


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def build(make, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return make()


def unmet(name: str, shape) -> bool:
    """Whether a parameter is an outer slice of a GRUNet's kernel, and all volumes have one band."""
    outer = name.endswith(("slice0", "slice2")) and "shortcut" not in name
    return outer and len(shape) == 5 and shape[2] == 1


def build_random(make) -> nn.Module:
    """The network with random numbers in all slices of all its kernels, in double precision."""
    network = build(make).double()
    for p in network.parameters():
        fan_in = p[0].numel() if p.ndim > 1 else 1
        nn.init.normal_(p, std=fan_in**-0.5)
    return network


# --- parameter counts: literals are the published or hand-worked numbers


@pytest.mark.parametrize(
    ("make", "count"),
    [
        # kernel^2 x in x out + out, layer by layer
        (SRCNN, (81 * 64 + 64) + (64 * 32 + 32) + (25 * 32 + 1)),
        (lambda: SRCNN((9, 5, 5)), 57_281),
        (lambda: EDSR(2), 1_369_859),
        (lambda: EDSR(3), 1_554_499),
        (lambda: EDSR(4), 1_517_571),
        (lambda: EDSR(2, blocks=32, channels=256, residual_scaling=0.1), 40_729_603),
        (lambda: EDSR(4, blocks=32, channels=256, residual_scaling=0.1), 43_089_923),
        # 9 x 64 at both ends, 15 x (9 x 64 x 64 weights, 64 scales, 64 shifts) between
        (DnCNN, 2 * 9 * 64 + 15 * (9 * 64 * 64 + 2 * 64)),
        (lambda: DnCNN(3), 38_144),
        (lambda: DnCNN(20), 667_008),
        (GRUNet, 14_278_451),
    ],
)
def test_parameter_counts(make, count):
    with torch.device("meta"):
        assert parameters(make()) == count


# --- shapes and channels


@pytest.mark.parametrize("size", [(1, 1), (1, 33), (16, 16), (17, 2)])
def test_any_size_works(size):
    assert SRCNN()(torch.rand(1, 1, *size)).shape == (1, 1, *size)
    assert DnCNN(3, 8).eval()(torch.rand(1, 1, *size)).shape == (1, 1, *size)
    for bands in (1, 2):
        assert GRUNet(2)(torch.rand(1, 2, bands, *size)).shape == (1, bands, *size)
    for scale in (2, 3, 4):
        output = EDSR(scale, blocks=1, channels=4)(torch.rand(1, 3, *size))
        assert output.shape == (1, 3, scale * size[0], scale * size[1])


@pytest.mark.parametrize(
    ("network", "shape", "names"),
    [
        (SRCNN(), (1, 3, 8, 8), ["SRCNN", "(N, 1, H, W)", "(1, 3, 8, 8)"]),
        (DnCNN(3, 4), (1, 3, 8, 8), ["DnCNN", "(N, 1, H, W)"]),
        (EDSR(2, 1, 4), (1, 1, 8, 8), ["EDSR", "(N, 3, H, W)", "(1, 1, 8, 8)"]),
        (EDSR(2, 1, 4), (3, 8, 8), ["EDSR", "(N, 3, H, W)"]),
        (GRUNet(2), (1, 2, 8, 8), ["GRUNet", "(N, 2, D, H, W)"]),
        (GRUNet(2), (1, 1, 1, 8, 8), ["GRUNet", "(N, 2, D, H, W)"]),
    ],
)
def test_wrong_channels_are_refused(network, shape, names):
    with refuses(ValueError, *names):
        network(torch.rand(shape))


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: EDSR(5), ["2, 3 or 4", "5"]),
        (lambda: SRCNN(kernels=(9, 2, 5)), ["kernel", "(9, 2, 5)"]),
        (lambda: SRCNN(channels=(64,)), ["channel", "(64,)"]),
        (lambda: SRCNN(init="zero"), ["identity", "kaiming", "paper"]),
        (lambda: EDSR(init="zero"), ["nearest", "torch"]),
        (lambda: EDSR(channels=2), ["3"]),
        (lambda: DnCNN(1), ["2"]),
    ],
)
def test_wrong_options_are_refused(make, names):
    with refuses(ValueError, *names):
        make()


# --- what each network computes, against independent arithmetic


def test_srcnn_is_three_convolutions_of_a_border_repeated_once():
    network = build(lambda: SRCNN((3, 1, 5), (3, 2), init="kaiming")).double()
    image = np.random.default_rng(0).random((6, 9))
    maps = [np.pad(image, 1 + 0 + 2, mode="edge")]
    for layer in (network.extract, network.map, network.reconstruct):
        nn.init.normal_(layer.bias, std=0.1)
        weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
        maps = [
            sum(correlate2d(m, k, mode="valid") for m, k in zip(maps, kernels, strict=True)) + b
            for kernels, b in zip(weight, bias, strict=True)
        ]
        if layer is not network.reconstruct:
            maps = [np.maximum(m, 0) for m in maps]
    output = network(torch.from_numpy(image)[None, None])
    np.testing.assert_allclose(output[0, 0].detach().numpy(), maps[0], atol=1e-12)


def _only_upsampling(scale: int) -> EDSR:
    """EDSR in which the head passes the colours on, the body adds nothing, the tail takes them."""
    network = EDSR(scale, blocks=1, channels=3).double()
    for p in network.parameters():
        nn.init.zeros_(p)
    nn.init.dirac_(network.head.weight)
    nn.init.dirac_(network.tail.weight)
    return network


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("colours", [1, 3])
def test_untrained_edsr_repeats_pixels(scale, colours):
    network = build(lambda: EDSR(scale, blocks=2, channels=8, image_channels=colours)).double()
    assert "mean" not in network.state_dict()  # nor in stored weights
    image = np.random.default_rng(0).random((colours, 4, 5))
    expected = image.repeat(scale, axis=1).repeat(scale, axis=2)
    output = network(torch.from_numpy(image)[None])[0].detach().numpy()
    np.testing.assert_allclose(output, expected, atol=1e-9)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_grunet_upsamples_a_window_as_the_whole_in_each_precision(kind):
    image = torch.rand(1, 1, 4, 640, dtype=torch.float64).to(kind)
    whole = upsample(image)
    part = upsample(image[..., 320:], (0, 320, 4, 640))[..., 2:]
    error = (part - whole[..., 642:]).abs().max().item()
    assert error <= 4 * torch.finfo(kind).eps


def test_edsr_places_sub_pixels_row_by_row():
    # Channel 9c + 3i + j of the upsampling convolution is row i, column j of each 3x3 cell.
    network = _only_upsampling(3)
    with torch.no_grad():
        network.upsample[0].bias.copy_(torch.arange(9).repeat(3))
    output = network(torch.zeros(1, 3, 2, 2).double()) - network.mean
    cell = np.array([[0, 1, 2], [3, 4, 5], [6, 7, 8]])
    for colour in output[0].detach().numpy():
        np.testing.assert_allclose(colour, np.tile(cell, (2, 2)), atol=1e-6)


def test_edsr_body_and_residual_scaling():
    # 1x1-like kernels on one pixel turn the network into scalar arithmetic.
    network = EDSR(2, blocks=2, channels=1, residual_scaling=0.1, image_channels=1).double()
    for p in network.parameters():
        nn.init.zeros_(p)
    with torch.no_grad():
        network.head.weight[0, 0, 1, 1] = 2
        for block, weight in zip(network.blocks, (3, -3), strict=True):
            block.conv1.weight[0, 0, 1, 1] = weight
            block.conv2.weight[0, 0, 1, 1] = 5
        network.body_end.weight[0, 0, 1, 1] = 7
        network.upsample[0].weight[:, 0, 1, 1] = 1
        network.tail.weight[0, 0, 1, 1] = 1
    mean = network.mean.item()
    assert mean == pytest.approx((0.4488 + 0.4371 + 0.4040) / 3, abs=1e-6)
    head = 2 * (1 - mean)
    block = head * (1 + 0.1 * 5 * 3)  # x + 0.1 * 5 * relu(3 x), x > 0; relu(-3 x) is 0
    expected = head + 7 * block + mean
    output = network(torch.ones(1, 1, 1, 1).double())
    assert output.flatten().tolist() == pytest.approx([expected] * 4)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_dncnn_subtracts_what_a_plain_stack_gives(training, bias):
    network = build(lambda: DnCNN(4, channels=5, zero_last=False, bias=bias))
    layers = [network.first, network.middle[0], network.norms[0], network.middle[1]]
    layers += [network.norms[1], network.last]
    stack = [nn.Conv2d(1, 5, 3, 1, 1, bias=bias), nn.ReLU()]
    for _ in range(2):
        stack += [nn.Conv2d(5, 5, 3, 1, 1, bias=bias), nn.BatchNorm2d(5), nn.ReLU()]
    stack = nn.Sequential(*stack, nn.Conv2d(5, 1, 3, 1, 1, bias=bias))
    theirs = [layer for layer in stack if not isinstance(layer, nn.ReLU)]
    for a, b in zip(layers, theirs, strict=True):
        for value in a.state_dict().values():
            if value.is_floating_point() and value.ndim == 1:  # biases, and the norms' statistics
                nn.init.uniform_(value, 0.5, 1.5)
        b.load_state_dict(a.state_dict())
    x = torch.rand(2, 1, 9, 11)
    network.train(training)
    stack.train(training)
    torch.testing.assert_close(network(x), x - stack(x))


def _scalar_layer(**options) -> QuasiRecurrent:
    """Candidate tanh(x), first gate sigmoid(0) = 1/2, second gate 1/4, for one channel."""
    layer = QuasiRecurrent(1, 1, kernel=1, bias=True, **options).double()
    nn.init.zeros_(layer.conv.bias)
    with torch.no_grad():
        layer.conv.slice0.zero_()[0] = 1
        if layer.parts == 3:
            layer.conv.bias[2] = np.log(1 / 3)
    return layer


def test_quasi_recurrent_pooling_by_hand():
    bands = torch.tensor([0.2, -0.5, 1.0]).double().view(1, 1, 3, 1, 1)
    a, b, c = np.tanh([0.2, -0.5, 1.0])
    forward = [a / 2, a / 4 + b / 2, a / 8 + b / 4 + c / 2]
    backward = [c / 8 + b / 4 + a / 2, c / 4 + b / 2, c / 2]
    layer = _scalar_layer()
    assert layer(bands).flatten().tolist() == pytest.approx(forward)
    assert layer(bands, reverse=True).flatten().tolist() == pytest.approx(backward)

    # both ways; the backward gate forgets all but 1/4
    quarter = [3 / 64 * c + 3 / 16 * b + 3 / 4 * a, 3 / 16 * c + 3 / 4 * b, 3 / 4 * c]
    layer = _scalar_layer(bidirectional=True)
    expected = np.add(forward, quarter)
    assert layer(bands).flatten().tolist() == pytest.approx(list(expected))
    # a single band: (1 - 1/2) z + (1 - 1/4) z, as a volume and as an image
    assert layer(bands[:, :, :1]).item() == pytest.approx(1.25 * a)
    assert layer(bands[:, :, 0]).item() == pytest.approx(1.25 * a)


def test_the_way_in_which_each_layer_of_grunet_goes_through_the_bands():
    """As in the authors' code: back where the size changes, forth in the blocks.

    Untrained kernels couple no bands, so the band at which a layer begins, which follows no state,
    is what the layer makes of this band alone.
    """
    network, begins = GRUNet(width=2, zero_last=False).double(), {}

    def note(name, layer, x, result):
        ends = {"first": slice(1), "last": slice(-1, None)}
        alone = {end: layer.forward(x[:, :, bands]) for end, bands in ends.items()}
        begins[name] = [end for end, y in alone.items() if y.allclose(result[:, :, ends[end]])]

    for name, layer in network.named_modules():
        if isinstance(layer, QuasiRecurrent):
            layer.register_forward_hook(lambda m, x, y, name=name: note(name, m, x[0], y))
    network(torch.rand(1, 2, 3, 16, 16).double())
    assert begins.pop("first") == begins.pop("last") == []  # both ways
    assert len(begins) == 32
    for name, ends in begins.items():
        assert ends == (["last"] if name.startswith(("down", "up")) else ["first"]), name


@pytest.mark.parametrize(("width", "size"), [(16, (16, 20)), (3, (20, 33)), (3, (1, 50))])
def test_single_band_shortcut_equals_the_3d_path_and_has_its_gradients(width, size):
    network = build_random(lambda: GRUNet(width))
    x, target = torch.rand(2, 2, 1, *size).double(), torch.rand(2, 1, *size).double()
    outputs, gradients = [], []
    for plain in (False, True):
        network.zero_grad()
        outputs.append(network(x, plain=plain))
        ((outputs[-1] - target) ** 2).mean().backward()
        gradients.append({name: p.grad for name, p in network.named_parameters()})
    assert (outputs[0] - x[:, 0]).abs().max() > 1e-4  # the network does something
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-12)
    used = 0
    for name, plain in gradients[1].items():
        short = gradients[0][name]
        if short is None:  # an outer slice, which met padding
            assert (plain == 0).all()
        else:
            assert short.abs().max() > 0
            torch.testing.assert_close(short, plain, rtol=1e-9, atol=1e-15)
            used += 1
    assert used == 35


@pytest.mark.parametrize(("kernel", "stride", "bias"), [(3, 1, False), (3, 2, True), (1, 1, False)])
def test_sliced_convolution_is_torchs(kernel, stride, bias):
    theirs = nn.Conv3d(3, 4, kernel, (1, stride, stride), kernel // 2, bias=bias)
    ours = SlicedConv3d(3, 4, kernel, stride, bias)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    for name, weights in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], weights)
    for depth in (1, 4):
        x = torch.rand(2, 3, depth, 7, 9)
        torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours(x[:, :, 0]), theirs(x[:, :, :1])[:, :, 0])
    others = [nn.Conv3d(3, 5, kernel, bias=bias), nn.Conv3d(3, 4, (5, kernel, kernel), bias=bias)]
    for wrong in ({}, *(other.state_dict() for other in others)):
        with pytest.raises(RuntimeError):
            ours.load_state_dict(wrong)


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(21, 32), (32, 23), (1, 2), (3, 7)])
def test_grunet_mirrors_the_image_at_its_end_and_crops(bands, height, width):
    network = build_random(lambda: GRUNet(2))
    x = np.random.default_rng(0).random((1, 2, bands, height, width))
    padding = [(0, 0)] * 3 + [(0, -height % 16), (0, -width % 16)]
    padded = np.pad(x, padding, mode="reflect")  # however often it has to be repeated
    output = network(torch.from_numpy(x))
    expected = network(torch.from_numpy(padded))[..., :height, :width]
    torch.testing.assert_close(output, expected)


# --- how they start


def test_untrained_denoisers_return_their_input():
    x = torch.rand(2, 1, 13, 18)
    for options in ({}, {"batch_norm": False, "bias": True}):
        assert torch.equal(DnCNN(5, channels=8, **options)(x), x)
    for bands in (1, 3):
        volume = torch.rand(2, 2, bands, 13, 18)
        assert torch.equal(GRUNet(2)(volume), volume[:, 0])


@pytest.mark.parametrize("channels", [1, 3])
def test_untrained_srcnn_returns_the_upsampled_image(channels):
    for kernels in ((9, 1, 5), (9, 5, 5)):
        x = torch.rand(2, channels, 11, 14)
        torch.testing.assert_close(SRCNN(kernels, image_channels=channels)(x), x)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (SRCNN, (2, 1, 12, 12)),
        (lambda: EDSR(4, blocks=2, channels=8), (2, 3, 6, 6)),
        (lambda: DnCNN(5, channels=8), (2, 1, 12, 12)),
        *((lambda: GRUNet(2), (2, 2, bands, 32, 32)) for bands in (1, 3)),
    ],
)
def test_every_parameter_leaves_its_start(make, shape):
    # The last layer ignores most maps at first, so the layers before it move one step later.
    network = build(make)
    for _ in range(2):
        network.zero_grad()
        network(torch.rand(shape)).square().mean().backward()
        with torch.no_grad():
            for name, p in network.named_parameters():
                if not unmet(name, shape):
                    p -= 0.1 * p.grad
    for name, p in network.named_parameters():
        if unmet(name, shape):
            assert p.grad is None
            continue
        per_output = p.grad.flatten(1).abs().amax(dim=1) if p.ndim > 1 else p.grad.abs()
        assert (per_output > 0).float().mean() > 0.5, name


def test_srcnn_initialisations():
    last = build(lambda: SRCNN(init="kaiming")).reconstruct.weight
    assert last.std().item() == pytest.approx(0.1 * (2 / (25 * 32)) ** 0.5, rel=0.1)
    network = build(lambda: SRCNN(init="paper"))
    weights = torch.cat([p.flatten() for n, p in network.named_parameters() if "weight" in n])
    assert weights.std().item() == pytest.approx(0.001, rel=0.05)
    assert weights.mean().item() == pytest.approx(0, abs=5e-5)
    assert all((p == 0).all() for n, p in network.named_parameters() if "bias" in n)


# --- the ways training runs them


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: SRCNN(channels=(4, 3), init="kaiming"), (2, 1, 7, 12)),
        (lambda: EDSR(3, blocks=2, channels=8), (2, 3, 5, 7)),
        (lambda: DnCNN(4, channels=8, zero_last=False), (2, 1, 7, 12)),
        *((lambda: GRUNet(2, zero_last=False), (2, 2, bands, 19, 35)) for bands in (1, 3)),
    ],
)
def test_compiles_to_one_graph(make, shape):
    network, x = build(make).eval(), torch.rand(shape)
    torch._dynamo.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), network(x))


@pytest.mark.parametrize("bands", [1, 3])
def test_grunet_is_exported_with_dynamic_sizes(bands):
    network = build_random(lambda: GRUNet(2)).float().eval()
    sizes = {axis: torch.export.Dim.DYNAMIC for axis in (3, 4)}
    x = torch.rand(1, 2, bands, 33, 50)
    exported = torch.export.export(network, (x,), dynamic_shapes=(sizes,)).module()
    for height, width in ((33, 50), (64, 48), (17, 100)):
        x = torch.rand(1, 2, bands, height, width)
        with torch.no_grad():
            torch.testing.assert_close(exported(x), network(x))
