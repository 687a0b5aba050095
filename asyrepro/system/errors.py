"""Errors that a user can put right.

Entry points print them as one line, ``error: ...``, and exit with status 2; anything else is a
bug and keeps its traceback.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

SAID = "ASYREPRO_SAID"  # the environment variable that holds the notes that have been printed


class UserError(Exception):
    """What was asked for cannot be done as asked; the message says what to change."""


class ConfigError(UserError):
    """A setting is unknown, out of range or contradicts another."""


class DataError(UserError):
    """An image, archive or data set is missing, damaged or not what it should be."""


class CheckpointError(UserError):
    """A checkpoint is missing, damaged, or belongs to another network or run."""


class StorageError(UserError, OSError):
    """A file cannot be written: the disk is full, or the folder is read-only."""


def shown(path: str | os.PathLike) -> str:
    """A path as error messages show it: on one line, with nothing unprintable."""
    text = os.fsdecode(path)
    return text if text.isprintable() and text else repr(text)


def some(names: Iterable[object], most: int = 5) -> str:
    """The first of many names in a message: "a, b, c, d, e, ..."."""
    texts = [*map(str, names)]
    return ", ".join([*texts[:most], *["..."] * (len(texts) > most)])


def first_line(error: BaseException) -> str:
    """What an exception says, on one line; its type where it says nothing."""
    lines = str(error).splitlines()
    return lines[0].rstrip(":.") if lines and lines[0] else type(error).__name__


@contextmanager
def reaching() -> Iterator[None]:
    """Within this, a path that the system will not look at becomes a DataError that names it.

    Folders that may not be entered, names that are too long, disks that have gone.
    """
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        if error.filename is None:  # no matter of a file
            raise
        raise DataError(
            f"{shown(error.filename)} cannot be reached: {error.strerror}; "
            "check the path and its permissions"
        ) from error


def say(line: str = "") -> None:
    """Print a line; where nobody reads any longer, as after ``| head``, the work goes on."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        unread()


def note(text: str) -> None:
    """Print a note to standard error, once in this process and those that it starts."""
    said = os.environ.get(SAID, "")
    if f"{text}\n" not in said:
        os.environ[SAID] = f"{said}{text}\n"
        print(f"note: {text}", file=sys.stderr, flush=True)


def unread() -> int:
    """After a BrokenPipeError: standard output goes nowhere from here on, and raises no more.

    Returns:
        The exit status of a program that stops for it, as a shell says of those that SIGPIPE ends.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + 13


def exit_status(run: Callable[..., int | None], *arguments: object) -> int:
    """Run an entry point's work; returns the exit status.

    That is what ``run`` returns, 0 for None, 2 after a UserError, which is printed, or 141 where it
    was cut short as nobody reads its output any longer.
    """
    try:
        with reaching():
            status = run(*arguments) or 0
    except BrokenPipeError:
        return unread()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        if sys.stdout is not None:  # which it is where the output was closed
            sys.stdout.flush()
    except BrokenPipeError:
        unread()
    return status
