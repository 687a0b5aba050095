"""Folders of images of one's own as training and test sets."""

import hashlib
import math
import os

import numpy as np
import pytest
import torch
from helpers import assert_refused, call, refuses
from PIL import Image
from torch import nn

from asyrepro.data import catalogue
from asyrepro.data.sampler import PatchSampler
from asyrepro.runs import checks, config, evaluation, execution, parts, results
from asyrepro.runs.execution import carry_out
from asyrepro.runs.resolve import resolve, resolved
from asyrepro.runs.run import Run
from asyrepro.system import files
from asyrepro.system.errors import CheckpointError, ConfigError, DataError
from asyrepro.tasks import Pairs, SuperResolution
from asyrepro.training import checkpoint


def picture(path, seed=0, size=(48, 40)):
    """A smooth RGB picture, which JPEG and networks take well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(path)


@pytest.fixture
def photos(tmp_path):
    """Two folders: three pictures to train on, two to test on."""
    for i in range(3):
        picture(tmp_path / "photos" / "train" / f"{i}.png", i)
    for i, name in enumerate(("b.png", "a.bmp")):
        picture(tmp_path / "photos" / "Urban2" / name, 10 + i, (60, 48))
    return tmp_path / "photos"


def asked(*overrides):
    always = ["profile=smoke", "runtime.progress=false", "runtime.device=cpu", "study=own"]
    return config.compose([*always, *overrides])


def on(photos, *overrides):
    """A run trained on the first of the two folders."""
    always = ["model=srcnn", "dataset=folder", f"dataset.name={photos / 'train'}"]
    always += ["recipe.patch=24", "recipe.validate_every=0", "runtime.download=false"]
    return resolve(asked(*always, *overrides))


def test_all_images_of_a_folder_in_the_order_of_their_names(photos):
    folder = photos / "Urban2"
    picture(folder / "a.png", 3)
    (folder / "notes.txt").write_text("not an image")
    picture(folder / ".hidden.png")
    found = catalogue.test_set(f"{folder}/", mode="rgb")
    assert (found.name, found.title) == ("Urban2", "Urban2 (3 images)")
    assert found.names == ["a.bmp", "a.png", "b"]  # the ending where it is needed
    for name, image in zip(("a.bmp", "a.png", "b.png"), found.images, strict=True):
        pixels = np.asarray(Image.open(folder / name))
        assert (image.permute(1, 2, 0).numpy() == pixels).all()
    assert catalogue.training_set(str(folder), mode="grey").images[0].shape == (1, 48, 60)
    lines = [
        f"{name}\0{hashlib.sha256((folder / name).read_bytes()).hexdigest()}\n"
        for name in ("a.bmp", "a.png", "b.png")
    ]
    assert found.fingerprint == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert catalogue.fingerprint("test", str(folder)) == found.fingerprint


def test_what_is_left_out_of_a_folder_and_its_images_is_said_once(tmp_path, capsys):
    """Files of other kinds, images in folders inside, pages and a range that is not used."""
    folder = tmp_path / "mine"
    picture(folder / "inner" / "c.png")
    picture(folder / "a.jpg")
    (folder / "a.jpg").rename(folder / "a.jfif")
    (folder / "b.heic").touch()
    frames = [Image.new("L", (48, 40), value) for value in (90, 120, 200)]
    frames[0].save(folder / "pages.tif", save_all=True, append_images=frames[1:])
    Image.fromarray(np.full((40, 48), 4000, np.uint16)).save(folder / "twelve.png")
    found = catalogue.test_set(f"{folder}/", mode="grey")
    assert found.names == ["a", "pages", "twelve"]
    notes = capsys.readouterr().err.splitlines()
    assert len(notes) == 3 and all("mine" in note for note in notes)
    for part in ("1 .heic", "1 image in", "pages.tif", "first of 3", "twelve.png", "4095 of 65535"):
        assert sum(part in note for note in notes) == 1
    catalogue.training_set(f"{folder}/", mode="grey")
    assert capsys.readouterr().err == ""
    with refuses(DataError, "white=4095"):  # which the files of 8 bits cannot have
        catalogue.test_set(f"{folder}/", mode="grey", white=4095)
    (tmp_path / "deep").mkdir()
    (folder / "twelve.png").rename(tmp_path / "deep" / "twelve.png")
    [image] = catalogue.test_set(f"{tmp_path}/deep", mode="grey", white=4095).images
    assert image.unique().tolist() == [round(4000 / 4095 * 255)]


def test_images_in_inner_folders_alone_are_named(tmp_path):
    picture(tmp_path / "outer" / "inner" / "a.png")
    with refuses(DataError, "outer", "inner"):
        catalogue.training_set(f"{tmp_path}/outer", mode="rgb")


def test_a_name_that_no_table_can_hold_is_refused_before_the_training(photos, tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    picture(photos / "Urban2" / name, 3)
    with refuses(DataError, r"caf\udce9.png'", "UTF-8"):
        resolve(asked("model=srcnn", f"testset={photos / 'Urban2'}"))
    # Where names do not matter it is taken as it is.
    table = tmp_path / "table.md"
    folder = str(photos / "Urban2")
    assert call("compare", folder, folder, "images=true", f"output={table}").status == 0
    assert r"caf\udce9" in table.read_text()


def test_a_path_is_taken_from_here_or_from_home(photos, monkeypatch):
    monkeypatch.chdir(photos)
    monkeypatch.setenv("HOME", str(photos))
    for name in ("./train", "train/", "~/train", "Urban2/../train"):  # ~ as evaluate has it
        assert catalogue.short(name) == "train"
        assert len(catalogue.training_set(name, mode="luma")) == 3


def test_a_folder_may_not_pass_for_a_published_set(photos):
    picture(photos / "set5" / "x.png")
    os.symlink(photos / "set5", photos / "five")
    with refuses(ConfigError, "'set5'"):
        catalogue.test_set(str(photos / "set5"), mode="rgb")
    assert catalogue.test_set(str(photos / "five"), mode="rgb").name == "five"
    with refuses(ConfigError, "x/a", "y/a/", "'a'"):
        catalogue.check_names("bsd300", ["x/a", "y/a/"])
    catalogue.check_names("x/a", ["x/a", "./x/a/", "set5"])


@pytest.mark.parametrize(
    ("overrides", "error", "names"),
    [
        (["dataset=folder"], ConfigError, ["dataset=folder", "dataset.name="]),
        (["dataset=folder", "dataset.name=mine"], ConfigError, ["mine"]),
        (["dataset=folder", "dataset.name=no/such"], DataError, ["no/such"]),
        (["testset=no/such"], DataError, ["no/such"]),
        (["validation=no/such"], DataError, ["no/such"]),
        (["benchmarks=[no/such]"], DataError, ["no/such"]),
        (["benchmarks=[../tests/]"], DataError, ["tests"]),
        ([f"testset=./{'x' * 300}"], DataError, ["xxx"]),
        (["testset='~nobody-here/x'"], DataError, ["nobody-here/x"]),
    ],
)
def test_what_is_not_there_is_said_before_anything_is_done(
    tmp_path, monkeypatch, overrides, error, names
):
    (tmp_path / "tests").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with refuses(error, *names):  # with fallback, too, nothing stands in
        resolve(asked("fallback=true", *overrides))


def test_a_run_on_folders_and_its_verification(photos, tmp_path):
    tests = photos / "Urban2"
    study = tmp_path / "results" / "own"
    run = Run(study / "srcnn" / "mae" / "seed0")
    sets = [f"testset={tests}", f"benchmarks=[{tests}]", f"validation={tests}"]
    cfg = on(photos, *sets, "table=2")
    rows = carry_out(cfg, run)[0]
    assert [row["image"] for row in rows] == ["a", "b"]
    assert {(row["dataset"], row["testset"]) for row in rows} == {("train", "Urban2")}
    assert all(10 < row["psnr_y"] < 100 for row in rows)  # as on Set5 and Set14
    assert [path.name for path in study.glob("baselines/*")] == ["srcnn_Urban2.csv"]
    results.collect(study)
    check = ["verify", study, "device=cpu"]
    said = call(*check)
    assert said.status == 0 and "not here" not in said.out
    output = tmp_path / "again.csv"
    arguments = ["evaluate", f"checkpoint={run.weights}", f"testset={tests}"]
    assert call(*arguments, "device=cpu", f"output={output}").status == 0
    again = files.read_csv(output)
    assert [row["psnr_y"] for row in again[:2]] == [f"{row['psnr_y']:.7f}" for row in rows]
    picture(tests / "a.bmp", 99, (60, 48))
    assert call(*check).status == 1
    tests.rename(photos / "elsewhere")
    said = call(*check)
    assert said.status == 0 and "Urban2" in said.out
    assert_refused(call(*arguments), "Urban2")
    tests.mkdir()  # empty: not here either
    assert call(*check).status == 0
    assert carry_out(resolved(cfg, run), run)[1]  # what is finished needs no images


@pytest.mark.parametrize(("asked_for", "level"), [("task.sigma=50", 50), ("task.noise=name", 25)])
def test_a_blind_denoiser_is_tested_at_the_level_that_is_asked_for(
    photos, tmp_path, asked_for, level
):
    options = ["model=dncnn", "model.network.layers=2", "model.network.channels=1"]
    cfg = asked(*options, "task=blind_denoising", "dataset=bundled")
    state = {"network": parts.build(cfg, "cpu")[0].state_dict(), "config": config.to_yaml(cfg)}
    checkpoint.save(tmp_path / "blind.pt", state)
    output = tmp_path / "rows.csv"
    common = [f"checkpoint={tmp_path}/blind.pt", f"testset={photos}/Urban2", "device=cpu"]
    said = call("evaluate", *common, asked_for, f"output={output}")
    assert said.status == 0, said.err
    rows = files.read_csv(output)
    assert {row["variant"] for row in rows} == {asked_for} and asked_for in said.out
    noisy = [float(row["psnr"]) for row in rows if row["loss"] == "noisy"]
    assert noisy == pytest.approx([20 * math.log10(255 / level)] * 2, abs=0.3)


@pytest.mark.parametrize(("name", "seen"), [("train/", True), ("Urban2", False)])
def test_a_folder_that_is_trained_on_and_scored_is_named(photos, capsys, name, seen):
    cfg = on(photos, f"validation={photos}/{name}")
    checks.check_tests(cfg, Run.of(asked()), *parts.build(cfg, "cpu"))
    assert ("train" in capsys.readouterr().err) == seen


def test_without_the_validation_images_it_says_what_else_there_is(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("ASYREPRO_DATA", str(tmp_path / "empty"))
    overrides = ["recipe.validate_every=1", "recipe.steps=2", f"runtime.data={tmp_path}"]
    run = Run(tmp_path / "c" / "mae" / "s")
    with refuses(DataError, "validation=", "recipe.validate_every=0"):
        carry_out(on(photos, *overrides), run)
    assert not run.checkpoint.exists()
    run = Run(tmp_path / "d" / "mae" / "s")
    carry_out(on(photos, *overrides, f"validation={photos / 'Urban2'}"), run)
    assert float(run.file("history.csv").read_text().splitlines()[-1].split(",")[3]) > 0


def test_images_that_change_while_a_training_is_interrupted_end_it(photos, tmp_path, monkeypatch):
    cfg, run = on(photos, "recipe.steps=3"), Run(tmp_path / "c" / "mae" / "s")

    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(execution.Job, "finish", stopped)
        with pytest.raises(KeyboardInterrupt):
            carry_out(cfg, run)
    assert run.checkpoint.is_file()
    before = (photos / "train" / "1.png").read_bytes()
    picture(photos / "train" / "1.png", 77)
    with refuses(CheckpointError, run.checkpoint):
        carry_out(cfg, run)
    (photos / "train" / "1.png").write_bytes(before)
    carry_out(cfg, run)


@pytest.mark.parametrize("changed", ["train/1.png", "Urban2/b.png"])
def test_losses_of_one_row_are_compared_on_the_same_images(photos, tmp_path, changed):
    mae, mse, asy = (
        on(photos, f"testset={photos / 'Urban2'}", f"loss={loss}")
        for loss in ("mae", "mse", "asy_mae")
    )
    row, run = tmp_path / "s" / "srcnn", Run(tmp_path / "s" / "srcnn" / "asy_mae" / "seed0")
    carry_out(mae, Run(row / "mae" / "seed0"))
    carry_out(mse, Run(row / "mse" / "seed0"))
    picture(photos / changed, 77, Image.open(photos / changed).size)
    with refuses(DataError, "srcnn/mae/seed0"):
        carry_out(asy, run)
    # ... but another row may have them; and where no run is left, the baseline is made anew.
    baseline = tmp_path / "s" / "baselines" / "srcnn_Urban2.csv"
    before = baseline.read_text()
    carry_out(asy, Run(tmp_path / "s" / "srcnn,task.scale=3" / "asy_mae" / "seed0"))
    assert baseline.read_text() == before
    for loss in ("mae", "mse"):
        (row / loss).rename(tmp_path / loss)
    carry_out(asy, run)
    assert (baseline.read_text() != before) == changed.startswith("Urban2")


def test_a_folder_among_the_benchmarks_is_tested_once_however_often_it_is_named(photos, tmp_path):
    tests = photos / "Urban2"
    for number, sets in enumerate(
        ([f"benchmarks=[{tests}]"], [f"testset={tests}", f"benchmarks=[{tests},{tests}/]"])
    ):
        rows, _ = carry_out(on(photos, *sets), Run(tmp_path / str(number) / "mae" / "s"))
        assert [row["testset"] for row in rows] == ["Urban2"] * 2


@pytest.mark.parametrize("content", [b"no image", None])
def test_test_images_are_looked_at_before_the_training(photos, tmp_path, content):
    bad, run = photos / "Urban2" / "bad.png", Run(tmp_path / "c" / "mae" / "s")
    bad.write_bytes(content) if content else picture(bad, size=(40, 9))
    with refuses(DataError, "bad"):
        carry_out(on(photos, f"benchmarks=[{photos / 'Urban2'}]"), run)
    assert not run.checkpoint.exists() and not run.file("history.csv").exists()


@pytest.mark.parametrize(("side", "least"), [(6, "7 x 7"), (15, "17 x 17")])
def test_too_small_an_image_is_named_before_any_is_restored(photos, side, least):
    class Never(nn.Module):
        def forward(self, x):
            raise AssertionError("an image was restored")

    picture(photos / "Urban2" / "tiny.png", size=(42, side))
    testset = catalogue.test_set(str(photos / "Urban2"), mode="luma")
    with refuses(DataError, "'tiny'", f"{side} x 42", least):
        evaluation.evaluate(Never(), testset, SuperResolution(2 if side == 6 else 3, "luma"))


# ------------------------------------------------------------------------------------ real pairs


def pair(folder, name, scale=1, seed=0, size=(48, 40)):
    """A clean picture, and below the same name one that is half as bright, 1/scale as large."""
    picture(folder / "clean" / name, seed, size)
    small = (size[0] // scale, size[1] // scale)
    with Image.open(folder / "clean" / name) as clean:
        degraded = clean.resize(small, Image.Resampling.BOX).point(lambda value: value // 2)
    (folder / "degraded").mkdir(exist_ok=True)
    degraded.save(folder / "degraded" / f"{name.partition('.')[0]}.bmp")


@pytest.fixture
def scans(tmp_path):
    for i in range(3):
        pair(tmp_path / "train", f"{i}.png", seed=i)
        pair(tmp_path / "test", f"t{i}.png", seed=10 + i)
    return tmp_path


@pytest.mark.parametrize("scale", [1, 2])
def test_patches_of_pairs_are_cut_at_the_same_place(tmp_path, scale):
    """Each input is half as bright as its label there, and nothing is added to it."""
    for i in range(3):
        pair(tmp_path / "mine", f"{i}.png", scale, i)
    task = Pairs(scale, "grey")
    found = catalogue.training_set(f"{tmp_path}/mine", **task.reading())
    assert found.names == ["0", "1", "2"] and found.title == "mine (3 pairs)"
    inputs, labels = next(PatchSampler(found.images, task, patch=8, batch=20, seed=0))
    assert inputs.shape[-1] * scale == labels.shape[-1] == 8
    means = torch.nn.functional.avg_pool2d(labels, scale)
    assert (inputs - means / 2).abs().max() < 1.5 / 255
    clean = np.asarray(Image.open(tmp_path / "mine/clean/0.png").convert("L"))
    degraded = np.asarray(Image.open(tmp_path / "mine/degraded/0.bmp").convert("L"))
    inputs, label = task.test_pair(found.images[0], "0")
    assert (label[0, 0].numpy() * 255 == clean).all()
    assert (inputs[0, 0].numpy() * 255 == degraded).all()
    assert catalogue.fingerprint("training", f"{tmp_path}/mine") == found.fingerprint


def test_pairs_that_do_not_fit_are_named(scans):
    reading = Pairs().reading()
    with refuses(ConfigError, "set5"):
        catalogue.test_set("set5", **reading)
    with refuses(DataError, "clean/", "degraded/"):
        catalogue.test_set(f"{scans}/train/clean", **reading)
    with refuses(DataError, "clean, degraded"):  # without task=pairs
        catalogue.test_set(f"{scans}/train", mode="grey")
    with refuses(DataError, "0.png", "40 x 48", "task.scale=2"):
        catalogue.test_set(f"{scans}/train", **Pairs(2).reading())
    picture(scans / "train" / "clean" / "2.bmp")
    with refuses(DataError, "train"):
        catalogue.training_set(f"{scans}/train", **reading)
    (scans / "train" / "clean" / "2.bmp").unlink()
    (scans / "train" / "degraded" / "1.bmp").unlink()
    with refuses(DataError, "train", "1"):
        catalogue.training_set(f"{scans}/train", **reading)


def test_a_run_on_pairs_learns_what_lies_between_them(scans):
    """Trained, validated, tested and evaluated again on folders of pairs; nothing is degraded."""
    overrides = ["model=srcnn", "task=pairs", "dataset=pairs", f"dataset.name={scans}/train"]
    overrides += [f"testset={scans}/test", f"validation={scans}/test", "recipe.validate_every=1"]
    overrides += ["table=null", "recipe.patch=24", f"results={scans}/results"]
    cfg = resolve(asked(*overrides, "runtime.download=false"))
    run = Run(scans / "results" / "own" / "srcnn" / "mae" / "seed0")
    rows = carry_out(cfg, run)[0]
    assert [row["image"] for row in rows] == ["t0", "t1", "t2"]
    [baseline] = (scans / "results" / "own" / "baselines").glob("*.csv")
    darker = files.read_csv(baseline)
    for row in darker:
        clean = catalogue.test_set(f"{scans}/test", **Pairs(1, "luma").reading())
        image = clean.images[clean.names.index(row["image"])].double() / 255
        error = (image[0] - image[1]).square().mean()
        assert float(row["psnr"]) == pytest.approx(-10 * torch.log10(error).item(), abs=1e-4)
    arguments = ["evaluate", f"checkpoint={run.weights}", f"testset={scans}/test", "device=cpu"]
    saved = scans / "saved"
    assert call(*arguments, f"output={scans}/again.csv", f"save={saved}").status == 0
    assert len(list(saved.iterdir())) == 3 * 4
    images = {path.name: np.asarray(Image.open(path)).astype(float) for path in saved.iterdir()}
    assert (images["t1-input.png"] == clean.images[1][1].numpy()).all()
    assert (images["t1-label.png"] == clean.images[1][0].numpy()).all()
    error = np.abs(images["t1-output.png"] - images["t1-label.png"])
    np.testing.assert_allclose(images["t1-error.png"], (error * 10).clip(0, 255), atol=11)
    assert call(*arguments, "ensemble=true", f"save={scans}/mean").status == 0
    assert (scans / "mean/t1-output.png").read_bytes() != (saved / "t1-output.png").read_bytes()
    again = files.read_csv(scans / "again.csv")
    assert [row["psnr"] for row in again[:3]] == [f"{row['psnr']:.7f}" for row in rows]
    results.collect(scans / "results" / "own")
    assert call("verify", scans / "results" / "own", "device=cpu").status == 0
