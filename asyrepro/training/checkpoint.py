"""Saving and loading checkpoints and weights, atomically.

A file may come from a stranger: torch reads it with ``weights_only=True``, its checksums are
checked, and of the configuration in it only networks and tasks of this program are ever made, so
that it can hold tensors and numbers, never code.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import pkgutil
import zipfile
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
import yaml
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from asyrepro import models, tasks
from asyrepro.system.errors import CheckpointError, ConfigError, first_line, shown
from asyrepro.system.files import write_bytes

FORMAT = 1
PLAIN = (str, int, float, bool, type(None))
LIKE_PYTHON = (np.float64, np.integer, np.bool_)  # NumPy's float32 rounds otherwise
NAME = str | int | float  # as YAML reads what is written without quotes
NEEDED = {
    **{"model.name": NAME, "model.network": DictConfig, "task": DictConfig},
    **{"dataset.name": NAME, "loss.name": NAME, "seed": int, "channels_last": bool},
}
OURS = {
    "model.network": {f"asyrepro.models.{name}" for name in models.__all__},
    "task": {
        f"asyrepro.tasks.{name}"
        for name, value in vars(tasks).items()
        if isinstance(value, type) and issubclass(value, tasks.Task)
    },
}
LARGEST = 1024  # layers, channels or whatever else a network of ours may have
# Of the options that Hydra takes for itself those that name a class and say how it is handed the
# others. The rest, as _partial_, would change what is made.
OF_HYDRA = {"_target_": str, "_args_": object, "_convert_": str, "_recursive_": bool}
OLD_FORMAT = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # how torch's files began until 1.6


class NotTrusted(CheckpointError):
    """Weights of a network or task that is not of this program, or cannot be found."""

    def __init__(self, reason: str, advice: str):
        super().__init__(f"{reason}; {advice}")
        self.advice = advice


def storable(state: object, name: str) -> object:
    """A state of plain values and tensors as :func:`load` will read it.

    Numbers of NumPy that compute as Python's do become these.

    Args:
        state: any nesting of dictionaries, lists and tuples.
        name: what it is, for messages.

    Raises:
        ConfigError: :func:`load` would refuse it; its place is named.
    """
    if isinstance(state, LIKE_PYTHON):
        state = state.item()
    if isinstance(state, Tensor) or type(state) in PLAIN:
        return state
    if type(state) in (dict, OrderedDict):
        items = state.items()
        return {storable(k, name): storable(v, f"{name}[{k!r}]") for k, v in items}
    if type(state) in (list, tuple):
        return type(state)(storable(v, f"{name}[{k}]") for k, v in enumerate(state))
    buffer = io.BytesIO()
    try:
        torch.save(state, buffer)
        buffer.seek(0)
        torch.load(buffer, weights_only=True)
    except Exception as error:  # pickle's are many
        raise ConfigError(
            f"{name} is a {type(state).__module__}.{type(state).__qualname__}, which no checkpoint "
            "can hold: keep tensors and Python's numbers, texts, lists and dictionaries there"
        ) from error
    return state


def save(path: Path | str, state: dict) -> None:
    """Save a dictionary of tensors, numbers, strings, lists and dictionaries atomically."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    write_bytes(path, buffer.getvalue())


def load(path: Path | str, device: torch.device | str = "cpu", needs: Iterable[str] = ()) -> dict:
    """Read what :func:`save` wrote; ``needs`` are keys that it must have.

    Raises:
        CheckpointError: the file is missing, damaged, holds something other than tensors and
            plain values, is another program's or a newer version's, or lacks a key.
    """
    state, path = read(path, device), shown(path)
    version = state.get("format") if isinstance(state, dict) else None
    if type(version) is not int or abs(version) > 1_000_000:
        raise CheckpointError(
            f"{path} is not a checkpoint of this program; asyrepro convert takes weights of others"
        )
    if version != FORMAT:
        raise CheckpointError(
            f"{path} has format {version}, this program reads {FORMAT}: update asyrepro"
        )
    missing = [key for key in needs if key not in state]
    if missing:
        raise CheckpointError(
            f"{path} has no {missing[0]!r}: it is another kind of checkpoint, or an older one"
        )
    return state


