"""scripts/fuzz.py: damaged files do no harm, and where they would it is seen."""

import faulthandler
import importlib.util
import itertools
import os
import signal
import warnings
from collections import Counter
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "fuzz.py"


@pytest.fixture
def fuzz():
    spec = importlib.util.spec_from_file_location("fuzz", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_damaged_files_are_read_or_refused(fuzz, tmp_path):
    outcomes = Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of odd metadata
        for kind, content in itertools.islice(fuzz.cases(seed=7), 400):
            (tmp_path / "case").write_bytes(content)
            outcomes[kind, fuzz.attempt(fuzz.READERS[kind], tmp_path / "case")] += 1
    assert outcomes.keys() == {
        *(("image", "read"), ("image", "DataError")),
        *(("checkpoint", "read"), ("checkpoint", "CheckpointError")),
        *(("weights", "read"), ("weights", "CheckpointError")),
    }
    assert min(outcomes.values()) > 5


def raises(path):
    raise ZeroDivisionError


def crashes(path):
    faulthandler.disable()  # pytest's, which would write all threads' stacks
    os.kill(os.getpid(), signal.SIGSEGV)


def hangs(path):
    while True:
        pass


def grows(path):
    return bytearray(b"x") * 150_000_000


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (raises, "ZeroDivisionError"),
        (crashes, "a process that ended by SIGSEGV"),
        (hangs, "a process that ended by more than 0.2 seconds of work"),
        (grows, "too much memory"),
    ],
)
def test_harm_is_seen_and_the_file_kept(fuzz, tmp_path, monkeypatch, capsys, harm, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(fuzz.READERS, "image", harm)
    if harm is hangs:
        monkeypatch.setattr(fuzz, "SECONDS", 0.2)
    monkeypatch.setattr(fuzz, "MEMORY", 100_000_000)
    assert fuzz.fuzz(minutes=5, seed=3, most=10) == 1
    assert message in capsys.readouterr().out
    (kind, _), (other, content) = itertools.islice(fuzz.cases(seed=3), 2)
    assert (kind, other) == ("checkpoint", "image")
    assert (tmp_path / "fuzz-image-3-1").read_bytes() == content


def test_a_run_without_harm_says_so(fuzz, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert fuzz.fuzz(minutes=5, seed=3, most=20) == 0
    assert "20 damaged files, none of which did harm (seed 3)" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
