"""What a run and a study record of how they were made."""

import getpass
import json
import os
import shutil
import socket
import subprocess

import pytest
import torch
from helpers import call
from PIL import Image

from asyrepro.data import catalogue, sources
from asyrepro.runs import provenance
from asyrepro.runs.run import Run
from asyrepro.system import files
from asyrepro.training import checkpoint

MAE = "table2/mae/seed0"
RUNS = [MAE, "table2/asy_mae/seed0", "table2,task.scale=2/mae/seed0", "table4/mse/seed0"]


def test_a_run_records_what_it_was_made_with(tiny):
    record = json.loads((tiny / MAE / "provenance.json").read_text())
    [environment] = record["environments"]
    assert environment["versions"]["torch"] == torch.__version__.split("+")[0]
    assert set(environment["versions"]) == {"python", *provenance.PACKAGES}
    assert environment["device"] == "cpu" and environment["cpu"]
    assert environment["flags"]["threads"] == torch.get_num_threads()
    assert record["config"] == files.read_csv(tiny / MAE / "rows.csv")[0]["config"]
    assert record["data"] == {
        "training bundled": catalogue.training_set("bundled", mode="luma").fingerprint,
        "test bundled": catalogue.test_set("bundled", mode="luma").fingerprint,
    }
    weights = checkpoint.load(tiny / MAE / "weights.pt")["network"]
    assert record["weights_sha256"] == checkpoint.digest(weights)


def test_nothing_personal_is_recorded(tiny):
    texts = [path.read_text() for path in tiny.rglob("*.json")]
    assert len(texts) == 5
    for text in texts:
        for word in (str(tiny.parent), str(provenance.ROOT), os.getcwd(), socket.gethostname()):
            assert word not in text
        assert f'"{getpass.getuser()}"' not in text


def test_the_record_of_a_study_outlives_the_files_it_was_read_from(tiny):
    record = tiny / provenance.STUDY
    before = record.read_bytes()
    record.unlink()
    provenance.collect(tiny)
    assert record.read_bytes() == before
    for name in RUNS:
        (tiny / name / "weights.pt").unlink()
        (tiny / name / "provenance.json").unlink()
    provenance.collect(tiny)
    assert record.read_bytes() == before
    for name in RUNS:  # only metrics.csv is kept
        shutil.rmtree(tiny / name)
    assert provenance.collect(tiny) is None
    assert record.read_bytes() == before


def test_a_run_without_provenance_tells_what_its_files_tell(tiny):
    for name in RUNS:
        (tiny / name / "provenance.json").unlink()
    recorded = provenance.read(tiny / provenance.STUDY)["cells"][MAE]
    (tiny / provenance.STUDY).unlink()
    found = provenance.read(provenance.collect(tiny))
    entry = found["cells"][MAE]
    for key in ("config", "rows_sha256", "weights_sha256", "weights_half_sha256"):
        assert entry[key] == recorded[key]
    assert entry["data"] is None and entry["finished"] is None and entry["environments"] == []
    assert call("verify", tiny, "runs=table2/mae", "device=cpu").status == 0


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
    with pytest.warns(UserWarning, match="set5"):
        expected = catalogue.test_set("set5", mode="luma", root=tmp_path).fingerprint
    assert catalogue.fingerprint("test", "set5", tmp_path) == expected
    (tmp_path / "Set5" / next(iter(sources.FOLDERS["set5"].files))).unlink()
    assert catalogue.fingerprint("test", "set5", tmp_path) is None
    bundled = catalogue.training_set("bundled", mode="rgb").fingerprint
    assert catalogue.fingerprint("training", "bundled") == bundled
