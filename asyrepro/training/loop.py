"""The training loop: one network, one loss, one sequence of patches.

The loop reads from top to bottom. What makes it fast is in plain sight: patches are made on the
training device, in batches; bfloat16 autocast and channels_last; a fused optimiser; on CUDA the
step as a graph; the loss is fetched from the device only when a line of the history or a checkpoint
is due.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from asyrepro.system import devices, files, progress, randomness
from asyrepro.system.errors import CheckpointError, ConfigError, UserError
from asyrepro.training import checkpoint, distributed, graphs, stopping

CHECKPOINT = "checkpoint.pt"
HISTORY = "history.csv"
COLUMNS = {  # of the history, and how their numbers are written
    **{"step": "d", "loss": ".7g", "lr": ".4g"},
    **{"val_psnr": ".6g", "patches_per_second": ".4g", "seconds": ".5g"},
}


class Diverged(UserError):
    """The loss or a weight is not finite."""


@dataclass
class Trainer:
    """Trains ``network`` in place and keeps all state that a continuation needs.

    Args:
        network: takes the input batch, returns images of the label's shape.
        criterion: the loss, called as ``criterion(output, label)`` in float32.
        sampler: an iterator over (input, label) with ``state_dict``, and ``batch``.
        optimizer: over the network's parameters.
        scheduler: stepped once after every training step.
        steps: number of training steps in all.
        folder: where the checkpoint and the history are written.
        signature: what must agree for a checkpoint to be continued (the configuration's hash).
        device: where the network and the patches are.
        amp: run the network under bfloat16 autocast; weights and the loss stay float32.
        channels_last: keep activations with channels innermost, which convolutions prefer.
        compile: pass the network and the loss through ``torch.compile``.
        graph: whether to capture the step in a CUDA graph where the optimiser allows it; None: if
            network and loss are this program's or PyTorch's.
        clip: largest norm of the gradient, None for no clipping.
        ema: decay of the running average of the weights, which is then what is validated and
            returned; None for none.
        log_every: steps between lines of the history.
        validate: returns the validation PSNR in dB of a network, called every ``validate_every``
            steps and at the end.
        checkpoint_seconds: time between checkpoints; there is always one of the last step, and one
            of the step at which the process was asked to end.
        logger: called with the lines of the history that are new at a checkpoint.
        label: what the progress bar is called; None for no bar, nor lines in a log.
    """

    network: nn.Module
    criterion: nn.Module
    sampler: object
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    steps: int
    folder: Path
    signature: str = ""
    device: torch.device | str = "cpu"
    amp: bool = True
    channels_last: bool = True
    compile: bool = False
    graph: bool | None = None
    clip: float | None = None
    ema: float | None = None
    log_every: int = 50
    validate: Callable[[nn.Module], float] | None = None
    validate_every: int = 0
    checkpoint_seconds: float = 60
    logger: Callable[[list[dict]], None] | None = None
    label: str | None = ""
    step: int = field(default=0, init=False)
    seconds: float = field(default=0.0, init=False)
    history: list[dict] = field(default_factory=list, init=False)
    reported: int = field(default=0, init=False)

    def __post_init__(self):
        self.folder = Path(self.folder)
        self.device = torch.device(self.device)
        self.total = torch.zeros((), device=self.device)  # of the losses since the last log line
        self.average = None if self.ema is None else copy.deepcopy(self.network)

    @property
    def trained(self) -> nn.Module:
        """The network whose weights count: the running average if there is one."""
        return self.network if self.average is None else self.average

    def run(self) -> nn.Module:
        """Train from where the folder's checkpoint left off to the last step.

        Returns:
            The trained network, in evaluation mode.

        Raises:
            Diverged: the loss became NaN or infinite; the last good checkpoint stays.
            CheckpointError: the folder's checkpoint is damaged, belongs to another run, or was
                begun on another kind of device.
            StorageError: the disk is full or read-only; the last checkpoint stays.
            Stopped: the process was asked to end; the step is finished and in the checkpoint.
        """
        self.resume()
        if self.channels_last:
            self.network.to(memory_format=torch.channels_last)
        advance = self.stepping()
        self.network.train()
        begun, saved = self.step, time.perf_counter()
        clock = saved
        bar = progress.bar(
            lines=True, total=self.steps, initial=self.step, desc=self.label, unit="step",
            disable=True if self.label is None else None, dynamic_ncols=True, mininterval=0.5,
        )  # fmt: skip
        with bar, stopping.deferred(), devices.measured_convolutions():
            while self.step < self.steps:
                inputs, label = map(distributed.part, next(self.sampler))
                if self.channels_last and inputs.ndim == 4:
                    inputs = inputs.contiguous(memory_format=torch.channels_last)
                rate = self.optimizer.param_groups[0]["lr"]
                advance(inputs, label)
                self.scheduler.step()
                if self.average is not None:
                    self._average()
                if self.step == begun:
                    self._state_of_parts()  # what an optimiser makes at its first step
                self.step += 1
                bar.update()

                last = self.step == self.steps
                validate = self.validate is not None and (
                    last or (self.validate_every and self.step % self.validate_every == 0)
                )
                log = last or validate or self.step % self.log_every == 0
                late = time.perf_counter() - saved > self.checkpoint_seconds
                save = last or distributed.anyone(late or stopping.received() > 0, self.step)
                if not (log or save):
                    continue
                distributed.average(self.total)
                self._check_finite(rate)  # waits for the device
                self.seconds += time.perf_counter() - clock
                if log:
                    self._log(rate, validate)
                    bar.set_postfix_str(_describe(self.history), refresh=False)
                if save:
                    distributed.on_main(self.save)
                    saved = time.perf_counter()
                    distributed.check_stop(f"at step {self.step} of {self.steps}")
                clock = time.perf_counter()
        return self.trained.eval()

    def stepping(self) -> Callable[[Tensor, Tensor], None]:
        """The function that takes one step: network, loss, gradients, optimiser."""
        network = distributed.parallel(self.network)

        def loss_of(inputs: Tensor, label: Tensor) -> Tensor:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp):
                output = network(inputs)
            return self.criterion(output.float(), label)

        if self.compile:
            torch.compiler.reset()  # which counts the variants of all runs of a process together
            loss_of = torch.compile(loss_of, dynamic=False)

        def advance(inputs: Tensor, label: Tensor) -> None:
            with devices.explained("the network or the loss fails in a training step"):
                loss = loss_of(inputs, label)
                if not loss.requires_grad:
                    raise ConfigError(
                        "the loss has no gradient in training: take detach() and no_grad() out of "
                        f"the forward of {type(self.network).__name__}, or of "
                        f"{type(self.criterion).__name__}"
                    )
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()
            if self.clip is not None:
                nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
            self.optimizer.step()
            self.total += loss.detach()

        graph = self.graph
        if graph is None:
            graph = graphs.are_known(self.network, self.criterion)
        cuda = self.device.type == "cuda" and torch.cuda.is_available()
        can = graphs.can_capture(self.optimizer, self.scheduler)
        if graph and can and cuda and distributed.size() == 1:
            return graphs.captured(advance, self.optimizer)
        return advance

    @torch.no_grad()
    def _average(self) -> None:
        """Move the average towards the weights, and to those of the first step; counts are taken.

        torch's AveragedModel counts its updates on the host, and so waits for the GPU at each.
        """
        share = 1 - self.ema if self.step else 1.0
        # not of state_dict(), whose values may be copies, as GRUNet's are
        averages, current = ((*n.parameters(), *n.buffers()) for n in (self.average, self.network))
        for average, value in zip(averages, current, strict=True):
            if value.is_floating_point():
                average.lerp_(value, share)
            else:
                average.copy_(value)

    def _check_finite(self, rate: float) -> None:
        # The 2-norm is finite only if all values are; to find it is fast.
        numbers = [self.total, *(p.detach() for p in self.network.parameters())]
        if not nn.utils.get_total_norm(numbers).isfinite():
            raise Diverged(
                f"the loss or a weight is not finite at step {self.step} (learning rate "
                f"{rate:.2g}); choose a smaller learning rate or set recipe.clip"
            )

    def _log(self, rate: float, validate: bool) -> None:
        """Add a line to the history: the mean loss and the speed since the last line."""
        before = self.history[-1] if self.history else {"step": 0, "seconds": 0.0}
        steps, seconds = self.step - before["step"], self.seconds - before["seconds"]
        row = {
            "step": self.step,
            "loss": self.total.item() / steps,
            "lr": float(rate),
            "val_psnr": distributed.on_main(self._validate) if validate else None,
            "patches_per_second": self.sampler.batch * steps / seconds,
            "seconds": self.seconds,
        }
        self.history.append(row)
        self.total.zero_()

    def _validate(self) -> float:
        self.trained.eval()
        with devices.measured_convolutions(False):
            value = self.validate(self.trained)
        self.network.train()
        return value

    def save(self) -> None:
        """Write the history, then the checkpoint: what a checkpoint holds is in the history."""
        state = {
            "signature": self.signature,
            "device": self.device.type,
            "step": self.step,
            "seconds": self.seconds,
            "total": self.total,
            "network": self.network.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            **self._state_of_parts(),
            "sampler": self.sampler.state_dict(),
            **randomness.state(self.device),
            "history": self.history,
        }
        if self.logger is not None:
            self.logger(self.history[self.reported :])
            self.reported = len(self.history)
        files.write_text(self.folder / HISTORY, history_csv(self.history))
        checkpoint.save(self.folder / CHECKPOINT, state)

    def _state_of_parts(self) -> dict:
        """Of loss, optimiser and schedule; ConfigError if a checkpoint cannot hold it."""
        return {
            name: checkpoint.storable(getattr(self, name).state_dict(), f"the {name}'s state")
            for name in ("criterion", "optimizer", "scheduler")
        }

    def resume(self) -> bool:
        """Take up the folder's checkpoint if there is one; True if so."""
        path = self.folder / CHECKPOINT
        needs = (
            *("signature", "device", "step", "seconds", "total", "history", "network", "average"),
            *("criterion", "optimizer", "scheduler", "sampler"),
            *("random", "random_cuda", "random_python", "random_numpy"),
        )
        state = distributed.on_main(
            lambda: checkpoint.load(path, needs=needs) if path.exists() else None
        )
        if state is None:
            return False
        if state["signature"] != self.signature:
            raise CheckpointError(
                f"{path} belongs to a run with another configuration; choose another study, or "
                "delete its folder to start again"
            )
        begun = state["device"]
        if begun != self.device.type:  # whose random numbers are others
            raise CheckpointError(
                f"{path} was begun on {begun}; continue it with runtime.device={begun}, or delete "
                "it to train from the beginning"
            )
        checkpoint.load_weights(self.network, state["network"], path)
        try:
            self.optimizer.load_state_dict(state["optimizer"])
        except ValueError:  # other parameters
            raise CheckpointError(
                f"{path} was written by an earlier version of this program, which this one cannot "
                "continue; delete the file to train from the beginning"
            ) from None
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.criterion.load_state_dict(state["criterion"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.sampler.load_state_dict(state["sampler"])
        randomness.restore(state, self.device)
        self.step, self.seconds = state["step"], state["seconds"]
        self.total.copy_(state["total"])
        self.history = list(state["history"])
        self.reported = len(self.history)
        return True


def history_csv(history: list[dict]) -> str:
    """The history as CSV text, one line every ``log_every`` steps."""
    lines = [",".join(COLUMNS)]
    for row in history:
        values = ((row[name], spec) for name, spec in COLUMNS.items())
        lines.append(",".join("" if value is None else f"{value:{spec}}" for value, spec in values))
    return "\n".join([*lines, ""])


def _describe(history: list[dict]) -> str:
    row = history[-1]
    text = f"loss {row['loss']:.3g}, lr {row['lr']:.2g}, {row['patches_per_second']:.0f} patches/s"
    validated = [r["val_psnr"] for r in history if r["val_psnr"] is not None]
    return text + (f", val {validated[-1]:.2f} dB" if validated else "")


def parameter_groups(network: nn.Module, lr: float, scale: dict[str, float] | None) -> list[dict]:
    """Parameter groups with a learning rate of their own for layers named in ``scale``.

    ``scale`` maps the beginning of a parameter's name to a factor on ``lr``; SRCNN's paper, for
    example, trains the last layer at a tenth of the others' rate.
    """
    groups: dict[float, list[Tensor]] = {}
    scale = dict(scale or {})
    unused = set(scale)
    for name, parameter in network.named_parameters():
        keys = [key for key in scale if name.startswith(key)]
        unused -= set(keys)
        factor = scale[max(keys, key=len)] if keys else 1.0
        groups.setdefault(factor, []).append(parameter)
    if unused:
        raise ValueError(f"no parameter of the network begins with {sorted(unused)[0]!r}")
    return [{"params": params, "lr": lr * factor} for factor, params in groups.items()]
