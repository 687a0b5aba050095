"""A study's provenance, and the command that checks a study against it."""

import getpass
import json
import os
import re
import shutil
import socket
import subprocess

import pandas as pd
import pytest
import torch
from PIL import Image

from asyrepro.commands import verify
from asyrepro.data import catalogue, sources
from asyrepro.runs import config, provenance, results, verification
from asyrepro.runs.execution import carry_out
from asyrepro.runs.outcome import Outcome
from asyrepro.runs.resolve import resolve
from asyrepro.runs.run import Run
from asyrepro.system import devices, files
from asyrepro.system.errors import DataError
from asyrepro.training import checkpoint

TINY = [
    "experiment=table2_srcnn", "profile=smoke", "dataset=bundled", "recipe.steps=1",
    "recipe.batch=1", "recipe.validate_every=0", "model.network.kernels=[3,1,3]",
    "model.network.channels=[4,2]", "table=null", "testset=bundled_validation",
    "runtime.progress=false", "runtime.device=cpu", "runtime.download=false", "study=two",
]  # fmt: skip
CELLS = ("table2/asy_mae/seed0", "table2/mae/seed0")


@pytest.fixture(scope="module", autouse=True)
def small_images():
    """The stand-in data cut down to what takes no time."""
    validation = {"tripod": ("camera.png", 272, 288, 48, 48), "sky": ("camera.png", 400, 0, 40, 40)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue.bundled, "TRAINING", {"coat": ("camera.png", 0, 272, 64, 64)})
        patch.setitem(catalogue.BUNDLED_TESTS, "bundled_validation", validation)
        yield


@pytest.fixture(scope="module")
def made(small_images, tmp_path_factory):
    """A study of two runs, each on two images."""
    root = tmp_path_factory.mktemp("results")
    for loss in ("mae", "asy_mae"):
        cfg = config.compose([*TINY, f"loss={loss}", f"results={root}"])
        cfg = resolve(cfg)
        carry_out(cfg, Run(root / "two" / "table2" / loss / "seed0"))
    results.collect(root / "two")
    provenance.collect(root / "two")
    return root / "two"


@pytest.fixture
def study(made, tmp_path):
    """A copy of it, to be broken."""
    return shutil.copytree(made, tmp_path / "two")


def checked(study, capsys, *settings):
    """(exit status, what was printed) of the command."""
    status = verify.main([str(study), "device=cpu", *settings])
    return status, "".join(capsys.readouterr())


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def psnr(path, loss):
    """The first PSNR of a loss in a CSV of rows, as it is written there."""
    lines = [line.split(",") for line in path.read_text().splitlines()]
    return next(line[6] for line in lines if line[3] == loss)


def changed(number):
    """The number with another digit at the third decimal place."""
    place = number.index(".") + 3
    return number[:place] + str((int(number[place]) + 5) % 10) + number[place + 1 :]


# --------------------------------------------------------------------- what is recorded


def test_a_cell_records_what_it_was_made_with(made):
    record = json.loads((made / CELLS[0] / "provenance.json").read_text())
    [environment] = record["environments"]
    assert environment["versions"]["torch"] == torch.__version__.split("+")[0]
    assert set(environment["versions"]) == {"python", *provenance.PACKAGES}
    assert environment["device"] == "cpu" and environment["cpu"]
    assert environment["flags"]["threads"] == torch.get_num_threads()
    assert environment["flags"]["channels_last"] is True
    assert record["config"] == files.read_csv(made / CELLS[0] / "rows.csv")[0]["config"]
    training = catalogue.training_set("bundled", mode="luma")
    tests = catalogue.test_set("bundled_validation", mode="luma")
    assert record["data"] == {
        "training bundled": training.fingerprint,
        "test bundled_validation": tests.fingerprint,
    }
    weights = checkpoint.load(made / CELLS[0] / "weights.pt")["network"]
    assert record["weights_sha256"] == checkpoint.digest(weights)


def test_nothing_personal_is_recorded(made):
    texts = [path.read_text() for path in made.rglob("*.json")]
    assert len(texts) == 3
    for text in texts:
        for word in (str(made.parent), str(provenance.ROOT), os.getcwd(), socket.gethostname()):
            assert word not in text
        assert f'"{getpass.getuser()}"' not in text


def test_the_same_cells_give_the_same_bytes(study):
    before = (study / provenance.STUDY).read_bytes()
    provenance.collect(study)
    assert (study / provenance.STUDY).read_bytes() == before
    (study / provenance.STUDY).unlink()
    provenance.collect(study)
    assert (study / provenance.STUDY).read_bytes() == before


