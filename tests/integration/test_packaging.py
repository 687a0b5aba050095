"""The files around the package say the same as each other."""

import ast
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from helpers import ROOT

RENAMED = {"torch": "pytorch", "matplotlib": "matplotlib-base"}  # PyPI's name -> conda-forge's
MODULES = {"PIL": "pillow", "skimage": "scikit-image", "yaml": "pyyaml", "hydra": "hydra-core"}
MODULES |= {"markdown_it": "markdown-it-py"}
MODULES |= {"joblib": "hydra-joblib-launcher"}  # which brings it, and without which it is not used


def requirements(*groups):
    """Name -> bounds, of these lists of packages in pyproject.toml."""
    text = (ROOT / "pyproject.toml").read_text()
    lists = [re.search(rf"^{name} = \[(.*?)\]", text, re.S | re.M).group(1) for name in groups]
    return dict(re.findall(r'"([\w-]+)(>=[^"]+)"', "".join(lists)))


def test_environment_yml_is_in_step_with_pyproject():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pinned = [item for item in listed if isinstance(item, str) and ">=" in item]
    conda = dict(re.fullmatch(r"([\w-]+)(>=.+)", item).groups() for item in pinned)
    python = re.search(r'requires-python = "(>=[\d.]+)"', (ROOT / "pyproject.toml").read_text())
    needed = requirements("dependencies", "dev")
    assert conda.pop("python") == python.group(1)
    assert conda == {RENAMED.get(name, name): bound for name, bound in needed.items()}


def test_every_package_that_is_imported_is_required():
    found = set()
    for path in [*ROOT.glob("asyrepro/**/*.py"), *ROOT.glob("scripts/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            found |= {name.partition(".")[0] for name in names}
    own = {"asyrepro", *(path.stem for path in ROOT.glob("scripts/*.py"))}
    others = found - own - set(sys.stdlib_module_names)
    assert {"numpy", "skimage", "torch"} <= others
    assert {MODULES.get(name, name) for name in others} <= set(
        requirements("dependencies", "dev", "wandb")
    )


def test_readme_names_only_files_that_exist():
    for path in re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / path).exists(), f"README.md links to {path}, which does not exist"


def test_reports_names_only_tests_that_exist():
    named = re.findall(
        r"((?:unit|integration)/\w+\.py)((?:[:,] `\w+`)+)", (ROOT / "docs/reports.md").read_text()
    )
    assert named
    for path, tests in named:
        defined = set(re.findall(r"^def (\w+)", (ROOT / "tests" / path).read_text(), re.M))
        assert set(re.findall(r"`(\w+)`", tests)) <= defined, path


def test_the_wheel_is_complete_and_finds_its_configurations(tmp_path):
    pytest.importorskip("setuptools")
    source = tmp_path / "source"
    for name in ("asyrepro", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, source]
    subprocess.run(build, check=True)
    [wheel] = tmp_path.glob("*.whl")
    shipped = set(zipfile.ZipFile(wheel).namelist())
    there = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("asyrepro/**/*")}
    there |= {f"asyrepro/{path.relative_to(ROOT)}" for path in ROOT.glob("configs/**/*.yaml")}
    wanted = {name for name in there if Path(name).suffix and "__pycache__" not in name}
    assert wanted <= shipped

    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    empty = tmp_path / "empty"
    empty.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "asyrepro", "train", "task.scale=2", "--cfg", "job"],
        cwd=empty, env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and "scale: 2" in done.stdout, done.stderr
