"""Fixtures of several test files."""

import os
import socket
from contextlib import ExitStack

import pytest
from helpers import PAPER, Server, study

from asyrepro.analysis import verdicts
from asyrepro.data import download, sources


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