def test_what_was_recorded_outlives_the_files_it_was_read_from(study):
    before = (study / provenance.STUDY).read_bytes()
    for name in CELLS:
        (study / name / "weights.pt").unlink()
        (study / name / "provenance.json").unlink()
    provenance.collect(study)
    assert (study / provenance.STUDY).read_bytes() == before
    shutil.rmtree(study / "table2")  # only metrics.csv is kept
    assert provenance.collect(study) is None
    assert (study / provenance.STUDY).read_bytes() == before


def test_a_cell_without_provenance_tells_what_its_files_tell(study):
    for name in CELLS:
        (study / name / "provenance.json").unlink()
    recorded = provenance.read(study / provenance.STUDY)["cells"][CELLS[0]]
    (study / provenance.STUDY).unlink()
    found = provenance.read(provenance.collect(study))
    entry = found["cells"][CELLS[0]]
    for key in ("config", "rows_sha256", "weights_sha256", "weights_half_sha256"):
        assert entry[key] == recorded[key]
    assert entry["data"] is None and entry["finished"] is None
    environment = found["environments"][entry["environments"][0]]
    assert environment["device"] == "cpu" and environment["cpu"] is None
    assert environment["versions"]["torch"] == torch.__version__.split("+")[0]
    assert environment["versions"]["pandas"] is None
    amp = devices.fast_bfloat16(torch.device("cpu"))  # as amp=auto chose it
    assert environment["flags"] == {"amp": amp, "channels_last": True}
    assert verify.main([str(study), "runs=table2/mae", "device=cpu"]) == 0


def test_a_run_that_is_continued_elsewhere_has_both_environments(tmp_path):
    run, first, second = Run(tmp_path), {"device": "cpu"}, {"device": "a GPU"}
    provenance.begin(run, first, continued=False)
    provenance.begin(run, second, continued=True)
    provenance.begin(run, second, continued=True)
    provenance.finish(run, config="c", data={}, weights={"w": torch.ones(1)}, rows="")
    record = provenance.read(run.provenance)
    assert record["environments"] == [first, second] and record["config"] == "c"
    provenance.begin(run, second, continued=False)  # it began anew
    assert provenance.read(run.provenance)["environments"] == [second]


def test_the_commit_and_whether_the_code_differs_from_it(tmp_path, monkeypatch):
    def git(*arguments):
        who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        done = ["git", "-C", str(tmp_path), *who, *arguments]
        return subprocess.run(done, check=True, capture_output=True, text=True).stdout.strip()

    def code(root):
        monkeypatch.setattr(provenance, "ROOT", root)
        return provenance.code.__wrapped__()

    unknown = {"commit": None, "dirty": None}
    (tmp_path / "asyrepro").mkdir()
    (tmp_path / "asyrepro" / "x.py").write_text("1")
    assert code(tmp_path) == unknown
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    clean = {"commit": git("rev-parse", "HEAD"), "dirty": False}
    assert code(tmp_path) == clean
    (tmp_path / "results.csv").write_text("not code")
    assert code(tmp_path) == clean
    (tmp_path / "asyrepro" / "y.py").write_text("2")
    assert code(tmp_path) == clean | {"dirty": True}
    assert code(tmp_path / "asyrepro") == unknown  # inside somebody else's repository
    monkeypatch.setenv("PATH", "")
    assert code(tmp_path) == unknown  # no git


def test_fingerprints_without_decoding_are_those_of_the_data_sets(tmp_path):
    (tmp_path / "Set5").mkdir()
    for file in sources.FOLDERS["set5"].files:
        Image.new("RGB", (8, 8), "red").save(tmp_path / "Set5" / file, "PNG")
    with pytest.warns(UserWarning, match="not the published ones"):
        expected = catalogue.test_set("set5", mode="luma", root=tmp_path).fingerprint
    assert catalogue.fingerprint("test", "set5", tmp_path) == expected
    (tmp_path / "Set5" / next(iter(sources.FOLDERS["set5"].files))).unlink()
    assert catalogue.fingerprint("test", "set5", tmp_path) is None
    bundled = catalogue.training_set("bundled", mode="rgb").fingerprint
    assert catalogue.fingerprint("training", "bundled") == bundled


# --------------------------------------------------------------------- what is checked


def test_an_untouched_study_agrees_to_the_printed_digits(made, capsys):
    status, text = checked(made, capsys)
    assert status == 0
    zero = "largest difference psnr 0, ssim 0, rmse 0, nrmse 0"
    same = "same configuration, rows, metrics.csv, weights"
    for name in CELLS:
        assert f"{name}: evaluated again, {zero}; {same}\n" in text
    assert f"baselines/table2_bundled_validation.csv: evaluated again, {zero}" in text
    assert "data sets: same test bundled_validation, training bundled" in text
    assert f"2 runs, 2 evaluated again ({zero})\nnothing differs" in text


