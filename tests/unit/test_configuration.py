"""Settings: which run they name, and what experiments, recipes, schedules and sweeps hold."""

import pytest
import torch
from helpers import DNCNN, asked, configured, refuses
from omegaconf import OmegaConf

from asyrepro.runs import checks, config, parts
from asyrepro.runs.jobs import samples
from asyrepro.runs.resolve import resolve
from asyrepro.runs.run import Run
from asyrepro.system.errors import ConfigError
from asyrepro.training import checkpoint


def test_where_and_how_a_run_is_carried_out_is_not_its_identity():
    plain = config.identity(asked())
    assert config.identity(asked("runtime.compile=true", "study=other")) == plain
    assert config.identity(asked("+loss.base=mse")) == plain
    for change in ("seed=4", "loss=mse", "task.scale=2", "recipe.batch=2", "amp=false"):
        assert config.identity(asked(change)) != plain


def test_one_seed_gives_one_initialisation_for_all_losses():
    digests = {
        checkpoint.digest(parts.build(asked(loss=loss), "cpu")[0].state_dict())
        for loss in ("mae", "mse", "asy_mae", "asy_mse_shuffled")
    }
    assert len(digests) == 1
    other = parts.build(asked(seed=4), "cpu")[0].state_dict()
    assert checkpoint.digest(other) not in digests


def test_max_steps_shortens_the_schedule_too():
    cfg = resolve(asked("recipe.steps=100", "max_steps=20"))
    assert cfg.recipe.steps == cfg.recipe.scheduler.total_steps == 20


@pytest.mark.parametrize("steps", [1, 2, 10, 11])
def test_a_schedule_may_be_of_any_length(steps):
    # OneCycleLR itself divides by zero if its warm-up is one step long: a tenth of ten.
    cfg = asked("experiment=table4_dncnn", "profile=cpu", f"recipe.steps={steps}")
    recipe = resolve(cfg).recipe
    optimizer, scheduler = parts.optimization(recipe, torch.nn.Conv2d(16, 16, 1))
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert 0 < max(rates) <= recipe.optimizer.lr


def test_lr_scale_holds_under_a_one_cycle_schedule():
    recipe = resolve(asked("+recipe.lr_scale={reconstruct: 0.1}")).recipe
    network, _ = parts.build(asked(), "cpu")
    optimizer, scheduler = parts.optimization(recipe, network)
    for _ in range(recipe.steps - 1):
        plain, scaled = (group["lr"] for group in optimizer.param_groups)
        assert scaled == pytest.approx(plain / 10)
        optimizer.step()
        scheduler.step()


SR = ["experiment=table2_srcnn", "profile=smoke"]


DEFAULTS = ["recipe=srcnn", "budget=smoke", "recipe.clip=null", "dataset=bsd300", "task.mode=luma"]


@pytest.mark.parametrize(
    ("overrides", "row"),
    [
        ([], "table2"),
        (["model.network.channels=[64,32]", "validation=validation", "task.scale=3"], "table2"),
        (DEFAULTS, "table2"),
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


def test_a_run_as_its_experiment_has_it_is_named_without_composing_again(monkeypatch):
    cfg = config.compose([*SR, "study=s", "loss=mse", "seed=3", "runtime.threads=1"])
    monkeypatch.setattr(config, "compose", None)
    assert Run.of(cfg).name == "table2/mse/seed3"


def test_without_an_experiment_a_row_is_called_by_its_network():
    assert Run.of(config.compose(["model=edsr", "task.scale=2"])).row == "edsr,task.scale=2"


def test_one_run_has_one_folder_however_it_is_written():
    written = ["task.scale=2"], ["task.scale=2", "model.network.channels=[64,32]", "task.scale=2"]
    found = [config.compose([*SR, *overrides]) for overrides in written]
    assert Run.of(found[0]) == Run.of(found[1])
    assert config.identity(config.plain(found[0])) == config.identity(config.plain(found[1]))


@pytest.mark.parametrize(("begun", "again"), [("1", "1.0"), ("1.0", "1")])
def test_equal_numbers_are_one_run_with_one_folder(tmp_path, begun, again):
    def chosen(number):
        numbers = [
            f"recipe.clip={number}",
            f"task.sigma={number}",
            f"+recipe.scheduler.more=[2,{number}]",
        ]
        cfg = configured(tmp_path, *DNCNN, *numbers)
        run = Run.of(cfg)
        return resolve(cfg, run), run

    first, run = chosen(begun)
    run.folder.mkdir(parents=True)
    run.config.write_text(config.to_yaml(first))
    second, same = chosen(again)
    assert same == run and "recipe.clip=1," in run.row and checks.check_folder(second, same)
    assert config.identity(second) == config.identity(first) == same.identity
    third, other = chosen("2")
    assert other != run
    with refuses(ConfigError, "task.sigma", "2"):
        checks.check_folder(third, same)


@pytest.mark.parametrize(
    "name", ["josé", "my (copy)", "x=y", "it's", "a, b", "[x]", "{y}", 'a "b"', "back\\slash"]
)
def test_configurations_of_your_own_are_found_in_folders_of_any_name(tmp_path, name):
    folder = tmp_path / name / "model"
    folder.mkdir(parents=True)
    (folder / "réseau.yaml").write_text("defaults: [dncnn]\nname: mine\n")
    chosen = ["model='réseau'", "task=denoising", "loss=mae,mse"]
    given, searched = config.search_path(["--config-dir", str(folder.parent), *chosen])
    with config.composing():
        jobs = samples([*given, *searched])
        rows = [Run.of(config.compose(job)).row for job in jobs]
    assert rows == ["mine,task=denoising"] * 2


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
            assert cfg.recipe.patch % config.make(cfg.task).scale == 0
            assert cfg.row == f"table{cfg.table}" and cfg.testset == cfg.row


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
        jobs = [dict(item.split("=") for item in job) for job in samples(arguments)]
    assert [f"{job['loss']} {job['seed']}" for job in jobs] == sampled
