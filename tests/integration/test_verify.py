"""A study's provenance, and the command that checks a study against it."""

import json
import re
import shutil

import pandas as pd
import pytest
import torch
from helpers import assert_names, assert_refused, call, refuses

from asyrepro.data import catalogue
from asyrepro.runs import provenance, results
from asyrepro.runs.outcome import Outcome
from asyrepro.system.errors import DataError
from asyrepro.training import checkpoint

RUNS = ["table2,task.scale=2/mae/seed0", "table2/asy_mae/seed0", "table2/mae/seed0"]
RUNS += ["table4/mse/seed0"]
MAE = "table2/mae/seed0"  # which is damaged
BASELINE = "baselines/table2_bundled.csv"


def checked(study, *settings):
    """(exit status, what was printed) of the command."""
    said = call("verify", study, "device=cpu", *settings)
    return said.status, said.out + said.err


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def number(path, loss="mae"):
    """The first PSNR of a loss in a CSV of rows, as it is written there."""
    lines = [line.split(",") for line in path.read_text().splitlines()]
    return next(line[6] for line in lines if line[3] == loss)


def other(number):
    """The number with another digit at the third decimal place."""
    place = number.index(".") + 3
    return number[:place] + str((int(number[place]) + 5) % 10) + number[place + 1 :]


def change_weights(path, change):
    state = checkpoint.load(path)
    del state["format"]
    change(state)
    checkpoint.save(path, state)


# --------------------------------------------------------------------- what is checked


def test_an_untouched_study_agrees_to_the_printed_digits(tiny):
    status, text = checked(tiny)
    assert status == 0
    zero = "psnr 0, ssim 0, rmse 0, nrmse 0"
    lines = {line.partition(":")[0]: line for line in text.splitlines() if ":" in line}
    for name in (*RUNS, BASELINE):
        assert zero in lines[name]
    for what in ("configuration", "rows", "metrics.csv", "weights"):
        assert what in lines[MAE]
    assert_names(lines["data sets"], "test bundled", "training bundled")
    assert "4 runs" in text and "DIFFERS" not in text


def weight(study):
    def change(state):
        state["network"]["reconstruct.weight"][0, 0, 1, 1] += 0.01

    change_weights(study / MAE / "weights.pt", change)
    return MAE, "weights "


def weight_and_its_hash(study):
    weight(study)
    state = checkpoint.load(study / MAE / "weights.pt")
    path = study / MAE / "provenance.json"
    record = json.loads(path.read_text()) | provenance.weight_hashes(state["network"])
    path.write_text(json.dumps(record))
    provenance.collect(study)
    return MAE, "psnr of "


def weights_of_the_other_loss(study):
    shutil.copy(study / "table2/asy_mae/seed0/weights.pt", study / MAE / "weights.pt")
    return MAE, "weights.pt"


def truncated_weights(study):
    path = study / MAE / "weights.pt"
    path.write_bytes(path.read_bytes()[:1000])
    return MAE, "weights.pt"


def digit_of_the_metrics(study):
    number_ = number(study / "metrics.csv")
    edit(study / "metrics.csv", number_, other(number_))
    return None, f"psnr {float(other(number_))}"


def digit_of_the_rows(study):
    number_ = number(study / MAE / "rows.csv")
    edit(study / MAE / "rows.csv", number_, other(number_))
    return MAE, "rows "


def digit_of_the_rows_and_metrics(study):
    digit_of_the_rows(study)
    results.collect(study)
    return MAE, "metrics.csv"


def rows_of_two_tables(study):
    """As runs had them whose test set was a benchmark, too."""
    path = study / MAE / "rows.csv"
    head, *rows = path.read_text().splitlines(keepends=True)
    assert all(row.startswith("2,") for row in rows)
    path.write_text("".join([head, *rows, *(row[1:] for row in rows)]))
    results.collect(study)
    return MAE, "more than once"


def setting(study):
    path = study / MAE / "config.yaml"
    edit(path, re.search(r" lr: \S+", path.read_text())[0], " lr: 0.5")
    return MAE, "configuration "


def digit_of_the_baseline(study):
    number_ = number(study / BASELINE, "bicubic")
    edit(study / BASELINE, number_, other(number_))
    return BASELINE, "psnr"


def lost_row(study):
    lines = (study / "metrics.csv").read_text().splitlines(keepends=True)
    (study / "metrics.csv").write_text("".join(lines[:-1]))
    return "table4/mse/seed0", "metrics.csv"


def row_of_no_run(study):
    shutil.rmtree(study / MAE)
    return "metrics.csv", "2 "


def other_images(study):
    number_ = catalogue.fingerprint("training", "bundled")
    path = study / provenance.STUDY
    path.write_text(path.read_text().replace(number_, "0" * 64))
    return "data sets", "training bundled"


def other_images_of_one_run(study):
    path = study / provenance.STUDY
    record = json.loads(path.read_text())
    cell = record["cells"][MAE]
    record["data"]["other"] = dict.fromkeys(record["data"][cell["data"]], "0" * 64)
    cell["data"] = "other"
    path.write_text(json.dumps(record))
    return "data sets", "training bundled"


def run_that_is_not_recorded(study):
    path = study / provenance.STUDY
    record = json.loads(path.read_text())
    del record["cells"][MAE]
    path.write_text(json.dumps(record))
    return MAE, provenance.STUDY


def byte_of_the_baseline(study):
    path = study / BASELINE
    path.write_bytes(path.read_bytes() + b"\n")
    return BASELINE, "rows "


