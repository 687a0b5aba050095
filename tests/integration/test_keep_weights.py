"""scripts/keep_weights.py: weights that are small enough to commit, and what reads them."""

import shutil

import keep_weights
import numpy as np
import pandas as pd
import pytest
import skimage
import torch
from helpers import DNCNN, call, train
from PIL import Image

from asyrepro.report import study as studies
from asyrepro.runs import parts, provenance
from asyrepro.training import checkpoint

SR, DENOISER = "table2/mae/seed0", "table4/mse/seed0"


def kept(study, name):
    return study / "weights" / f"{name}.pt"


def cloned(study, target):
    """What somebody gets who clones the repository: see .gitignore."""
    shutil.copytree(study, target, ignore=shutil.ignore_patterns("*.pt", ".lock", "profiles.csv"))
    shutil.copytree(study / "weights", target / "weights", dirs_exist_ok=True)
    return target


def rescaled(study, factor):
    """The SRCNN with weights of other sizes, whose output is the same to the last bit.

    ReLU lets a positive factor through, and powers of two are exact in float32.
    """
    path = study / SR / "weights.pt"
    state = checkpoint.load(path)
    weights = state["network"]
    for name in ("extract.weight", "extract.bias"):
        weights[name] /= factor**2
    weights["map.weight"] *= factor
    weights["map.bias"] /= factor
    weights["reconstruct.weight"] *= factor
    checkpoint.save(path, state)
    return weights


# ------------------------------------------------------------------------------ what is stored


def test_a_clone_can_evaluate_restore_and_verify(tiny, tmp_path, capsys):
    assert keep_weights.main([str(tiny)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    clone = cloned(tiny, tmp_path / "clone")
    size = sum(path.stat().st_size for path in (clone / "weights").rglob("*.pt"))
    assert last.startswith("4 runs") and f"{size / 1e6:.2f} MB" in last

    photo, table = tmp_path / "photo.png", tmp_path / "rows.csv"
    Image.fromarray(skimage.data.camera()[100:148, 200:252]).save(photo)
    for name in (SR, DENOISER):
        weights = f"checkpoint={kept(clone, name)}"
        said = call("evaluate", weights, "testset=bundled", f"output={table}", "device=cpu")
        assert said.status == 0, said.err
        again = pd.read_csv(table).dropna(subset="seed").set_index("image")
        before = pd.read_csv(tiny / name / "rows.csv").set_index("image")
        assert len(again) == 2 and (again["psnr"] - before["psnr"]).abs().max() < 0.001

        restored = []
        for path in (kept(clone, name), tiny / name / "weights.pt"):
            target = tmp_path / "restored.png"
            target.unlink(missing_ok=True)
            said = call("restore", photo, f"checkpoint={path}", f"output={target}", "device=cpu")
            assert said.status == 0, said.err
            restored.append(np.asarray(Image.open(target), dtype=int))
        assert abs(restored[0] - restored[1]).max() <= 1
    said = call("verify", clone, "device=cpu")
    assert said.status == 0 and "4 runs, 4 evaluated again" in said.out


def test_figures_are_made_from_kept_weights(tiny, tmp_path):
    def trio(folder):
        return studies.Restorer(folder)(DENOISER.split("/")[0], "mse", 0, "grass")

    assert keep_weights.main([str(tiny)]) == 0
    clone = cloned(tiny, tmp_path / "clone")
    for ours, theirs in zip(*map(trio, (tiny, clone)), strict=True):
        assert ours.shape == theirs.shape == (130, 132)
        np.testing.assert_allclose(ours, theirs, atol=1e-3)
    shutil.rmtree(clone / "weights")
    assert trio(clone) is None


@pytest.fixture
def scans(tmp_path, monkeypatch):
    """A study of a denoiser tested on a folder of 12-bit scans, under KAIR's test noise."""
    random = np.random.default_rng(0)
    for name in ("train/0", "scans/a", "scans/b"):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 4096, (64, 72), np.uint16)).save(path)
    monkeypatch.setattr("asyrepro.tasks.KAIR_SETS", ("scans",))
    data = ["dataset=folder", f"dataset.name={tmp_path}/train", "dataset.white=4095"]
    mine = ["row=mine", "table=null", f"testset={tmp_path}/scans", "metrics=[haarpsi]"]
    train(tmp_path, *DNCNN, "loss=mse", *data, *mine, folder=tmp_path / "own/mine/mse/seed0")
    return tmp_path / "own"


def test_images_are_read_and_degraded_again_as_they_were_evaluated(scans, capsys):
    rows = pd.read_csv(scans / "mine/mse/seed0/rows.csv").set_index("image")
    assert set(rows["protocol"]) == {"kair"}
    for image in ("a", "b"):
        _, output, label = studies.Restorer(scans)("mine", "mse", 0, image)
        psnr = skimage.metrics.peak_signal_noise_ratio(label, output, data_range=1)
        assert psnr == pytest.approx(rows.loc[image, "psnr"], abs=1e-5)
    studies.build(scans, log=lambda _: None)
    assert len(list((scans / "crops").glob("mine_*.png"))) == 2 * 3

    assert keep_weights.main([str(scans)]) == 0
    rows.assign(haarpsi=rows["haarpsi"] + 0.01).to_csv(scans / "mine/mse/seed0/rows.csv")
    assert keep_weights.main([str(scans)]) == 2
    assert "weights.pt" in capsys.readouterr().err


