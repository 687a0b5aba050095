"""What comes from outside: packages and data sets. Weights: test_bad_checkpoints.py."""

import re
from importlib.metadata import PackageNotFoundError, distribution

import packaging.markers
import pytest
from helpers import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from asyrepro.data import sources


@pytest.mark.parametrize("name", sources.FOLDERS)
def test_every_download_is_https_has_a_checksum_and_may_be_as_large_as_it_is(name):
    folder = sources.FOLDERS[name]
    for source in folder.sources:
        assert source.url.startswith("https://")
        assert source.archive == source.url.endswith((".zip", ".tgz"))
        assert source.max_bytes > 1e6 * folder.megabytes / (1 if source.archive else 1000)
        # DIV2K publishes an MD5 of its archives; every other image has a SHA-256 here.
        if not re.fullmatch("[0-9a-f]{32}", source.md5):
            assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in folder.files.values())


# ------------------------------------------------------------------------------------ the lock


def locked():
    """Name -> version of requirements.lock, for this platform."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    items = [Requirement(line) for line in lines if line and not line.startswith("#")]
    here = [item for item in items if item.marker is None or item.marker.evaluate()]
    assert all(re.fullmatch(r"==[\w.!]+", str(item.specifier)) for item in items), "not a pin"
    return {canonicalize_name(item.name): str(item.specifier)[2:] for item in here}


def test_the_lock_is_within_the_ranges_of_pyproject():
    toml = pytest.importorskip("tomllib", reason="tomllib came with Python 3.11")
    project = toml.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = locked()
    for text in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        item = Requirement(text)
        name = canonicalize_name(item.name)
        assert name in pins, f"{name} is not in requirements.lock: run `make lock`"
        assert pins[name] in item.specifier, f"{name} {pins[name]} is not {item.specifier}"


def test_the_lock_needs_nothing_beyond_itself():
    pins = locked()
    alike = {name: pin for name, pin in pins.items() if installed(name) == pin}
    if not alike:
        pytest.skip("no package is installed in the lock's version: their needs are not known")
    for name in alike:
        for item in map(Requirement, distribution(name).requires or []):
            if item.marker is None:
                needed = canonicalize_name(item.name)
                assert needed in pins, f"{name} needs {needed}"
                assert pins[needed] in item.specifier, f"{name} needs {item}"


def test_conditions_on_platforms_are_kept(monkeypatch):
    lock = pytest.importorskip("lock", reason="tomllib came with Python 3.11")
    real = packaging.markers.default_environment
    needs = {
        "a": ["b[fast]; platform_system == 'Linux' and python_version < '4'", "c"],
        "b": ["d; extra == 'fast'", "e; extra == 'slow'", "c", "f; python_version < '3'"],
        "c": [],
        "d": [],
    }

    class Installed:
        def __init__(self, name):
            self.requires = needs[name]

    monkeypatch.setattr(lock, "distribution", Installed)
    linux = 'platform_system == "Linux"'
    environment = {"platform_system": "Linux"}
    monkeypatch.setattr("packaging.markers.default_environment", lambda: real() | environment)
    found = lock.needed([Requirement("a>=1")])
    assert found == {"a": {""}, "b": {linux}, "c": {"", linux}, "d": {linux}}


def installed(name):
    """The version that is installed, without its local part; "absent" if there is none."""
    try:
        return distribution(name).version.partition("+")[0]
    except PackageNotFoundError:
        return "absent"
