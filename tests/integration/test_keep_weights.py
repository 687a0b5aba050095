"""scripts/keep_weights.py: weights that are small enough to commit, and what reads them."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skimage
import torch
from PIL import Image

from asyrepro.commands import evaluate, restore, verify
from asyrepro.data import catalogue
from asyrepro.report import study as studies
from asyrepro.runs import config, parts, provenance, results
from asyrepro.runs.execution import carry_out
from asyrepro.runs.resolve import resolve
from asyrepro.runs.run import Run
from asyrepro.training import checkpoint

SCRIPT = Path(__file__).parents[2] / "scripts" / "keep_weights.py"
TINY = [
    "profile=smoke", "dataset=bundled", "testset=bundled_validation", "recipe.steps=2",
    "recipe.batch=1", "recipe.validate_every=0", "table=null", "runtime.progress=false",
    "runtime.device=cpu", "runtime.download=false", "study=two", "benchmarks=[bundled]",
]  # fmt: skip
CELLS = {
    "table2/mae/seed0": [
        "experiment=table2_srcnn", "loss=mae", "model.network.kernels=[3,1,3]",
        "model.network.channels=[4,2]", "recipe.optimizer.lr=1e-5",
    ],
    "table4/mse/seed0": [
        "experiment=table4_dncnn", "loss=mse", "model.network.layers=3", "model.network.channels=4",
        "recipe.optimizer.lr=1e-4",
    ],
}  # fmt: skip
SR, DENOISER = CELLS


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A study of two networks, one with batch normalisation, each tested on three small images."""
    validation = {
        "tripod": ("camera.png", 272, 288, 48, 48),
        "grass": ("grass.png", 160, 160, 40, 40),
    }
    root = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue.bundled, "TRAINING", {"coat": ("camera.png", 0, 272, 64, 64)})
        patch.setitem(catalogue.BUNDLED_TESTS, "bundled_validation", validation)
        patch.setitem(catalogue.BUNDLED_TESTS, "bundled", {"turf": ("grass.png", 0, 0, 40, 40)})
        for settings in CELLS.values():
            cfg = resolve(config.compose([*TINY, *settings]))
            carry_out(cfg, Run(root / "two" / cfg.cell / cfg.loss.name / f"seed{cfg.seed}"))
        results.collect(root / "two")
        provenance.collect(root / "two")
        yield root / "two"


