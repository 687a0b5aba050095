"""One cell: its folder, its rows, and what it refuses."""

import fcntl
import math
import re
import shutil
import subprocess
import sys
from unittest import mock

import pytest
import torch
from omegaconf import OmegaConf

from asyrepro.commands import evaluate, train
from asyrepro.data import catalogue
from asyrepro.runs import config, evaluation, execution, parts, provenance, results
from asyrepro.runs.execution import carry_out
from asyrepro.runs.resolve import resolve
from asyrepro.runs.run import Run
from asyrepro.system import devices, files, locks
from asyrepro.system.errors import CheckpointError, ConfigError, DataError
from asyrepro.training import checkpoint
from asyrepro.training.loop import Diverged

TINY = [
    "experiment=table2_srcnn", "profile=smoke", "dataset=bundled", "recipe.steps=2",
    "recipe.batch=1", "runtime.progress=false", "runtime.device=cpu", "seed=3",
]  # fmt: skip


def configured(*overrides, results="results"):
    return config.compose([*TINY, f"results={results}", *overrides])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished cell: (folder, configuration, rows)."""
    root = tmp_path_factory.mktemp("results")
    cfg = resolve(configured("study=s", results=root))
    folder = root / "s" / "table2" / "mae" / "seed3"
    return folder, cfg, carry_out(cfg, Run(folder))[0]


def test_a_cell_leaves_its_files_and_the_baseline(finished):
    folder, _, rows = finished
    assert folder.relative_to(folder.parents[3]).as_posix() == "s/table2/mae/seed3"
    names = {path.name for path in folder.iterdir()}
    assert names >= {"config.yaml", "history.csv", "rows.csv", "profiles.csv", "weights.pt"}
    assert "checkpoint.pt" not in names
    assert len(rows) == 10
    baseline = files.read_csv(folder.parents[2] / "baselines" / "table2_bundled.csv")
    assert [row["image"] for row in baseline] == [row["image"] for row in rows]
    assert {row["loss"] for row in baseline} == {"bicubic"}


def test_a_base_that_is_declared_afterwards_is_noted_and_trains_nothing(finished):
    folder, _, rows = finished
    before = (folder / "config.yaml").read_text()
    for base in ("asy_mse", "mse", None):
        changed = [f"+loss.base={base}"] if base else []
        composed = configured("study=s", *changed, results=folder.parents[3])
        assert Run.of(composed).loss == folder.parent.name
        cfg = resolve(composed)
        assert carry_out(cfg, Run(folder))[1]  # finished already
        assert Run(folder).base == (base or "")
    assert (folder / "config.yaml").read_text() == before
    assert len(rows) == 10


def test_rows_say_what_they_are(finished):
    folder, _, _ = finished
    row = files.read_csv(folder / "rows.csv")[0]
    assert list(row) == list(results.COLUMNS)
    expected = {"table": "2", "model": "srcnn", "dataset": "bundled", "loss": "mae", "seed": "3"}
    assert {key: row[key] for key in expected} == expected
    assert row["testset"] == "bundled" and row["iterations"] == "2" and row["device"] == "cpu"
    assert f"torch {torch.__version__.split('+')[0]}" in row["versions"]
    assert float(row["rmse"]) == pytest.approx(10 ** (-float(row["psnr"]) / 20), rel=1e-4)


def test_the_stored_configuration_names_no_folder_of_this_machine(finished):
    folder, _, _ = finished
    text = (folder / "config.yaml").read_text()
    assert str(folder.parents[3]) not in text and "runtime" not in text


def test_a_finished_cell_is_not_trained_again(finished):
    folder, cfg, rows = finished
    before = (folder / "weights.pt").stat().st_mtime_ns
    again = carry_out(cfg, Run(folder))[0]
    assert [row["psnr"] for row in again] == [f"{row['psnr']:.7f}" for row in rows]
    assert (folder / "weights.pt").stat().st_mtime_ns == before


def test_a_finished_training_without_rows_is_evaluated_again(finished, monkeypatch, tmp_path):
    folder, cfg, rows = finished
    copy = tmp_path / "s" / "table2" / "mae" / "seed3"
    shutil.copytree(folder, copy)
    text, record = (copy / "rows.csv").read_text(), provenance.read(copy / "provenance.json")
    (copy / "rows.csv").unlink()
    monkeypatch.setattr(execution.Job, "train", None)
    with monkeypatch.context() as patch:  # stopped in the middle
        patch.setattr(execution.Job, "evaluate", mock.Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            carry_out(cfg, Run(copy))
    again, before = carry_out(cfg, Run(copy))
    assert len(again) == len(rows) and not before
    assert (copy / "rows.csv").read_text() == text
    assert provenance.read(copy / "provenance.json") == record | {"finished": mock.ANY}


def test_weights_of_another_configuration_are_not_evaluated(finished, tmp_path):
    folder = finished[0]
    shutil.copytree(folder, copy := tmp_path / "s" / "table2" / "mse" / "seed3")
    for name in ("rows.csv", "config.yaml"):
        (copy / name).unlink()
    with pytest.raises(CheckpointError, match=r"weights.pt is of another conf.*delete it to train"):
        carry_out(resolve(configured("loss=mse")), Run(copy))


def test_weights_are_read_back_and_score_the_same(finished, capsys):
    folder, _, rows = finished
    arguments = [f"checkpoint={folder / 'weights.pt'}", "testset=bundled", "device=cpu"]
    output = folder.parent / "rows.csv"
    assert evaluate.main([*arguments, f"output={output}"]) == 0
    again = files.read_csv(output)
    assert [r["psnr"] for r in again[:10]] == [f"{row['psnr']:.7f}" for row in rows]
    assert {r["loss"] for r in again[10:]} == {"bicubic"}
    assert "astronaut_face" in capsys.readouterr().out


def test_another_configuration_is_refused_and_named(finished):
    folder, _, _ = finished
    cfg = resolve(configured("recipe.optimizer.lr=0.5"))
    message = r"another configuration \(recipe.optimizer.lr was 0.002, now 0.5\); choose another"
    with pytest.raises(ConfigError, match=message):
        carry_out(cfg, Run(folder))


def test_where_and_how_a_run_is_carried_out_is_not_its_identity():
    plain = config.identity(configured())
    assert config.identity(configured("runtime.compile=true", "study=other")) == plain
    assert config.identity(configured("+loss.base=mse")) == plain
    for change in ("seed=4", "loss=mse", "task.scale=2", "recipe.batch=2", "amp=false"):
        assert config.identity(configured(change)) != plain


@pytest.mark.parametrize("has_it", [True, False])
def test_what_was_begun_keeps_its_precision(finished, monkeypatch, tmp_path, has_it):
    folder, cfg, rows = finished  # of this processor, which may have bfloat16 or not
    monkeypatch.setattr(devices, "fast_bfloat16", lambda device: has_it)
    assert resolve(configured(), Run(tmp_path / "new")).amp is has_it
    again = resolve(configured(), Run(folder))
    assert again.amp is cfg.amp and len(carry_out(again, Run(folder))[0]) == len(rows)
    # A precision that is asked for is never changed, and has no folder of its own.
    other = "amp=false" if cfg.amp else "amp=true"
    assert Run.of(configured(other)) == Run.of(configured())
    with pytest.raises(ConfigError, match="amp was"):
        carry_out(resolve(configured(other), Run(folder)), Run(folder))


def test_a_folder_in_use_is_left_alone(finished):
    folder, cfg, _ = finished
    with open(folder / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(locks.InUse, match="another process is working in"):
            carry_out(cfg, Run(folder))


def test_one_seed_gives_one_initialisation_for_all_losses():
    digests = {
        checkpoint.digest(parts.build(configured(f"loss={loss}"), "cpu")[0].state_dict())
        for loss in ("mae", "mse", "asy_mae", "asy_mse_shuffled")
    }
    assert len(digests) == 1
    other = parts.build(configured("seed=4"), "cpu")[0].state_dict()
    assert checkpoint.digest(other) not in digests


def test_max_steps_shortens_the_schedule_too():
    cfg = resolve(configured("recipe.steps=100", "max_steps=20"))
    assert cfg.recipe.steps == cfg.recipe.scheduler.total_steps == 20
    with pytest.raises(ConfigError, match="max_steps is 0"):
        resolve(configured("max_steps=0"))


@pytest.mark.parametrize("steps", [1, 2, 10, 11])
def test_a_schedule_may_be_of_any_length(steps):
    # OneCycleLR itself divides by zero if its warm-up is one step long: a tenth of ten.
    cfg = configured("experiment=table4_dncnn", "profile=cpu", f"recipe.steps={steps}")
    recipe = resolve(cfg).recipe
    optimizer, scheduler = parts.optimization(recipe, torch.nn.Conv2d(16, 16, 1))
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert 0 < max(rates) <= recipe.optimizer.lr


def test_fallback_takes_the_stand_in_for_training_and_test_images(tmp_path, monkeypatch):
    monkeypatch.delenv("ASYREPRO_DATA", raising=False)
    monkeypatch.setattr("asyrepro.data.sources.home", lambda: tmp_path)
    wanted = configured("dataset=div2k", "fallback=true", "runtime.download=false")
    cfg = resolve(wanted)
    assert (cfg.dataset.name, cfg.testset, cfg.validation) == (
        "bundled", "bundled", "bundled_validation",
    )  # fmt: skip
    plain = resolve(configured("dataset=bsd300", "runtime.download=false"))
    assert plain.dataset.name == "bsd300"  # asked for by name: no stand-in


def test_a_denoiser_of_colours(tmp_path):
    overrides = ["experiment=table4_dncnn", "task.mode=rgb", "model.network.layers=3"]
    cfg = resolve(configured(*overrides, "model.network.image_channels=3", results=tmp_path))
    rows, _ = carry_out(cfg, Run(tmp_path / "table4/mae/seed3"))
    baseline = files.read_csv(next((tmp_path / "baselines").glob("*.csv")))
    # The noise has a PSNR of -20 log10(25 / 255) in each channel.
    assert [float(row["psnr"]) for row in baseline] == pytest.approx([20.17] * len(rows), abs=0.1)
    grey = resolve(configured(*overrides, results=tmp_path))
    with pytest.raises(ConfigError, match="image_channels"):
        carry_out(grey, Run(tmp_path / "grey/mae/seed3"))


@pytest.fixture
def absent(monkeypatch):
    """A set of names of data sets that cannot be had; all others can."""
    names = set()

    def have(name, runtime):
        if name in names:
            raise catalogue.NotAvailable(f"{name} cannot be had")

    monkeypatch.setattr("asyrepro.runs.resolve.have", have)
    return names


def begun(root, loss, dataset, rows=False):
    """The folder of a run that another process has begun with ``dataset``, in table 2."""
    folder = root / "table2" / loss / "seed3"
    folder.mkdir(parents=True)
    cfg = configured(f"dataset={dataset}", f"loss={loss}")
    (folder / "config.yaml").write_text(config.to_yaml(config.plain(cfg)))
    if rows:
        (folder / "rows.csv").write_text("")
    return folder


def test_a_fallback_says_why_and_a_table_keeps_its_training_set(tmp_path, absent, capsys):
    wanted = configured("dataset=div2k", "fallback=true")
    folder = tmp_path / "table2" / "mse" / "seed3"
    absent.add("div2k")
    assert resolve(wanted, Run(folder)).dataset.name == "bsd400"
    assert re.search("bsd400 .* instead of div2k", capsys.readouterr().err)
    absent.clear()
    assert resolve(wanted, Run(folder)).dataset.name == "div2k"
    begun(tmp_path, "mae", "bsd400")  # as when one download failed and the next one did not
    assert resolve(wanted, Run(folder)).dataset.name == "bsd400"
    absent.add("bsd400")
    with pytest.raises(catalogue.NotAvailable, match="bsd400 cannot be had"):
        resolve(wanted, Run(folder))


def test_a_test_set_that_is_a_benchmark_too_is_needed(absent):
    absent.add("set5")
    wanted = configured("dataset=bsd300", "fallback=true", "testset=set5", "benchmarks=[set5]")
    assert resolve(wanted).dataset.name == "bundled"


def test_a_finished_run_needs_no_data(tmp_path, absent):
    folder = begun(tmp_path, "mae", "bsd300", rows=True)
    absent |= {"bsd300", "validation", "table2"}
    cfg = resolve(configured("dataset=bsd300", "fallback=true"), Run(folder))
    assert (cfg.dataset.name, cfg.testset) == ("bsd300", "table2")


def test_a_table_begun_with_the_stand_in_is_not_continued_with_real_images(tmp_path, absent):
    wanted = configured("dataset=bsd300", "fallback=true")
    begun(tmp_path, "mae", "bundled")
    with pytest.raises(DataError, match="begun with bundled stand-in data, and bsd300 can be had"):
        resolve(wanted, Run(tmp_path / "table2" / "mse" / "seed3"))
    absent.add("bsd300")
    assert resolve(wanted, Run(tmp_path / "table2" / "mse" / "seed3")).dataset.name == "bundled"


def test_a_finished_run_on_the_stand_in_stays_what_it_is(tmp_path, absent):
    folder = begun(tmp_path, "mae", "bundled", rows=True)
    cfg = resolve(configured("dataset=bsd300", "fallback=true"), Run(folder))  # can be had by now
    assert (cfg.dataset.name, cfg.testset) == ("bundled", "bundled")


def test_benchmarks_are_the_profiles_or_those_that_are_asked_for(tmp_path, absent):
    assert resolve(configured()).benchmarks == []
    real = "profile=cpu", "dataset=bsd300"
    assert resolve(configured(*real)).benchmarks == ["set5", "set14"]
    assert resolve(configured(*real, "benchmarks=[set5]")).benchmarks == ["set5"]
    asked = configured("dataset=bsd300", "benchmarks=[set12]")
    assert resolve(asked).benchmarks == ["set12"]
    assert Run.of(asked).row == Run.of(configured("dataset=bsd300")).row


def test_a_benchmark_that_cannot_be_had_is_told_before_the_training(tmp_path, absent):
    absent.add("set12")
    cfg = configured("testset=null", "benchmarks=[set12]", "table=null", "study=s")
    folder = tmp_path / "s" / "table2" / "mae" / "seed3"
    with pytest.raises(catalogue.NotAvailable, match=r"set12 .* or give benchmarks=\[\]"):
        carry_out(resolve(cfg), Run(folder))
    assert not (folder / "checkpoint.pt").exists() and not (folder / "weights.pt").exists()


def test_lr_scale_holds_under_a_one_cycle_schedule():
    recipe = resolve(configured("+recipe.lr_scale={reconstruct: 0.1}")).recipe
    network, _ = parts.build(configured(), "cpu")
    optimizer, scheduler = parts.optimization(recipe, network)
    for _ in range(recipe.steps - 1):
        plain, scaled = (group["lr"] for group in optimizer.param_groups)
        assert scaled == pytest.approx(plain / 10)
        optimizer.step()
        scheduler.step()


SR = ["experiment=table2_srcnn", "profile=smoke"]


@pytest.mark.parametrize(
    ("overrides", "row"),
    [
        ([], "table2"),
        (["model.network.channels=[64,32]", "validation=validation", "task.scale=3"], "table2"),
        (
            [
                "recipe=srcnn",
                "budget=smoke",
                "recipe.clip=null",
                "dataset=bsd300",
                "task.mode=luma",
            ],
            "table2",
        ),
        (["amp=true", "max_steps=2", "runtime.threads=1", "benchmarks=[]"], "table2"),
        (["task.scale=2", "seed=3"], "table2,task.scale=2"),
        (["model.network.kernels=[9,5,5]"], "table2,model.network.kernels=[9,5,5]"),
        (["+loss.criterion.quartile=0.75"], "table2,loss.criterion.quartile=0.75"),
        (["recipe.optimizer.lr=1e-4"], "table2,recipe.optimizer.lr=0.0001"),
        (["recipe.scheduler.max_lr=1e-4"], "table2,recipe.scheduler.max_lr=0.0001"),
        (["budget=cpu", "validation=set5"], "table2,budget=cpu,validation=set5"),
        (["recipe=srcnn_original"], "table2,recipe=srcnn_original"),
    ],
)
def test_a_row_is_named_by_the_settings_that_differ(overrides, row):
    run = Run.of(config.compose([*SR, "study=s", *overrides]))
    assert run.folder.parts[:4] == ("results", "s", row, "mae")
    assert run.row == row and run.variant == row.partition(",")[2]


def test_without_an_experiment_a_row_is_called_by_its_network():
    assert Run.of(config.compose(["model=edsr", "task.scale=2"])).row == "edsr,task.scale=2"


def test_one_run_has_one_folder_however_it_is_written():
    written = ["task.scale=2"], ["task.scale=2", "model.network.channels=[64,32]", "task.scale=2"]
    found = [config.compose([*SR, *overrides]) for overrides in written]
    assert Run.of(found[0]) == Run.of(found[1])
    assert config.identity(config.plain(found[0])) == config.identity(config.plain(found[1]))


@pytest.mark.parametrize("other", ["max_steps=1", "recipe.batch=2", "validation=set5", "amp"])
def test_what_differs_in_more_than_loss_and_seed_is_not_averaged(finished, tmp_path, other):
    folder, cfg, _ = finished
    shutil.copytree(folder.parents[2], tmp_path / "s")
    setting = f"amp={str(not cfg.amp).lower()}" if other == "amp" else other
    for name in ("mae/seed4", "mse/seed3"):
        loss, seed = name.split("/seed")
        run = Run(tmp_path / "s" / "table2" / name)
        asked = resolve(configured(setting, f"loss={loss}", f"seed={seed}"), run)
        if other == "validation=set5":
            asked.validation = "set5"
        named = {"max_steps=1": r"recipe\.steps was 2, now 1"}.get(other, setting.split("=")[0])
        with pytest.raises(ConfigError, match=named):
            carry_out(asked, run)
        assert not run.config.exists()


def test_every_experiment_profile_and_loss_composes():
    groups = {
        group: sorted(p.stem for p in (config.CONFIGS / group).glob("*.yaml"))
        for group in ("experiment", "profile", "loss")
    }
    for profile in groups["profile"]:
        listed = OmegaConf.load(config.CONFIGS / "profile" / f"{profile}.yaml")
        assert set(listed.loss) <= set(groups["loss"])
        for experiment in listed.experiment:
            overrides = [f"experiment={experiment}", f"profile={profile}"]
            cfg = resolve(config.compose(overrides))
            _, task = parts.build(cfg, "cpu")
            assert cfg.recipe.patch % task.scale == 0
            assert cfg.cell == f"table{cfg.table}" and cfg.testset == cfg.cell


@pytest.mark.parametrize(
    ("overrides", "recipe", "steps"),
    [
        (["model=edsr"], "edsr_quick", 320),
        (["model=edsr", "budget=cpu"], "edsr", 28000),
        (["experiment=table5_dphsir", "profile=seeds"], "dphsir_seeds", 600),
        (["experiment=table5_dphsir", "profile=seeds", "budget=cpu"], "dphsir", 25000),
        (["model=dncnn", "recipe=dncnn_original"], "dncnn_original", 80000),
        (["experiment=table3_edsr_failing", "profile=cpu"], "edsr_failing", 200),
        (["hydra.searchpath=['file://{own}']", "model=mine"], "adam", 300),
        (["hydra.searchpath=['file://{own}']", "model=mine", "recipe.steps=7"], "adam", 7),
    ],
)
def test_the_recipe_of_a_network_and_its_length(tmp_path, overrides, recipe, steps):
    """Of one's own network: Adam, and the budget's row for any."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("defaults: [dncnn]\nname: mine\n")
    overrides = [item.format(own=tmp_path) for item in overrides]
    cfg = config.compose(overrides)
    assert cfg.hydra.runtime.choices.recipe == recipe
    assert cfg.recipe.steps == steps and cfg.recipe.scheduler.get("total_steps", steps) == steps