def read(path: Path | str, device: torch.device | str = "cpu") -> object:
    """What any file of torch holds, in today's format (zip) or in that of before version 1.6.

    Raises:
        CheckpointError: the file is missing, damaged, or holds something other than tensors and
            plain values.
    """
    file, path = Path(path), shown(path)
    if file.is_dir():
        found = file / "weights.pt"
        advice = f"give {shown(found)}" if found.is_file() else "give a file of weights"
        raise CheckpointError(f"{path} is a folder: {advice}")
    if not file.is_file():
        raise CheckpointError(f"there is no checkpoint at {path}")
    try:
        content = io.BytesIO(file.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    try:
        if not content.getvalue().startswith(OLD_FORMAT):
            _check_archive(content)
        return torch.load(content, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors and plain values, or is damaged; it was not loaded"
        ) from error
    except MemoryError:
        raise
    # zipfile and torch raise a dozen kinds of exception on damaged files: all mean the same.
    except Exception as error:
        raise CheckpointError(
            f"{path} is damaged or not a checkpoint ({_reason(error)}); copy it again or delete it"
        ) from error


def _check_archive(content: io.BytesIO) -> None:
    """Raise ValueError unless it is a zip archive as torch writes it, with the right checksums."""
    with zipfile.ZipFile(content) as archive:
        members = archive.infolist()
        stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
        if not stored or sum(member.file_size for member in members) > len(content.getbuffer()):
            raise ValueError("it is compressed, which no checkpoint is")
        broken = archive.testzip()
        if broken:
            raise ValueError(f"wrong checksum of {broken}")
    content.seek(0)


def configuration(state: dict, path: Path | str, trusted: Collection[str] = ()) -> DictConfig:
    """The configuration that a weights file holds as YAML, safe to be made into network and task.

    Hydra calls whatever function a ``_target_`` names. In ``model.network`` and ``task`` only this
    program's networks and tasks are let through, and what the user trusts: ``trusted`` are dotted
    names of further classes, or of packages and modules that hold them.

    Raises:
        CheckpointError: there is no configuration, it cannot be read, or it names something else.
    """
    path = shown(path)
    if "config" not in state:
        raise CheckpointError(
            f"{path} is a checkpoint of an unfinished training; give a weights.pt"
        )
    try:
        cfg = _parsed(state["config"])
        wrong = [k for k, kind in NEEDED.items() if not isinstance(OmegaConf.select(cfg, k), kind)]
    except Exception as error:  # yaml's and OmegaConf's are many
        raise CheckpointError(
            f"{path} holds no readable configuration ({_reason(error)}); copy it again"
        ) from error
    if wrong:
        raise CheckpointError(
            f"{path} holds a configuration whose {wrong[0]} is missing or wrong; copy it again"
        )
    check_described(cfg, path, trusted)
    return cfg


def check_described(cfg: DictConfig, source: str, trusted: Collection[str] = ()) -> None:
    """CheckpointError unless the network and the task that ``cfg`` describes may be made.

    Refused are, at any depth: an option of Hydra's own that is not one of ``OF_HYDRA``, a class
    that is not trusted (:func:`is_trusted`), and for a network or task of ours a number above
    ``LARGEST``, so that no file asks for all memory.
    """
    for kind, ours in OURS.items():
        node = OmegaConf.to_container(OmegaConf.select(cfg, kind))
        options = list(_items(node))
        if "_target_" not in node:
            raise CheckpointError(f"{source} names no class as its {kind}; it was not made")
        for key, value in options:
            if _is_hydras(key) and not isinstance(value, OF_HYDRA.get(key, ())):
                raise CheckpointError(
                    f"{source} asks for its {kind} with {_brief(key)}, which is no option of a "
                    "class; it was not made"
                )
        for name in (value for key, value in options if key == "_target_"):
            if not is_trusted(name, kind, trusted):
                raise _not_trusted(name, kind, source, trusted)
        for key, value in options if node["_target_"] in ours else ():
            if isinstance(value, int | float) and not abs(value) <= LARGEST:  # NaN neither
                raise CheckpointError(
                    f"{source} describes a {kind.rpartition('.')[2]} whose {_brief(str(key))} is "
                    f"above {LARGEST:,}, the most that one of this program may have"
                )


def _is_hydras(key: object) -> bool:
    return isinstance(key, str) and key.startswith("_") and key.endswith("_")


def is_trusted(name: object, kind: str, trusted: Collection[str] = ()) -> bool:
    """Whether a class may be made as a "model.network" or "task" that a file asks for.

    It is one of ours, or one that is trusted by its name, or one that a trusted package defines:
    not a function of that, nor what it has imported from elsewhere.

    Raises:
        NotTrusted: a class of a trusted package cannot be imported.
    """
    if not isinstance(name, str):
        return False
    if name in OURS[kind] or name in trusted:
        return True
    if not _within(name, trusted):
        return False
    try:
        found = pkgutil.resolve_name(name)
    except Exception as error:  # whatever the code of a module raises
        raise NotTrusted(
            f"{_brief(name)}, which is trusted, cannot be imported ({_reason(error)})",
            f"run the command in the folder that holds {_brief(name).partition('.')[0]}",
        ) from error
    return isinstance(found, type) and _within(found.__module__, trusted)


def _within(name: str, packages: Collection[str]) -> bool:
    """Whether a dotted name is one of the packages or lies in one."""
    return f"{name}.".startswith(tuple(f"{package}." for package in packages))


def _not_trusted(name: str, kind: str, source: str, trusted: Collection[str]) -> NotTrusted:
    """The refusal of a class, which says what trust= would let it through."""
    name = _brief(name)
    needed = name if _within(name, trusted) else name.partition(".")[0]
    return NotTrusted(
        f"{source} asks for {name} as its {kind}, which is not of this program; it was not made",
        f"if {name} is your own, give trust={','.join([*trusted, needed])}",
    )


def targets(cfg: DictConfig) -> list[str]:
    """The names of all classes that network and task are made of."""
    nodes = [OmegaConf.to_container(OmegaConf.select(cfg, kind), resolve=True) for kind in OURS]
    return [value for key, value in _items(nodes) if key == "_target_"]


def _parsed(text: str) -> DictConfig:
    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
        raise ValueError("it repeats parts of itself")  # of which a few lines can make gigabytes
    return OmegaConf.create(OmegaConf.to_container(OmegaConf.create(text), resolve=True))


def _items(node: object) -> Iterator[tuple]:
    """All keys and values of a dictionary or list, those further inside included."""
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield key, value
            yield from _items(value)


def _reason(error: Exception) -> str:
    return _brief(first_line(error))


def _brief(text: str) -> str:
    """Words out of a file as a message shows them: not many, on one line, nothing unprintable."""
    return shown(text[:100])


def check_weights(network: torch.nn.Module, weights: dict, source: Path | str) -> None:
    """CheckpointError unless a state dictionary is one of ``network``, with finite values."""
    own, source = network.state_dict(), shown(source)
    if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights):
        raise CheckpointError(f"{source} holds no weights of a network")
    for name in [*sorted(own), *sorted(weights.keys() - own.keys())]:
        here, there = own.get(name), weights.get(name)
        tensors = isinstance(here, Tensor) and isinstance(there, Tensor) and not there.is_meta
        if not tensors or (here.shape, here.layout) != (there.shape, there.layout):
            raise CheckpointError(
                f"{source} holds the weights of another network than {type(network).__name__} as "
                f"it is configured (first difference: {_brief(name)})"
            )
    for name, value in weights.items():
        kept = own[name].dtype
        if value.dtype not in (kept, torch.half if kept.is_floating_point else kept):
            raise CheckpointError(
                f"{source} holds {_brief(name)} as {value.dtype}, where {type(network).__name__} "
                f"has {kept}: asyrepro convert casts weights"
            )
        if value.is_floating_point() and not value.isfinite().all():
            raise CheckpointError(f"{source} holds weights that are not finite ({_brief(name)})")


def load_weights(network: torch.nn.Module, weights: dict, source: Path | str) -> None:
    """Copy a state dictionary into ``network``; CheckpointError if it belongs to another one."""
    check_weights(network, weights, source)
    network.load_state_dict(weights)


def digest(weights: dict) -> str:
    """SHA-256 over names, shapes and bytes of a state dictionary: equal if and only if equal."""
    sha = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        sha.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()