def weight(study):
    state = checkpoint.load(study / CELLS[1] / "weights.pt")
    state["network"]["reconstruct.weight"][0, 0, 1, 1] += 0.01
    checkpoint.save(study / CELLS[1] / "weights.pt", state)
    return CELLS[1], "weights "


def weight_and_its_hash(study):
    weight(study)
    state = checkpoint.load(study / CELLS[1] / "weights.pt")
    path = study / CELLS[1] / "provenance.json"
    record = json.loads(path.read_text()) | provenance.weight_hashes(state["network"])
    path.write_text(json.dumps(record))
    provenance.collect(study)
    return CELLS[1], "psnr of "


def weights_of_the_other_loss(study):
    shutil.copy(study / CELLS[0] / "weights.pt", study / CELLS[1] / "weights.pt")
    return CELLS[1], "weights.pt is of another configuration"


def truncated_weights(study):
    path = study / CELLS[1] / "weights.pt"
    path.write_bytes(path.read_bytes()[:1000])
    return CELLS[1], "damaged"


def digit_of_the_metrics(study):
    number = psnr(study / "metrics.csv", "mae")
    edit(study / "metrics.csv", number, changed(number))
    return CELLS[1], f"metrics.csv has psnr {changed(number)}"


def digit_of_the_rows(study):
    number = psnr(study / CELLS[1] / "rows.csv", "mae")
    edit(study / CELLS[1] / "rows.csv", number, changed(number))
    return CELLS[1], "rows "


def digit_of_the_rows_and_metrics(study):
    digit_of_the_rows(study)
    results.collect(study)
    return CELLS[1], "in metrics.csv"


def setting(study):
    path = study / CELLS[1] / "config.yaml"
    edit(path, re.search(r" lr: \S+", path.read_text())[0], " lr: 0.5")
    return CELLS[1], "configuration "


def digit_of_the_baseline(study):
    path = study / "baselines" / "table2_bundled_validation.csv"
    edit(path, psnr(path, "bicubic"), changed(psnr(path, "bicubic")))
    return "baselines/table2_bundled_validation.csv", "metrics.csv has psnr"


def lost_row(study):
    lines = (study / "metrics.csv").read_text().splitlines(keepends=True)
    (study / "metrics.csv").write_text("".join(lines[:-1]))
    return CELLS[0], "metrics.csv lacks 1 of its rows"


def row_of_no_cell(study):
    shutil.rmtree(study / CELLS[1])
    return "metrics.csv", "2 of its rows belong to no run"


def other_images(study):
    recorded = (study / provenance.STUDY).read_text()
    number = catalogue.fingerprint("training", "bundled")
    (study / provenance.STUDY).write_text(recorded.replace(number, "0" * 64))
    return "data sets", "training bundled "


@pytest.mark.parametrize(
    "damage",
    [
        weight, weight_and_its_hash, weights_of_the_other_loss, truncated_weights,
        digit_of_the_metrics, digit_of_the_rows, digit_of_the_rows_and_metrics, setting,
        digit_of_the_baseline, lost_row, row_of_no_cell, other_images,
    ],
)  # fmt: skip
def test_what_differs_is_found_and_named(study, capsys, damage):
    name, words = damage(study)
    status, text = checked(study, capsys)
    assert status == 1
    [line] = [line for line in text.splitlines() if line.startswith(f"{name}: ")]
    assert line.startswith(f"{name}: DIFFERS: ") and words in line
    assert name in text.splitlines()[-1].split(" differ: ")[1]


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        ({"psnr_y": 0.0005}, ""),  # as of a pixel that is rounded another way
        ({"psnr": 0.0005, "psnr_y": 0.0005}, "psnr of a on set5"),
        ({"psnr_y": 0.005, "psnr": 0.00005}, "psnr_y of a on set5"),
        ({"psnr": float("nan")}, "psnr of a on set5"),
    ],
)
def test_metrics_of_8_bits_may_differ_by_a_pixel(changes, differs):
    row = {"image": "a", "testset": "set5", "psnr": 30.0, "psnr_y": 32.0}
    again = row | {name: row[name] + change for name, change in changes.items()}
    outcome = Outcome("table2/mae/seed0")
    outcome.evaluated([again], pd.DataFrame([row]), verification.TOLERANCE)
    assert len(outcome.differs) == bool(differs)
    assert all(text.startswith(differs) for text in outcome.differs)


def test_a_large_tolerance_lets_a_changed_metric_pass(study, capsys):
    weight_and_its_hash(study)
    assert checked(study, capsys, "runs=table2/mae")[0] == 1
    assert checked(study, capsys, "runs=table2/mae", "tolerance=99")[0] == 0


def test_only_the_chosen_cells_are_checked(study, capsys):
    weight(study)
    status, text = checked(study, capsys, "runs=table2/asy_*/seed0")
    assert status == 0 and "1 runs, 1 evaluated again" in text


