"""Loggers: what TensorBoard and Weights & Biases get of a run."""

import signal
import sys
import time

import pytest
from helpers import NEVER, SRCNN, Signals, configured, refuses, train, trainer

from asyrepro.runs import config
from asyrepro.system.errors import ConfigError
from asyrepro.training import checkpoint, logger, stopping
from asyrepro.training.loop import CHECKPOINT

pytestmark = pytest.mark.usefixtures("unstopped")


def test_tensorboard_shows_every_line_of_the_history_once(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def part(steps, stop=None):
        run = trainer(
            tmp_path, steps=40, checkpoint_seconds=NEVER, validate_every=10,
            validate=lambda network: network.weight.item(),
        )  # fmt: skip
        if stop:
            run.sampler = Signals(stop, signal.SIGTERM)
        with logger.opened("tensorboard", tmp_path) as run.logger:
            try:
                with stopping.handled():
                    run.run()
            except stopping.Stopped:
                stopping._received = None
        return run

    part(40, stop=13)
    stale = checkpoint.load(tmp_path / CHECKPOINT)
    part(40, stop=9)  # at step 22, whose checkpoint gets lost
    checkpoint.save(tmp_path / CHECKPOINT, {k: v for k, v in stale.items() if k != "format"})
    history = part(40).history

    events = EventAccumulator(str(tmp_path)).Reload()
    assert sorted(events.Tags()["scalars"]) == sorted(logger.SCALARS)
    for name in logger.SCALARS:
        found = [(event.step, event.value) for event in events.Scalars(name)]
        rows = [(row["step"], row[name]) for row in history if row[name] is not None]
        assert found == [(step, pytest.approx(value, rel=1e-6)) for step, value in rows]
    assert len(history) == 8 and [row["step"] for row in history if row["val_psnr"]] == [
        10, 20, 30, 40,
    ]  # fmt: skip


def test_a_run_logs_to_its_folder_and_the_logger_is_not_its_identity(tmp_path):
    pytest.importorskip("tensorboard")
    settings = [*SRCNN, "runtime/logger=tensorboard"]
    run = train(tmp_path, *settings)
    assert len(list(run.folder.glob("events.out.tfevents.*"))) == 1
    assert "logger" not in run.config.read_text()
    plain = configured(tmp_path, *SRCNN)
    assert config.identity(configured(tmp_path, *settings)) == config.identity(plain)


def test_weights_and_biases_gets_the_history_offline(tmp_path):
    pytest.importorskip("wandb")
    folder = tmp_path / "s" / "table2" / "mae" / "seed0"
    folder.mkdir(parents=True)
    run = trainer(folder, steps=10)
    with logger.opened("wandb", folder, {"mode": "offline", "project": "p"}) as run.logger:
        run.run()
    [log] = folder.glob("wandb/offline-run-*/*.wandb")
    names = (b"patches_per_second", b"s-table2-mae-seed0")
    until = time.monotonic() + 60  # a process of its own writes it
    while not all(name in log.read_bytes() for name in names) and time.monotonic() < until:
        time.sleep(0.1)
    assert all(name in log.read_bytes() for name in names)


def test_loggers_that_cannot_be(tmp_path, monkeypatch):
    with refuses(ConfigError, "'mlflow'"), logger.opened("mlflow", tmp_path):
        pass
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    install = "pip install tensorboard"
    with refuses(ConfigError, install), logger.opened("tensorboard", tmp_path):
        pass
