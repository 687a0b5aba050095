"""Folders of images of one's own as training and test sets."""

import hashlib
import os

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from asyrepro.commands import compare, evaluate, verify
from asyrepro.data import catalogue
from asyrepro.data.sampler import PatchSampler
from asyrepro.runs import config, evaluation, execution, results
from asyrepro.runs.execution import carry_out
from asyrepro.runs.resolve import resolve
from asyrepro.runs.run import Run
from asyrepro.system import files
from asyrepro.system.errors import CheckpointError, ConfigError, DataError
from asyrepro.tasks import Pairs, SuperResolution


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


def configured(*overrides):
    always = ["profile=smoke", "runtime.progress=false", "runtime.device=cpu", "study=own"]
    return config.compose([*always, *overrides])


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
    with pytest.raises(DataError, match=r"white=4095"):  # which the files of 8 bits cannot have
        catalogue.test_set(f"{folder}/", mode="grey", white=4095)
    (tmp_path / "deep").mkdir()
    (folder / "twelve.png").rename(tmp_path / "deep" / "twelve.png")
    [image] = catalogue.test_set(f"{tmp_path}/deep", mode="grey", white=4095).images
    assert image.unique().tolist() == [round(4000 / 4095 * 255)]


def test_images_in_inner_folders_alone_are_named(tmp_path):
    picture(tmp_path / "outer" / "inner" / "a.png")
    with pytest.raises(DataError, match=r"outer .*inner"):
        catalogue.training_set(f"{tmp_path}/outer", mode="rgb")


def test_a_name_that_no_table_can_hold_is_refused_before_the_training(photos, tmp_path, capsys):
    name = os.fsdecode(b"caf\xe9.png")
    picture(photos / "Urban2" / name, 3)
    with pytest.raises(DataError, match=r"caf.udce9.png': the file's name is not UTF-8"):
        resolve(configured("model=srcnn", f"testset={photos / 'Urban2'}"))
    # Where names do not matter it is taken as it is.
    table = tmp_path / "table.md"
    folder = str(photos / "Urban2")
    assert compare.main([folder, folder, "images=true", f"output={table}"]) == 0
    assert r"caf\udce9" in table.read_text() and "Traceback" not in capsys.readouterr().err


def test_a_path_is_taken_from_here_or_from_home(photos, monkeypatch):
    monkeypatch.chdir(photos)
    monkeypatch.setenv("HOME", str(photos))
    for name in ("./train", "train/", "~/train", "Urban2/../train"):  # ~ as evaluate has it
        assert catalogue.short(name) == "train"
        assert len(catalogue.training_set(name, mode="luma")) == 3


def test_a_folder_may_not_pass_for_a_published_set(photos):
    picture(photos / "set5" / "x.png")
    os.symlink(photos / "set5", photos / "five")
    with pytest.raises(ConfigError, match="set5 would pass for the data set 'set5': give it"):
        catalogue.test_set(str(photos / "set5"), mode="rgb")
    assert catalogue.test_set(str(photos / "five"), mode="rgb").name == "five"
    with pytest.raises(ConfigError, match="x/a and y/a/ would both go by the name 'a': rename"):
        catalogue.check_names("bsd300", ["x/a", "y/a/"])
    catalogue.check_names("x/a", ["x/a", "./x/a/", "set5"])


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (["dataset=folder"], ConfigError, "dataset=folder dataset.name=/path/to/images"),
        (["dataset=folder", "dataset.name=mine"], ConfigError, "named by its path, with a slash"),
        (["dataset=folder", "dataset.name=no/such"], DataError, "no/such does not exist"),
        (["testset=no/such"], DataError, "no/such does not exist: name a folder that holds"),
        (["validation=no/such"], DataError, "no/such does not exist"),
        (["benchmarks=[no/such]"], DataError, "no/such does not exist"),
        (["benchmarks=[../tests/]"], DataError, "tests holds no image"),
        ([f"testset=./{'x' * 300}"], DataError, "x does not exist"),
        (["testset='~nobody-here/x'"], DataError, "x does not exist"),
    ],
)
def test_what_is_not_there_is_said_before_anything_is_done(
    tmp_path, monkeypatch, overrides, error, message
):
    (tmp_path / "tests").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(error, match=message):  # with fallback, too, nothing stands in
        resolve(configured("fallback=true", *overrides))