def test_without_weights_the_rest_is_checked(study, capsys):
    for name in CELLS:
        (study / name / "weights.pt").unlink()
    status, text = checked(study, capsys)
    assert status == 0
    assert "table2/mae/seed0: same configuration, rows, metrics.csv; no weights here\n" in text
    assert "2 runs, 0 evaluated again\nno weights here: 2 runs not evaluated again" in text
    digit_of_the_rows(study)
    assert checked(study, capsys)[0] == 1


def test_of_a_study_of_which_only_metrics_csv_is_kept_its_hash_is_checked(study, capsys):
    shutil.rmtree(study / "table2")
    shutil.rmtree(study / "baselines")
    status, text = checked(study, capsys)
    assert status == 0 and "metrics.csv: same hash" in text
    assert "no weights here, nor its folder: 2 runs not evaluated again" in text
    edit(study / "metrics.csv", psnr(study / "metrics.csv", "mae"), "30.000000")
    assert checked(study, capsys)[0] == 1


def test_data_that_is_not_here_is_said(study, capsys, monkeypatch):
    def absent(name, **_):
        raise catalogue.NotAvailable(name)

    monkeypatch.setattr(catalogue, "test_set", absent)
    status, text = checked(study, capsys)
    assert status == 0
    assert "bundled_validation is not here: 2 runs not evaluated again" in text


@pytest.mark.parametrize("run_folders", [True, False])
def test_weights_kept_in_half_precision(study, capsys, run_folders):
    for name in CELLS:
        state = checkpoint.load(study / name / "weights.pt")
        state["network"] = provenance.halved(state["network"])
        checkpoint.save(study / "weights" / f"{name}.pt", state)
        (study / name / "weights.pt").unlink()
    if not run_folders:
        shutil.rmtree(study / "table2")
    status, text = checked(study, capsys)
    assert status == 0, text
    assert "2 runs, 2 evaluated again" in text and "weights\n" in text
    path = study / "weights" / f"{CELLS[1]}.pt"
    state = checkpoint.load(path)
    state["network"]["reconstruct.weight"][0, 0, 1, 1] += 0.1
    checkpoint.save(path, state)
    status, text = checked(study, capsys)
    assert status == 1 and f"{CELLS[1]}: DIFFERS: weights " in text and "psnr of" in text


def test_nothing_that_a_folders_configuration_names_is_run(study, tmp_path, capsys):
    flag = tmp_path / "was_here"
    for name in CELLS:
        (study / name / "weights.pt").unlink()
        path = study / name / "config.yaml"
        head, tail = path.read_text().split("task:\n")
        rest = tail[tail.index("loss:\n") :]
        node = f"task:\n  _target_: builtins.open\n  file: {flag}\n  mode: w\n"
        path.write_text(head + node + rest)
    status, _ = checked(study, capsys)
    assert status == 1 and not flag.exists()


def test_weights_that_are_none_differ_and_do_not_end_the_check(study, capsys):
    without, overflowing = (study / name / "weights.pt" for name in CELLS)
    state = checkpoint.load(without)
    del state["format"], state["network"]
    checkpoint.save(without, state)
    state = checkpoint.load(overflowing)
    del state["format"]
    state["network"] = {k: torch.full_like(v, 3e38) for k, v in state["network"].items()}
    checkpoint.save(overflowing, state)
    status, text = checked(study, capsys)
    assert status == 1 and "holds no weights of a network" in text
    assert "bundled_validation cannot be evaluated: " in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none"], "there is no study at none"),
        ([], "Check a study"),
        (["runs=table2"], "STUDY"),
        (["{study}", "runs=table9"], "no run of {study} is called 'table9'; there is table2/asy"),
        (["{study}", "tolerance=low"], "tolerance=low"),
        (["{study}", "tolerance=nan"], "tolerance=nan"),
        (["{study}", "tolerance=-1"], "tolerance=-1"),
        (["{study}", "rus=table2"], "'runs'"),
        (["{study}", "{study}"], "STUDY"),
        (["{study}", "device=gpu9"], "there is no device 'gpu9'"),
    ],
)
def test_bad_usage(made, capsys, arguments, message):
    assert verify.main([item.format(study=made) for item in arguments]) == 2
    assert message.format(study=made) in "".join(capsys.readouterr())


def test_a_damaged_record_is_refused_in_words(study, capsys):
    path = study / provenance.STUDY
    path.write_text(path.read_text()[:200])
    status, text = checked(study, capsys)
    assert status == 2 and "reproducibility.json is damaged: restore it, or delete it" in text
    path.write_text('{"format": 99}')
    with pytest.raises(DataError, match="newer version: update asyrepro"):
        provenance.read(path)
