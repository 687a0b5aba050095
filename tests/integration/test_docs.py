"""What the documentation tells to write and to run."""

import re
import shlex

import pandas as pd
import pytest
import skimage.data
from helpers import ROOT, commands, door, small_images
from PIL import Image

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
    [line] = [" ".join(found[1:]) for found in commands(TEXT) if {"train", words} <= set(found)]
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
def test_added_as_written(folder, monkeypatch, words, study, loss):
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    with small_images():
        assert door(*command(words), f"study={study}") == 0
    (rows,) = folder.glob(f"results/{study}/*/{loss}/seed0/rows.csv")
    assert pd.read_csv(rows)["psnr"].notna().all()
