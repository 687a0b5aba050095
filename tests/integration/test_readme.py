"""Each command that README.md tells to run does run: on small images, and without the training."""

import re
import shutil

import pytest
import torch
from helpers import ROOT, commands
from hydra import compose, initialize_config_dir
from material import encoded, picture
from PIL import Image

from asyrepro import __main__ as door
from asyrepro.commands import reproduce
from asyrepro.runs import config
from asyrepro.runs.plan import Plan

pytestmark = pytest.mark.usefixtures("nowhere")
COMMANDS = commands((ROOT / "README.md").read_text(encoding="utf-8"))
SETTINGS = [words for words in COMMANDS if words[1] == "train"]
OTHERS = [words for words in COMMANDS if words[0] == "asyrepro" and words[1] != "train"]
QUICK = {  # what makes a command short, or independent of what the committed reports are made by
    "evaluate": ["testset=./FOLDER", "device=cpu"],
    "restore": ["device=cpu"],
    "report": ["study=edsr-failing"],
    "verify": ["runs=table2/mae/seed0"],
}
MINE = """
name: mine
base: mse
criterion: {_target_: asyrepro.losses.AsymmetricLoss, base: mse}
"""


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder with what the commands name: a study, its weights, pictures, a table, a loss."""
    for study in ("paper-cpu", "edsr-failing"):
        shutil.copytree(ROOT / "results" / study, tmp_path / "results" / study)
    for folder in ("FOLDER", "REFERENCE", "OUTPUT"):
        (tmp_path / folder).mkdir()
    for name in ("photo.jpg", "FOLDER/a.png", "REFERENCE/a.png", "OUTPUT/a.png"):
        pixels = picture(48, 48, channels=0)
        (tmp_path / name).write_bytes(encoded(Image.fromarray(pixels)))
    losses = tmp_path / "configs" / "loss"
    losses.mkdir(parents=True)
    (losses / "mine.yaml").write_text(MINE)
    (tmp_path / "mine.csv").write_text(
        "loss,image,psnr\n"
        + "".join(f"{loss},{i},{30 + i}\n" for loss in ("l1", "mine") for i in range(4))
    )
    with config.composing():
        public = config.make(config.compose(["model=dncnn_public"]).model.network)
    torch.save(public.state_dict(), tmp_path / "dncnn25.pth")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("words", [words for words in COMMANDS if words[0] == "make"], ids=" ".join)
def test_make(words):
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.*)$", text, re.M)[1].split()
    for word in words[1:]:
        name, given, _ = word.partition("=")
        assert re.search(rf"^{name} *\?=", text, re.M) if given else name in targets


@pytest.mark.parametrize("words", OTHERS, ids=" ".join)
def test_a_command(clone, monkeypatch, capsys, words):
    _, name, *given = words
    given = [word for word in given if not word.startswith("testset=")]
    if name == "reproduce":
        trained = []
        monkeypatch.setattr(reproduce, "_train", lambda arguments: trained.append(arguments) or 0)
        given = ["--config-dir", str(clone / "configs"), *given, "experiment=table2_srcnn"]
        given.append("runtime.device=cpu")
        assert door.main([name, *given]) == 1  # as nothing has been trained
        assert "--multirun" in trained[0]
    else:
        assert door.main([name, *given, *QUICK.get(name, [])]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("words", SETTINGS, ids=" ".join)
def test_training(clone, words):
    given = [word for word in words[2:] if word != "-m"]
    lists = {}
    for word in given:
        name, _, values = word.partition("=")
        if name in reproduce.LISTS:
            lists[name] = values.split(",")
    rest = [word for word in given if word.partition("=")[0] not in lists]
    rest += ["dataset=bundled", "testset=bundled", "max_steps=2", "runtime.device=cpu"]
    plan = Plan.of(lists["experiment"], lists["loss"], lists["seed"], rest)
    assert len(plan.todo()) == len(lists["loss"]) * len(lists["seed"])


def test_every_page_names_settings_that_exist():
    pages = [ROOT / "README.md", ROOT / "data" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    found = [w for page in pages for w in commands(page.read_text(encoding="utf-8"))]
    lines = [w[2:] for w in found if w[:2] in (["asyrepro", "train"], ["asyrepro", "reproduce"])]
    assert len(lines) >= 20
    with initialize_config_dir(str(config.CONFIGS), version_base="1.3"):
        for words in lines:
            if "--config-dir" in words or "mine" in str(words):
                continue
            words = [word for word in words if re.match(r"[\w./]+=", word)]
            first = [word if "[" in word else word.split(",")[0] for word in words]
            compose("train", [word for word in first if not word.startswith("hydra")])
