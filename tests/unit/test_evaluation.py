"""Evaluation of any module on any test set."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import ROOT, door, refuses
from torch import nn

from asyrepro.data import bundled
from asyrepro.data.dataset import DataSet
from asyrepro.runs import evaluation, parts, results
from asyrepro.runs.evaluation import evaluate, evaluate_baseline, mean_psnr
from asyrepro.system.errors import ConfigError, DataError
from asyrepro.tasks import Denoising, SuperResolution


@dataclass
class Two:
    """A test set of two small images."""

    name: str = "set5"
    names: tuple = ("a", "b")

    @property
    def images(self):
        generator = torch.Generator().manual_seed(0)
        return [
            torch.randint(16, 236, (1, 36, 42), dtype=torch.uint8, generator=generator)
            for _ in self.names
        ]


class Shift(nn.Module):
    """Adds 0.1 to every pixel in evaluation mode, nonsense in training mode."""

    def forward(self, x):
        return x + (9.0 if self.training else 0.1)


def test_a_constant_error_of_a_tenth_is_20_db():
    rows = evaluate(Shift(), Two(), Denoising(0))
    assert [row["image"] for row in rows] == ["a", "b"]
    for row, image in zip(rows, Two().images, strict=True):
        assert row["psnr"] == pytest.approx(20, abs=1e-3)
        assert row["rmse"] == pytest.approx(0.1, rel=1e-4)
        rms = (image.double() / 255).square().mean().sqrt().item()
        assert row["nrmse"] == pytest.approx(0.1 / rms, rel=1e-4)
        assert "psnr_y" not in row


@pytest.mark.parametrize(
    ("weights", "gain"), [("table2/mse", 0.7), ("table3/mae", 0.8), ("table4/mse", 7.5)]
)
def test_stored_weights_restore_what_they_were_trained_for(weights, gain):
    path = ROOT / "results" / "paper-cpu" / "weights" / weights / "seed0.pt"
    network, task, _ = parts.load(path)
    images, _ = bundled.read_regions({"face": ("astronaut.png", 170, 40, 96, 96)}, task.mode)
    testset = DataSet("bundled", "a face", ["face"], images)
    [found], [before] = evaluate(network, testset, task), evaluate_baseline(testset, task)
    assert found["psnr"] > before["psnr"] + gain


def test_weights_of_several_runs_are_evaluated_together(tmp_path, capsys):
    weights, table = ROOT / "results" / "paper-cpu" / "weights", tmp_path / "rows.csv"

    def evaluated(pattern, *options):
        how = ["testset=bundled_validation", "device=cpu", f"output={table}", *options]
        status = door("evaluate", f"checkpoint={weights}/{pattern}", *how)
        return status, capsys.readouterr()

    status, said = evaluated("table2/*mse/seed*.pt")
    together = pd.read_csv(table)
    assert status == 0 and {*together["loss"]} == {"mse", "asy_mse", "bicubic"}
    assert said.out.count("mse") == 2
    assert evaluated("table2/asy_mse/seed0.pt")[0] == 0
    alone = pd.read_csv(table)
    for loss in ("asy_mse", "bicubic"):
        pd.testing.assert_frame_equal(
            *(rows[rows["loss"] == loss].reset_index(drop=True) for rows in (alone, together))
        )
    for pattern, *options in (["table[24]/mse/*.pt"], ["t*/none.pt"], ["table2/*/*.pt", "save=x"]):
        status, said = evaluated(pattern, *options)
        assert status == 2 and len(said.err.splitlines()) == 1


def test_the_identity_scores_as_the_baseline():
    for task in (Denoising(25), SuperResolution(3, "luma")):
        assert evaluate(nn.Identity(), Two(), task) == evaluate_baseline(Two(), task)


def test_the_baseline_of_a_network_that_upsamples_has_the_labels_size():
    task, sizes = SuperResolution(3, "luma", enlarged=False), []

    def keep(name, *images):
        sizes.extend(image.shape for image in images)

    evaluate(nn.Upsample(scale_factor=3), Two(), task, keep=keep)
    assert set(sizes) == {(1, 36, 42)}


def test_kairs_noise_reaches_networks_and_baseline():
    task = Denoising(25, noise="kair")
    noise = np.random.RandomState(0).normal(0, 25 / 255, (36, 42))
    expected = [np.sqrt(np.mean(noise**2))] * 2
    for rows in (
        evaluate(nn.Identity(), Two("set12"), task),
        evaluate_baseline(Two("set12"), task),
    ):
        assert [row["rmse"] for row in rows] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("network", [nn.AvgPool2d(2), nn.Conv2d(3, 3, 1), nn.Conv2d(1, 3, 1)])
def test_a_network_that_does_not_fit_the_images(network):
    with refuses(ConfigError, "'a'", "(1, 1, 36, 42)"):
        evaluate(network, Two(), Denoising(25))


def test_an_image_too_small_for_a_further_metric_is_refused_before_any_is_restored():
    class Small(Two):
        images = property(lambda self: [image[..., :12, :] for image in Two().images])

    task, restored = Denoising(0), []
    assert len(evaluate(nn.Identity(), Small(), task)) == 2
    with refuses(DataError, "'a'", "16 x 16"):
        evaluate(lambda x: restored.append(x), Small(), task, further=["haarpsi"])
    assert restored == []


def test_rows_of_denoising_name_their_test_noise(tmp_path):
    task, network = Denoising(25, noise="kair"), nn.Identity()
    made = [
        *evaluate(network, Two("set12"), task),
        *evaluate(network, Two("table4"), task),
        *evaluate(network, Two("set12"), Denoising(25)),
        *evaluate(network, Two(), SuperResolution(3, "luma")),
    ]
    about = {"model": "m", "dataset": "d", "loss": "mae", "seed": 0}
    path = tmp_path / "rows.csv"
    path.write_text(results.to_csv(about | row | {"table": k // 2} for k, row in enumerate(made)))
    read = results.read_rows(path)["protocol"]
    assert read.tolist() == ["kair"] * 2 + ["name"] * 4 + [""] * 2
    path.write_text(results.to_csv(about | row for row in made[-2:]))
    assert "protocol" not in path.read_text()


def test_literature_metrics_but_on_the_tables_images():
    task = SuperResolution(3, "luma")
    assert {"psnr_y", "ssim_y"} <= set(evaluate(nn.Identity(), Two(), task)[0])
    label = torch.full((1, 36, 42), 0.5)
    for line, inside in ((2, False), (3, True)):  # as many lines as the scale are cut
        restored = label.clone()
        restored[:, line] = 0.6
        found = evaluation.row("a", restored, label, task, "set5")
        assert (found["psnr_y"] < 99) == inside
    assert {"psnr_y", "ssim_y"} <= set(evaluate(nn.Identity(), Two("Urban100"), task)[0])
    assert "psnr_y" not in evaluate(nn.Identity(), Two("table2"), task)[0]


def test_mean_psnr_is_the_mean_of_the_images_psnr():
    pairs = [(torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), error)) for error in (0.1, 0.01)]
    assert mean_psnr(nn.Identity(), pairs) == pytest.approx(30)