def test_a_run_on_folders_and_its_verification(photos, tmp_path, capsys):
    overrides = ["model=srcnn", "dataset=folder", f"dataset.name={photos / 'train'}"]
    overrides += [f"testset={photos / 'Urban2'}", f"validation={photos / 'Urban2'}"]
    overrides += ["table=2", "recipe.patch=24", f"results={tmp_path / 'results'}"]
    cfg = resolve(configured(*overrides, "runtime.download=false"))
    folder = tmp_path / "results" / "own" / "srcnn" / "mae" / "seed0"
    rows = carry_out(cfg, Run(folder))[0]
    assert [row["image"] for row in rows] == ["a", "b"]
    assert {(row["dataset"], row["testset"]) for row in rows} == {("train", "Urban2")}
    assert all(10 < row["psnr_y"] < 100 for row in rows)  # as on Set5 and Set14
    study = tmp_path / "results" / "own"
    assert [path.name for path in study.glob("baselines/*")] == ["srcnn_Urban2.csv"]
    results.collect(study)
    check = [str(study), "device=cpu"]
    assert verify.main(check) == 0
    assert "not here" not in capsys.readouterr().out
    output = tmp_path / "again.csv"
    arguments = [f"checkpoint={folder / 'weights.pt'}", f"testset={photos / 'Urban2'}"]
    assert evaluate.main([*arguments, "device=cpu", f"output={output}"]) == 0
    again = files.read_csv(output)
    assert [row["psnr_y"] for row in again[:2]] == [f"{row['psnr_y']:.7f}" for row in rows]
    picture(photos / "Urban2" / "a.bmp", 99, (60, 48))
    assert verify.main(check) == 1
    (photos / "Urban2").rename(photos / "elsewhere")
    capsys.readouterr()
    assert verify.main(check) == 0
    assert "Urban2 is not here" in capsys.readouterr().out
    assert evaluate.main(arguments) == 2
    assert "Urban2 does not exist: name a folder" in capsys.readouterr().err
    (photos / "Urban2").mkdir()  # empty: not here either
    assert verify.main(check) == 0
    assert carry_out(resolve(cfg, Run(folder)), Run(folder))[1]  # what is finished needs no images


