"""What the documentation tells to write and to run."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import skimage.data
from hydra import compose, initialize_config_dir
from PIL import Image

from asyrepro.runs import config

ROOT = Path(__file__).parents[2]
COMMAND = re.compile(r"^    asyrepro train ((?:.*\\\n)*.*)$", re.M)
TEXT = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```\w+\n# (\S+)\n(.*?)^```$", re.M | re.S)
QUICK = ["max_steps=2", "runtime.threads=1", "recipe.validate_every=0"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with every file of the page, and photographs of one's own."""
    folder = tmp_path_factory.mktemp("extending")
    for name, content in BLOCK.findall(TEXT):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    for name in ("train", "test"):
        (folder / "photos" / name).mkdir(parents=True)
        Image.fromarray(skimage.data.astronaut()[:96, :96]).save(folder / "photos" / name / "a.png")
    return folder


def command(words: str) -> list[str]:
    """The page's one `asyrepro train` command that has these words, made short."""
    (line,) = re.findall(rf"^    asyrepro (train .*{re.escape(words)}.*)$", TEXT, re.M)
    line = re.sub(r"seed=[\d,]+", "seed=0", line)
    if "photos" not in line:
        line = re.sub(r"dataset=\w+|testset=\w+", "", line) + " dataset=bundled testset=bundled"
    return [*shlex.split(line), *QUICK]


@pytest.mark.parametrize(
    ("words", "study", "loss"),
    [
        ("loss=mae,charbonnier_mine", "charbonnier", "charbonnier_mine"),
        ("model=tiny", "network", "mae"),
        ("task=impulses", "task", "mae"),
        ("dataset=photos", "data", "mae"),
    ],
)
def test_added_as_written(folder, words, study, loss):
    run = subprocess.run(
        [sys.executable, "-m", "asyrepro", *command(words), f"study={study}"],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert run.returncode == 0, run.stderr
    (rows,) = folder.glob(f"results/{study}/*/{loss}/seed0/rows.csv")
    assert pd.read_csv(rows)["psnr"].notna().all()


def commands() -> list[str]:
    """Every `asyrepro train` command of docs/ that needs no file of the reader's."""
    pages = sorted((ROOT / "docs").glob("*.md"))
    found = [line for page in pages for line in COMMAND.findall(page.read_text(encoding="utf-8"))]
    return [line.replace("\\\n", " ") for line in found if "--config-dir" not in line]


def test_commands_name_settings_that_exist():
    assert len(commands()) >= 10
    with initialize_config_dir(str(config.CONFIGS), version_base="1.3"):
        for line in commands():
            words = [
                word for word in shlex.split(line, comments=True) if re.match(r"[\w./]+=", word)
            ]
            first = [word if "[" in word else word.split(",")[0] for word in words]
            compose("train", [word for word in first if not word.startswith("hydra")])
