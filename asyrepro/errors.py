"""Errors that a user can put right.

Entry points print them as one line, ``error: ...``, and exit with status 2; anything else is a
bug and keeps its traceback.
"""

from contextlib import contextmanager


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


@contextmanager
def reaching():
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
        name = repr(str(error.filename))[1:-1]  # in one line, whatever it holds
        raise DataError(
            f"{name} cannot be reached: {error.strerror}; check the path and its permissions"
        ) from error
