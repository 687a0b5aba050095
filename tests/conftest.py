"""Fixtures of several test files."""

import os
import shutil
import signal
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
from helpers import DNCNN, SRCNN, small_images, train
from material import Server
from synthetic import PAPER, study

from asyrepro.analysis import verdicts
from asyrepro.data import download, sources
from asyrepro.runs import provenance, results
from asyrepro.training import stopping

TINY_RUNS = {  # row, loss and seed in the study `tiny`: what they are of
    "table2/mae/seed0": [*SRCNN, "loss=mae"],
    "table2/asy_mae/seed0": [*SRCNN, "loss=asy_mae"],
    "table2,task.scale=2/mae/seed0": [*SRCNN, "loss=mae", "task.scale=2"],
    "table4/mse/seed0": [*DNCNN, "loss=mse"],
}


@pytest.fixture(scope="session")
def tiny_made(tmp_path_factory) -> Path:
    """The folder of a finished study of four tiny runs. Not to be changed: use ``tiny``."""
    root = tmp_path_factory.mktemp("tiny")
    for name, settings in TINY_RUNS.items():
        train(root, *settings, folder=root / "tiny" / name)
    results.collect(root / "tiny")
    provenance.collect(root / "tiny")
    return root / "tiny"


@pytest.fixture
def tiny(tiny_made, tmp_path) -> Path:
    """A copy of that study to be changed, and the small images that it was made with."""
    with small_images():
        yield shutil.copytree(tiny_made, tmp_path / "results" / "tiny")


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No data set is found by chance, and no server answers but those on this machine."""
    real = socket.getaddrinfo

    def refuse(host, *rest, **options):
        if host != "127.0.0.1":
            raise socket.gaierror("no network in tests")
        return real(host, *rest, **options)

    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("ASYREPRO_DATA", raising=False)
    monkeypatch.setattr(sources, "home", lambda: tmp_path / "home")
    monkeypatch.setattr(download, "_unreachable", {})
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(download, "ALLOWED", ("https://", "http://127.0.0.1:"))
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def server(nowhere):
    """A server on this machine, which answers what a test tells it to."""
    with ExitStack() as stack:
        yield Server(stack)


@pytest.fixture
def unstopped(monkeypatch):
    """Begin as a process that nothing has asked to end, and that ignores no signal.

    What is started in the background or by nohup ignores SIGINT or SIGHUP from the start.
    """
    monkeypatch.setattr(stopping, "_received", None)
    usual = {signal.SIGINT: signal.default_int_handler}
    usual |= dict.fromkeys((signal.SIGTERM, signal.SIGHUP), signal.SIG_DFL)
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def full():
    """All losses for both bases; asy_mae better by its asymmetry, asy_mse worse."""
    variants = ("", "_table1", "_normalized", "_shuffled", "_inverted")
    losses = [*("mae", "mse"), *(f"asy_{b}{n}" for b in ("mae", "mse") for n in variants)]
    effects = {"asy_mae": 0.1, "asy_mae_normalized": 0.1, "asy_mae_inverted": -0.1}
    return study(effects | {"asy_mse": -0.1}, losses=losses, seed=2)


@pytest.fixture(scope="session")
def compared(full):
    """Every comparison of that study, with the paper's changes."""
    return verdicts.verdicts(full, PAPER)