@pytest.mark.parametrize("sweep", sorted(p.stem for p in (config.CONFIGS / "sweep").glob("*")))
def test_a_sweep_in_yaml_sweeps_over_settings_that_are_there(sweep):
    cfg = config.compose([f"sweep={sweep}"])
    assert cfg.hydra.mode.name == "MULTIRUN"
    for name, values in cfg.hydra.sweeper.params.items():
        assert len(values.split(",")) > 1
        assert OmegaConf.select(cfg, name) is not None


def test_train_exits_with_one_sentence(tmp_path):
    command = [
        sys.executable,
        "-m",
        "asyrepro",
        "train",
        *TINY,
        "task.scale=5",
        f"results={tmp_path}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.strip().endswith("scale is 5; it must be one of 2, 3, 4")
    assert "Traceback" not in done.stderr


def test_an_all_black_test_image_has_no_nrmse_and_can_be_read(tmp_path):
    row = {"model": "srcnn", "loss": "mae", "seed": 0, "image": "black", "psnr": 40.0}
    row |= {"ssim": 0.5, "rmse": 0.01, "nrmse": float("nan"), "testset": "own", "table": None}
    files.write_text(tmp_path / "rows.csv", results.to_csv([row]))
    assert ",black,40.0000000,0.5000000,0.0100000,,own," in (tmp_path / "rows.csv").read_text()
    [read] = results.read_rows(tmp_path / "rows.csv").to_dict("records")
    assert read["psnr"] == 40 and math.isnan(read["nrmse"])


def test_a_network_that_diverged_at_the_very_end_has_no_rows(tmp_path, monkeypatch):
    cfg = resolve(configured("study=s", results=tmp_path))
    real = evaluation.outputs

    def infinite(*arguments):
        for image, inputs, output, label in real(*arguments):
            yield image, inputs, output * float("inf"), label

    monkeypatch.setattr(evaluation, "outputs", infinite)
    with pytest.raises(Diverged, match="its training diverged; choose a smaller learning rate"):
        carry_out(cfg, Run(tmp_path / "s" / "table2" / "mae" / "seed3"))
    assert not Run(tmp_path / "s" / "table2" / "mae" / "seed3").finished


@pytest.mark.parametrize(
    ("arguments", "sampled"),
    [
        (["loss=mae,mse", "seed=range(0,9)"], ["mae 0", "mse 0", "mse 8"]),
        (["loss=glob(asy_m?e)", "seed=1"], ["asy_mae 1", "asy_mse 1"]),
        (["loss=mae", "hydra/launcher=slurm", "seed=0"], ["mae 0"]),
    ],
)
def test_a_sweep_is_sampled_value_by_value_beforehand(arguments, sampled):
    with config.composing():
        jobs = [dict(item.split("=") for item in job) for job in train._samples(arguments)]
    assert [f"{job['loss']} {job['seed']}" for job in jobs] == sampled


def test_a_sweep_without_values_is_refused():
    with config.composing(), pytest.raises(ConfigError):
        train._samples(["seed=range(0,0)", "loss=mae"])


@pytest.mark.parametrize(("psnr", "warned"), [(-577.0, True), (31.0, False)])
def test_a_run_below_its_baseline_says_so(tmp_path, psnr, warned):
    run = Run(tmp_path / "s/table2/mae/seed0")
    row = {"testset": "set5", "image": "bird"}
    files.write_text(run.baseline("set5"), results.to_csv([row | {"psnr": 30.25}]))
    said = train.summary([row | {"psnr": psnr}], run)
    assert f"{psnr:.2f}" in said and ("30.25" in said) == warned