def test_without_the_validation_images_it_says_what_else_there_is(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("ASYREPRO_DATA", str(tmp_path / "empty"))
    overrides = ["model=srcnn", "dataset=folder", f"dataset.name={photos / 'train'}"]
    overrides += ["recipe.validate_every=1", "recipe.patch=24", "runtime.download=false"]
    folder = tmp_path / "c" / "mae" / "s"
    with pytest.raises(DataError, match=r"or give validation= .* or recipe\.validate_every=0 to"):
        carry_out(resolve(configured(*overrides, f"runtime.data={tmp_path}")), Run(folder))
    assert not (folder / "checkpoint.pt").exists()
    own = [*overrides, "recipe.steps=2", f"validation={photos / 'Urban2'}"]
    cfg = resolve(configured(*own, f"runtime.data={tmp_path}"))
    carry_out(cfg, Run(tmp_path / "d" / "mae" / "s"))
    assert float((tmp_path / "d/mae/s/history.csv").read_text().splitlines()[-1].split(",")[3]) > 0


def test_images_that_change_while_a_training_is_interrupted_end_it(photos, tmp_path, monkeypatch):
    overrides = ["model=srcnn", "dataset=folder", f"dataset.name={photos / 'train'}"]
    overrides += ["recipe.validate_every=0", "recipe.patch=24", f"results={tmp_path}"]
    cfg = resolve(configured(*overrides, "recipe.steps=3"))

    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(execution.Job, "finish", stopped)
        with pytest.raises(KeyboardInterrupt):
            carry_out(cfg, Run(tmp_path / "c" / "mae" / "s"))
    assert (tmp_path / "c" / "mae" / "s" / "checkpoint.pt").is_file()
    before = (photos / "train" / "1.png").read_bytes()
    picture(photos / "train" / "1.png", 77)
    with pytest.raises(CheckpointError, match="another configuration"):
        carry_out(cfg, Run(tmp_path / "c" / "mae" / "s"))
    (photos / "train" / "1.png").write_bytes(before)
    carry_out(cfg, Run(tmp_path / "c" / "mae" / "s"))


@pytest.mark.parametrize("changed", ["train/1.png", "Urban2/b.png"])
def test_losses_of_one_cell_are_compared_on_the_same_images(photos, tmp_path, changed):
    overrides = ["model=srcnn", "dataset=folder", f"dataset.name={photos / 'train'}"]
    overrides += [f"testset={photos / 'Urban2'}", "recipe.validate_every=0", "recipe.patch=24"]
    mae, mse, asy = (
        resolve(configured(*overrides, f"loss={loss}")) for loss in ("mae", "mse", "asy_mae")
    )
    carry_out(mae, Run(tmp_path / "s" / "srcnn" / "mae" / "seed0"))
    carry_out(mse, Run(tmp_path / "s" / "srcnn" / "mse" / "seed0"))
    size = Image.open(photos / changed).size
    picture(photos / changed, 77, size)
    with pytest.raises(DataError, match=r"are not those that .*srcnn/mae/seed0 was run with"):
        carry_out(asy, Run(tmp_path / "s" / "srcnn" / "asy_mae" / "seed0"))
    # ... but another cell may have them; and where no run is left, the baseline is made anew.
    baseline = tmp_path / "s" / "baselines" / "srcnn_Urban2.csv"
    before = baseline.read_text()
    carry_out(asy, Run(tmp_path / "s" / "srcnn,task.scale=3" / "asy_mae" / "seed0"))
    assert baseline.read_text() == before
    for loss in ("mae", "mse"):
        (tmp_path / "s" / "srcnn" / loss).rename(tmp_path / loss)
    carry_out(asy, Run(tmp_path / "s" / "srcnn" / "asy_mae" / "seed0"))
    assert (baseline.read_text() != before) == changed.startswith("Urban2")


def test_a_set_that_is_named_twice_is_tested_once(photos, tmp_path):
    tests = photos / "Urban2"
    overrides = ["model=srcnn", "dataset=folder", f"dataset.name={photos / 'train'}"]
    overrides += [f"testset={tests}", f"benchmarks=[{tests},{tests}/]", "recipe.patch=24"]
    cfg = resolve(configured(*overrides, "recipe.validate_every=0", f"results={tmp_path}"))
    assert len(carry_out(cfg, Run(tmp_path / "c" / "mae" / "s"))[0]) == 2


@pytest.mark.parametrize("content", [b"no image", None])
def test_test_images_are_looked_at_before_the_training(photos, tmp_path, content):
    bad = photos / "Urban2" / "bad.png"
    bad.write_bytes(content) if content else picture(bad, size=(40, 9))
    overrides = ["model=srcnn", "dataset=folder", f"dataset.name={photos / 'train'}"]
    overrides += [f"benchmarks=[{photos / 'Urban2'}]", "recipe.validate_every=0"]
    cfg = resolve(configured(*overrides, "recipe.patch=24", f"results={tmp_path}"))
    with pytest.raises(DataError, match=r"bad"):
        carry_out(cfg, Run(tmp_path / "c" / "mae" / "s"))
    assert not (tmp_path / "c" / "mae" / "s" / "checkpoint.pt").exists()
    assert not (tmp_path / "c" / "mae" / "s" / "history.csv").exists()


def test_a_folder_among_the_benchmarks_is_tested_whatever_the_profile_has(photos, tmp_path):
    overrides = ["model=srcnn", "dataset=folder", f"dataset.name={photos / 'train'}"]
    overrides += [f"benchmarks=[{photos / 'Urban2'}]", "recipe.validate_every=0"]
    cfg = resolve(configured(*overrides, "recipe.patch=24", f"results={tmp_path}"))
    rows, _ = carry_out(cfg, Run(tmp_path / "c" / "mae" / "s"))
    assert [row["testset"] for row in rows] == ["Urban2"] * 2


@pytest.mark.parametrize(("side", "least"), [(6, "7 x 7"), (15, "17 x 17")])
def test_too_small_an_image_is_named_before_any_is_restored(photos, side, least):
    class Never(nn.Module):
        def forward(self, x):
            raise AssertionError("an image was restored")

    picture(photos / "Urban2" / "tiny.png", size=(42, side))
    testset = catalogue.test_set(str(photos / "Urban2"), mode="luma")
    message = f"'tiny' gives a label of {side} x 42 pixels; it must have {least} at least"
    with pytest.raises(DataError, match=message):
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
    with pytest.raises(ConfigError, match="set5 has no pairs"):
        catalogue.test_set("set5", **reading)
    with pytest.raises(DataError, match=r"clean/ and degraded/"):
        catalogue.test_set(f"{scans}/train/clean", **reading)
    with pytest.raises(DataError, match=r"clean, degraded"):  # without task=pairs
        catalogue.test_set(f"{scans}/train", mode="grey")
    with pytest.raises(DataError, match=r"0\.png has 40 x 48 .* 40 x 48.*task\.scale=2"):
        catalogue.test_set(f"{scans}/train", **Pairs(2).reading())
    picture(scans / "train" / "clean" / "2.bmp")
    with pytest.raises(DataError, match=r"train .*endings"):
        catalogue.training_set(f"{scans}/train", **reading)
    (scans / "train" / "clean" / "2.bmp").unlink()
    (scans / "train" / "degraded" / "1.bmp").unlink()
    with pytest.raises(DataError, match=r"1 images of .*train .*\(1, "):
        catalogue.training_set(f"{scans}/train", **reading)


def test_a_run_on_pairs_learns_what_lies_between_them(scans, capsys):
    """Trained, validated, tested and evaluated again on folders of pairs; nothing is degraded."""
    overrides = ["model=srcnn", "task=pairs", "dataset=pairs", f"dataset.name={scans}/train"]
    overrides += [f"testset={scans}/test", f"validation={scans}/test", "recipe.validate_every=1"]
    overrides += ["table=null", "recipe.patch=24", f"results={scans}/results"]
    cfg = resolve(configured(*overrides, "runtime.download=false"))
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
    arguments = [f"checkpoint={run.weights}", f"testset={scans}/test", "device=cpu"]
    saved = scans / "saved"
    assert evaluate.main([*arguments, f"output={scans}/again.csv", f"save={saved}"]) == 0
    assert len(list(saved.iterdir())) == 3 * 4
    images = {path.name: np.asarray(Image.open(path)).astype(float) for path in saved.iterdir()}
    assert (images["t1-input.png"] == clean.images[1][1].numpy()).all()
    assert (images["t1-label.png"] == clean.images[1][0].numpy()).all()
    error = np.abs(images["t1-output.png"] - images["t1-label.png"])
    np.testing.assert_allclose(images["t1-error.png"], (error * 10).clip(0, 255), atol=11)
    assert evaluate.main([*arguments, "ensemble=true", f"save={scans}/mean"]) == 0
    assert (scans / "mean/t1-output.png").read_bytes() != (saved / "t1-output.png").read_bytes()
    again = files.read_csv(scans / "again.csv")
    assert [row["psnr"] for row in again[:3]] == [f"{row['psnr']:.7f}" for row in rows]
    results.collect(scans / "results" / "own")
    assert verify.main([str(scans / "results" / "own"), "device=cpu"]) == 0