@pytest.mark.parametrize(
    "damage",
    [
        weight, weight_and_its_hash, weights_of_the_other_loss, truncated_weights,
        digit_of_the_metrics, digit_of_the_rows, digit_of_the_rows_and_metrics, setting,
        rows_of_two_tables,
        digit_of_the_baseline, byte_of_the_baseline, lost_row, row_of_no_run, other_images,
        other_images_of_one_run, run_that_is_not_recorded,
    ],
)  # fmt: skip
def test_what_differs_is_found_and_named(tiny, damage):
    name, words = damage(tiny)
    status, text = checked(tiny)
    assert status == 1
    assert any(
        line.startswith(f"{name}: DIFFERS: " if name else "table2") and words in line
        for line in text.splitlines()
    ), text


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
    outcome.evaluated([again], pd.DataFrame([row]), 1e-4)
    assert len(outcome.differs) == bool(differs)
    assert all(text.startswith(differs) for text in outcome.differs)


def test_the_chosen_runs_and_tolerance(tiny):
    weight_and_its_hash(tiny)
    status, text = checked(tiny, "runs=table2/asy_*/seed0")
    assert status == 0 and "1 runs" in text
    assert checked(tiny, "runs=table2/mae")[0] == 1
    assert checked(tiny, "runs=table2/mae", "tolerance=99")[0] == 0


def test_without_weights_the_rest_is_checked(tiny):
    for name in RUNS:
        (tiny / name / "weights.pt").unlink()
    status, text = checked(tiny)
    assert status == 0 and "4 runs, 0 evaluated again" in text
    digit_of_the_rows(tiny)
    assert checked(tiny)[0] == 1


def test_of_a_study_of_which_only_metrics_csv_is_kept_its_hash_is_checked(tiny):
    for folder in ("table2", "table2,task.scale=2", "table4", "baselines"):
        shutil.rmtree(tiny / folder)
    assert checked(tiny)[0] == 0
    edit(tiny / "metrics.csv", number(tiny / "metrics.csv"), "30.000000")
    assert checked(tiny)[0] == 1


def test_why_a_baseline_without_its_runs_is_not_evaluated_again(tiny):
    for folder in ("table2", "table2,task.scale=2", "table4"):
        shutil.rmtree(tiny / folder)
    status, text = checked(tiny)
    [line] = [line for line in text.splitlines() if BASELINE in line]
    assert status == 0 and "configuration" in line and "bundled is" not in line


def test_data_that_is_not_here_is_said(tiny, monkeypatch):
    def absent(name, **_):
        raise catalogue.NotAvailable(name)

    monkeypatch.setattr(catalogue, "test_set", absent)
    status, text = checked(tiny)
    assert status == 0 and "4 runs, 0 evaluated again" in text
    assert any("bundled" in line and "4 runs" in line for line in text.splitlines())


@pytest.mark.parametrize("run_folders", [True, False])
def test_weights_kept_in_half_precision(tiny, run_folders):
    for name in RUNS:
        state = checkpoint.load(tiny / name / "weights.pt")
        state["network"] = provenance.halved(state["network"])
        checkpoint.save(tiny / "weights" / f"{name}.pt", state)
        (tiny / name / "weights.pt").unlink()
        if not run_folders:
            shutil.rmtree(tiny / name)
    status, text = checked(tiny)
    assert status == 0 and "4 runs, 4 evaluated again" in text, text

    def change(state):
        state["network"]["reconstruct.weight"][0, 0, 1, 1] += 0.1

    change_weights(tiny / "weights" / f"{MAE}.pt", change)
    status, text = checked(tiny)
    [line] = [line for line in text.splitlines() if line.startswith(f"{MAE}: ")]
    assert status == 1
    assert_names(line, "DIFFERS", "weights ", "psnr of")


def test_nothing_that_a_folders_configuration_names_is_run(tiny, tmp_path):
    flag = tmp_path / "was_here"
    for name in RUNS:
        (tiny / name / "weights.pt").unlink()
        path = tiny / name / "config.yaml"
        head, tail = path.read_text().split("task:\n")
        rest = tail[tail.index("loss:\n") :]
        node = f"task:\n  _target_: builtins.open\n  file: {flag}\n  mode: w\n"
        path.write_text(head + node + rest)
    assert checked(tiny)[0] == 1 and not flag.exists()


def test_weights_that_are_none_differ_and_do_not_end_the_check(tiny):
    def overflow(state):
        state["network"] = {k: torch.full_like(v, 3e38) for k, v in state["network"].items()}

    change_weights(tiny / RUNS[1] / "weights.pt", lambda state: state.pop("network"))
    change_weights(tiny / MAE / "weights.pt", overflow)
    status, text = checked(tiny)
    assert status == 1
    for name in (RUNS[1], MAE):
        assert f"{name}: DIFFERS" in text


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ("none", "none"),
        ("runs=table2", "STUDY"),
        ("{study} runs=table9", "'table9' table2,task.scale=2"),
        ("{study} tolerance=low", "tolerance=low"),
        ("{study} tolerance=nan", "tolerance=nan"),
        ("{study} tolerance=-1", "tolerance=-1"),
        ("{study} rus=table2", "'runs'"),
        ("{study} {study}", "STUDY"),
        ("{study} device=gpu9", "'gpu9'"),
    ],
)
def test_bad_usage(tiny_made, arguments, names):
    assert_refused(call("verify", *arguments.format(study=tiny_made).split()), *names.split())


def test_a_damaged_record_is_refused(tiny):
    path = tiny / provenance.STUDY
    path.write_text(path.read_text()[:200])
    assert_refused(call("verify", tiny), path.name)
    path.write_text('{"format": 99}')
    with refuses(DataError, path):
        provenance.read(path)