@pytest.fixture
def study(made, tmp_path):
    """A copy of it, for a test of its own."""
    return shutil.copytree(made, tmp_path / "two")


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("keep_weights", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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


def test_a_clone_can_evaluate_restore_and_verify(study, script, tmp_path, capsys):
    assert script.main([str(study)]) == 0
    lines = capsys.readouterr().out.splitlines()
    clone = cloned(study, tmp_path / "clone")
    for name, line in zip(CELLS, lines[:2], strict=True):
        kept = clone / "weights" / f"{name}.pt"
        assert line.startswith(f"{study / 'weights' / name}.pt: {kept.stat().st_size / 1e3:.0f} kB")
        assert "half precision, PSNR changes by at most 0.000" in line
    size = sum(path.stat().st_size for path in (clone / "weights").rglob("*.pt"))
    assert lines[2:] == [f"2 runs stored; {study / 'weights'} has {size / 1e6:.2f} MB"]

    photo = str(tmp_path / "photo.png")
    Image.fromarray(skimage.data.camera()[100:148, 200:252]).save(photo)
    for name in CELLS:
        kept = f"checkpoint={clone / 'weights' / name}.pt"
        table = ["testset=bundled_validation", f"output={tmp_path / 'rows.csv'}"]
        assert evaluate.main([kept, *table, "device=cpu"]) == 0
        again = pd.read_csv(tmp_path / "rows.csv").dropna(subset="seed").set_index("image")
        before = pd.read_csv(study / name / "rows.csv").set_index("image")
        assert len(again) == 2 and (again["psnr"] - before["psnr"]).abs().max() < 0.001

        restored = []
        for weights in (kept, f"checkpoint={study / name / 'weights.pt'}"):
            target = tmp_path / f"{len(restored)}_{Path(name).parts[0]}.png"
            assert restore.main([photo, weights, f"output={target}", "device=cpu"]) == 0
            restored.append(np.asarray(Image.open(target), dtype=int))
        assert abs(restored[0] - restored[1]).max() <= 1
    capsys.readouterr()
    assert verify.main([str(clone), "device=cpu"]) == 0
    told = capsys.readouterr().out
    assert "2 runs, 2 evaluated again" in told and told.count(", weights\n") == 2


def test_figures_are_made_from_kept_weights(study, script, tmp_path, monkeypatch):
    assert script.main([str(study)]) == 0
    clone = cloned(study, tmp_path / "clone")
    images = catalogue.test_set("bundled_validation", mode="grey")
    monkeypatch.setattr(studies, "_test_set", lambda *_: images)
    for ours, theirs in zip(*(_trio(folder) for folder in (study, clone)), strict=True):
        assert ours.shape == theirs.shape == (40, 40)
        np.testing.assert_allclose(ours, theirs, atol=1e-3)
    shutil.rmtree(clone / "weights")
    assert _trio(clone) is None


def _trio(folder):
    return studies.Restorer(folder)(DENOISER.split("/")[0], "mse", 0, "grass")


def test_half_precision_is_that_of_the_file_not_of_the_network(study, script):
    assert script.main([str(study), "table4"]) == 0
    assert not (study / "weights" / f"{SR}.pt").exists()
    path = study / "weights" / f"{DENOISER}.pt"
    kept = checkpoint.load(path)["network"]
    counts = [name for name in kept if name.endswith("num_batches_tracked")]
    assert counts and all(kept[name].dtype == torch.int64 for name in counts)
    assert all(kept[name].dtype == torch.float16 for name in kept.keys() - set(counts))
    whole = checkpoint.load(study / DENOISER / "weights.pt")["network"]
    assert any(name.endswith("running_var") for name in whole)
    for name, tensor in parts.load(path)[0].state_dict().items():
        assert tensor.dtype == whole[name].dtype
        assert torch.equal(tensor, whole[name].to(kept[name].dtype).to(whole[name].dtype))


@pytest.mark.parametrize("factor", [2**13, 2**17], ids=["too_small", "too_large"])
def test_weights_that_half_precision_would_change_stay_float32(
    study, script, tmp_path, capsys, factor
):
    weights = rescaled(study, factor)
    halves = provenance.halved(weights)
    assert all(v.isfinite().all() for v in halves.values()) == (factor == 2**13)
    assert script.main([str(study), "table2"]) == 0
    assert "float32, PSNR changes by at most 0.000000 dB" in capsys.readouterr().out
    kept = checkpoint.load(study / "weights" / f"{SR}.pt")["network"]
    assert checkpoint.digest(kept) == checkpoint.digest(weights)


def test_storing_twice_gives_the_same_bytes_and_is_counted_once(study, script, monkeypatch):
    assert script.main([str(study)]) == 0
    before = {path: path.read_bytes() for path in study.rglob("weights/**/*.pt")}
    monkeypatch.setattr(script, "LIMIT", sum(map(len, before.values())))
    assert script.main([str(study), "table2/*/seed0"]) == 0
    assert script.main([str(study)]) == 0
    assert len(before) == 2 and all(path.read_bytes() == old for path, old in before.items())


# ------------------------------------------------------------------------------ what is refused


def no_study(study, **_):
    shutil.rmtree(study)
    return [], "two is no study with finished runs"


def not_a_study(study, **_):
    for path in study.rglob("rows.csv"):
        path.unlink()
    return [], "two is no study with finished runs"


def no_such_cell(study, **_):
    return ["table2", "table9"], "has no finished run that is called 'table9'; it has table2/mae/"


def unfinished_cell(study, **_):
    (study / DENOISER / "rows.csv").unlink()
    return ["table4"], "has no finished run that is called 'table4'"


def weights_elsewhere(study, **_):
    (study / DENOISER / "weights.pt").unlink()
    return [], "table4/mse/seed0 has no weights.pt here"


def weights_of_other_rows(study, **_):
    state = checkpoint.load(study / SR / "weights.pt")
    state["network"]["reconstruct.bias"] += 0.01
    checkpoint.save(study / SR / "weights.pt", state)
    return [], "does not give the metrics in its rows.csv"


def another_row_of_the_benchmark(study, **_):
    path = study / SR / "rows.csv"
    rows = pd.read_csv(path)
    rows.loc[rows["testset"] == "bundled", "psnr"] += 0.002
    rows.to_csv(path, index=False)
    return [], "does not give the metrics in its rows.csv"


def too_large(study, script, monkeypatch, **_):
    monkeypatch.setattr(script, "LIMIT", 7_000)  # one of the two, but not both
    return [], "would come to more than 0.007 MB with table4/mse/seed0, run 2 of 2"


def no_test_images(study, monkeypatch, tmp_path, **_):
    path = study / DENOISER / "rows.csv"
    path.write_text(path.read_text().replace("bundled_validation", "set14"))
    monkeypatch.delenv("ASYREPRO_DATA", raising=False)
    monkeypatch.setattr("asyrepro.data.sources.home", lambda: tmp_path / "data")
    return [], "set14"


@pytest.mark.parametrize(
    "wrong",
    [
        no_study, not_a_study, no_such_cell, unfinished_cell, weights_elsewhere,
        weights_of_other_rows, another_row_of_the_benchmark, too_large, no_test_images,
    ],
)  # fmt: skip
def test_what_cannot_be_stored_is_refused_and_nothing_written(
    study, script, monkeypatch, tmp_path, capsys, wrong
):
    names, words = wrong(study, script=script, monkeypatch=monkeypatch, tmp_path=tmp_path)
    assert script.main([str(study), *names]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ") and words in said.err and not said.out
    assert said.err.count("\n") == 1
    assert not (study / "weights").exists()


def test_weights_that_are_kept_already_count(study, script, monkeypatch, capsys):
    assert script.main([str(study), "table2"]) == 0
    before = (study / "weights" / f"{SR}.pt").stat().st_size
    monkeypatch.setattr(script, "LIMIT", before + 1000)
    assert script.main([str(study), "table4"]) == 2
    assert "with table4/mse/seed0, run 1 of 1" in capsys.readouterr().err
    assert not (study / "weights" / f"{DENOISER}.pt").exists()
