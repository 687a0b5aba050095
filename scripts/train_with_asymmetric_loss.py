"""Train a network of your own with the asymmetric loss: a few minutes on two CPU cores.

    python scripts/train_with_asymmetric_loss.py
    python scripts/train_with_asymmetric_loss.py --steps 2000 --sigma 50 --seeds 10

The network, the photographs (of scikit-image) and the loop stand for yours. The loss needs the
three lines marked (1), (2) and (3); to copy it without this repository, copy asyrepro/losses.py.

Of each seed both networks start from the same weights and see the same patches and the same noise.
The weights of the loss lie between 0.88 (white) and 1 (black): expect differences of hundredths of
a dB. One seed cannot show them, so several are trained, and the mean of their differences is
printed with its 95 % interval (Student's t over the seeds; these test images only).
"""

import argparse

import numpy as np
import torch
from scipy.stats import t
from torch import Tensor, nn

from asyrepro.data import catalogue
from asyrepro.losses import AsymmetricLoss  # (1)


class Denoiser(nn.Module):
    """Estimates the noise and subtracts it: (N, 3, H, W) -> (N, 3, H, W)."""

    def __init__(self, width: int = 24, depth: int = 3):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1)]
        for _ in range(depth):
            layers += [nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)]
        self.noise = nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(width, 3, 3, padding=1))

    def forward(self, noisy: Tensor) -> Tensor:
        return noisy - self.noise(noisy)


def train(criterion: nn.Module, images: list[Tensor], steps: int, sigma: float, seed: int):
    torch.manual_seed(seed)
    network = Denoiser()
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    for _ in range(steps):
        label = torch.stack([random_patch(images) for _ in range(8)])  # (N, C, H, W) in [0, 1]
        output = network(label + sigma * torch.randn_like(label))
        loss = criterion(output, label)  # (3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def random_patch(images: list[Tensor], size: int = 40) -> Tensor:
    image = images[int(torch.randint(len(images), ()))]
    top, left = (int(torch.randint(side - size + 1, ())) for side in image.shape[1:])
    return image[:, top : top + size, left : left + size]


@torch.no_grad()
def psnr(network: nn.Module, images: list[Tensor], sigma: float) -> list[float]:
    """PSNR in dB over all pixels of the images, over the dark ones and over the bright ones."""
    generator = torch.Generator().manual_seed(0)
    errors, greys = [], []
    for label in images:
        noisy = label + sigma * torch.randn(label.shape, generator=generator)
        errors.append(((network(noisy[None])[0] - label) ** 2).mean(0).flatten())
        greys.append(label.mean(0).flatten())
    error, grey = torch.cat(errors), torch.cat(greys)
    groups = (grey >= 0, grey < 0.25, grey > 0.75)
    return [float(-10 * torch.log10(error[group].mean())) for group in groups]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400, help="of each run (default: 400)")
    parser.add_argument("--sigma", type=float, default=25, help="noise in 8-bit grey levels")
    parser.add_argument("--seeds", type=int, default=6, help="how many (default: 6)")
    options = parser.parse_args()
    if options.steps < 1:
        parser.error(f"--steps is {options.steps}; a run needs at least one")
    if options.seeds < 2:
        parser.error(f"--seeds is {options.seeds}; one seed has no spread: give at least 2")
    sigma = options.sigma / 255
    training, test = (
        [image / 255 for image in data_set("bundled", mode="rgb").images]
        for data_set in (catalogue.training_set, catalogue.test_set)
    )
    criteria = {
        "MAE": nn.L1Loss(),
        "Asy_MAE": AsymmetricLoss(base="mae"),  # (2)
    }
    print(f"{'PSNR in dB':16}{'all':>8}{'dark':>8}{'bright':>8}")
    print(row("noisy", psnr(nn.Identity(), test, sigma)))
    found: dict[str, list] = {name: [] for name in criteria}
    for seed in range(options.seeds):
        for name, criterion in criteria.items():
            network = train(criterion, training, options.steps, sigma, seed)
            found[name].append(psnr(network, test, sigma))
            print(row(f"{name}, seed {seed}", found[name][-1]), flush=True)
    base, asymmetric = (np.array(values) for values in found.values())
    print(conclusion((asymmetric - base)[:, 0]))


def conclusion(changes: np.ndarray) -> str:
    """What paired differences in dB, one a seed, show."""
    mean, count = changes.mean(), len(changes)
    half = t.ppf(0.975, count - 1) * changes.std(ddof=1) / count**0.5
    interval = f"[{mean - half:+.3f}, {mean + half:+.3f}]"
    numbers = f"Asy_MAE - MAE: {mean:+.3f} dB, 95 % interval {interval}, {count} seeds from "
    numbers += f"{changes.min():+.3f} to {changes.max():+.3f}. "
    if abs(mean) <= half:
        return numbers + "No difference is shown: the interval includes zero."
    word = "better" if mean > 0 else "worse"
    return numbers + f"Asy_MAE is {word} here: the interval excludes zero."


def row(name: str, values: list[float]) -> str:
    return f"{name:16}" + "".join(f"{value:8.2f}" for value in values)


if __name__ == "__main__":
    main()
