"""scripts/fuzz.py: damaged files do no harm, and where they would it is seen."""

import faulthandler
import itertools
import os
import signal
import warnings
from collections import Counter

import fuzz
import pytest


def test_damaged_files_are_read_or_refused(tmp_path):
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
    ("harm", "name"),
    [
        (raises, "ZeroDivisionError"),
        (crashes, "SIGSEGV"),
        (hangs, "0.2 seconds"),
        (grows, "memory"),
    ],
)
def test_harm_is_seen_and_the_file_kept(tmp_path, monkeypatch, capsys, harm, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(fuzz.READERS, "image", harm)
    if harm is hangs:
        monkeypatch.setattr(fuzz, "SECONDS", 0.2)
    monkeypatch.setattr(fuzz, "MEMORY", 100_000_000)
    assert fuzz.fuzz(minutes=5, seed=3, most=10) == 1
    assert name in capsys.readouterr().out
    (kind, _), (other, content) = itertools.islice(fuzz.cases(seed=3), 2)
    assert (kind, other) == ("checkpoint", "image")
    assert (tmp_path / "fuzz-image-3-1").read_bytes() == content


def test_a_run_without_harm_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert fuzz.fuzz(minutes=5, seed=3, most=20) == 0
    said = capsys.readouterr().out
    assert "20 damaged files" in said and "seed 3" in said
    assert not list(tmp_path.iterdir())
