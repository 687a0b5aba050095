"""The commands that a study's runs come from."""

import shlex

from helpers import SRCNN, TINY, call, small_images

from asyrepro.runs import commandline


def test_what_belongs_to_the_machine_is_left_out_and_the_rest_can_be_typed_again(tmp_path):
    kept = ["-m", "--config-dir", "my own", "task.sigma=[0,55]", "model.name='a, b'", "minutes=3"]
    machines = [
        "results=/tmp",
        "runtime.threads=1",
        "+runtime.logger.options=1",
        "hydra/launcher=x",
    ]
    with commandline.carrying_out("train", [*machines, *kept, "hydra.launcher.n_jobs=2"]):
        commandline.note(tmp_path)
    [line] = commandline.noted(tmp_path)
    assert shlex.split(line) == ["asyrepro", "train", *kept]


def test_a_command_that_another_one_starts_is_not_its_own(tmp_path):
    with commandline.carrying_out("reproduce", []), commandline.carrying_out("train", ["-m"]):
        commandline.note(tmp_path)
    with commandline.carrying_out("train", ["seed=1"]):
        commandline.note(tmp_path)
        commandline.note(tmp_path)
    commandline.note(tmp_path)  # outside of any command
    assert commandline.noted(tmp_path) == ["asyrepro reproduce", "asyrepro train seed=1"]


def test_a_training_is_noted_when_it_begins_and_once(tmp_path):
    study = tmp_path / "tiny"
    settings = [*TINY, *SRCNN, f"results={tmp_path}"]
    shown = shlex.join(item for item in settings if not item.startswith(("results=", "runtime.")))
    with small_images():
        assert call("train", *settings, "recipe.batch=0").status == 2
        assert commandline.noted(study) == []  # it was refused
        assert call("train", *settings).status == 0
        assert call("train", *settings, "loss=mae").status == 0  # which is finished
        assert call("train", "-m", *settings, "seed=0,1").status == 0
        assert call("train", *settings).status == 0
    assert commandline.noted(study) == [
        f"asyrepro train {shown}",
        f"asyrepro train -m {shown} seed=0,1",
    ]