def test_an_output_that_was_not_evaluated_is_not_shown(scans):
    for path in (scans.parent / "scans").iterdir():
        Image.fromarray(4095 - np.asarray(Image.open(path))).save(path)
    studies.build(scans, log=lambda _: None)
    assert not (scans / "crops").exists()


def test_half_precision_is_that_of_the_file_not_of_the_network(tiny):
    assert keep_weights.main([str(tiny), "table4"]) == 0
    assert not kept(tiny, SR).exists()
    half = checkpoint.load(kept(tiny, DENOISER))["network"]
    counts = [name for name in half if name.endswith("num_batches_tracked")]
    assert counts and all(half[name].dtype == torch.int64 for name in counts)
    assert all(half[name].dtype == torch.float16 for name in half.keys() - set(counts))
    whole = checkpoint.load(tiny / DENOISER / "weights.pt")["network"]
    assert any(name.endswith("running_var") for name in whole)
    for name, tensor in parts.load(kept(tiny, DENOISER))[0].state_dict().items():
        assert tensor.dtype == whole[name].dtype
        assert torch.equal(tensor, whole[name].to(half[name].dtype).to(whole[name].dtype))


@pytest.mark.parametrize("factor", [2**13, 2**17], ids=["too_small", "too_large"])
def test_weights_that_half_precision_would_change_stay_float32(tiny, factor):
    weights = rescaled(tiny, factor)
    halves = provenance.halved(weights)
    assert all(v.isfinite().all() for v in halves.values()) == (factor == 2**13)
    assert keep_weights.main([str(tiny), "table2"]) == 0
    stored = checkpoint.load(kept(tiny, SR))["network"]
    assert checkpoint.digest(stored) == checkpoint.digest(weights)


def test_storing_twice_gives_the_same_bytes_and_is_counted_once(tiny, monkeypatch):
    assert keep_weights.main([str(tiny)]) == 0
    before = {path: path.read_bytes() for path in tiny.rglob("weights/**/*.pt")}
    monkeypatch.setattr(keep_weights, "LIMIT", sum(map(len, before.values())))
    assert keep_weights.main([str(tiny), "table2/*/seed0"]) == 0
    assert keep_weights.main([str(tiny)]) == 0
    assert len(before) == 4 and all(path.read_bytes() == old for path, old in before.items())


# ------------------------------------------------------------------------------ what is refused


def not_a_study(study, **_):
    for path in study.rglob("rows.csv"):
        path.unlink()
    return [], "tiny"


def no_such_run(study, **_):
    return ["table2", "table9"], "'table9'"


def unfinished_run(study, **_):
    (study / DENOISER / "rows.csv").unlink()
    return ["table4"], "'table4'"


def weights_elsewhere(study, **_):
    (study / DENOISER / "weights.pt").unlink()
    return [], f"{DENOISER} has no weights.pt"


def weights_of_other_rows(study, **_):
    state = checkpoint.load(study / SR / "weights.pt")
    state["network"]["reconstruct.bias"] += 0.01
    checkpoint.save(study / SR / "weights.pt", state)
    return [], f"{SR}/weights.pt"


def another_row(study, **_):
    path = study / SR / "rows.csv"
    rows = pd.read_csv(path)
    rows.loc[rows["image"] == "grass", "psnr"] += 0.002
    rows.to_csv(path, index=False)
    return [], f"{SR}/weights.pt"


def too_large(study, monkeypatch, **_):
    one = (study / SR / "weights.pt").stat().st_size
    monkeypatch.setattr(keep_weights, "LIMIT", one)  # enough for one of the two, but not for both
    return [SR, DENOISER], DENOISER


def no_test_images(study, monkeypatch, tmp_path, **_):
    path = study / DENOISER / "rows.csv"
    pd.read_csv(path).assign(testset="set14").to_csv(path, index=False)
    monkeypatch.delenv("ASYREPRO_DATA", raising=False)
    monkeypatch.setattr("asyrepro.data.sources.home", lambda: tmp_path / "data")
    return [], "set14"


@pytest.mark.parametrize(
    "wrong",
    [
        not_a_study, no_such_run, unfinished_run, weights_elsewhere,
        weights_of_other_rows, another_row, too_large, no_test_images,
    ],
)  # fmt: skip
def test_what_cannot_be_stored_is_refused_and_nothing_written(
    tiny, monkeypatch, tmp_path, capsys, wrong
):
    names, words = wrong(tiny, monkeypatch=monkeypatch, tmp_path=tmp_path)
    assert keep_weights.main([str(tiny), *names]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ") and words in said.err and not said.out
    assert said.err.count("\n") == 1
    assert not (tiny / "weights").exists()
