"""Errors with a name and one line: the file, the field, what was found, what was expected."""

import errno
import os


class HsiError(Exception):
    """Root of all errors that hsitools raises on purpose; the command line prints them without a traceback."""


class InputError(HsiError, ValueError):
    """A value, array or option that cannot be right."""


class FormatError(InputError):
    """A file that is missing, unreadable or of another kind than expected."""


#: What systems say of a disk, a quota or a file size that is used up.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def no_room(error: BaseException) -> str | None:
    """The system's words for a disk that is full, where an error is about that; HDF5 wraps them in words of its own."""
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return os.strerror(error.errno)
    said = str(error)
    return next((os.strerror(code) for code in NO_ROOM if os.strerror(code) in said), None)


def require_type(value: object, kind: type | tuple[type, ...], where: str, expected: str) -> None:
    """Raise `InputError` unless a value is of a kind; ``expected`` says in words which, and how to come by one.

    Examples
    --------
    >>> require_type([1.0], dict, "case: meta", "a dictionary")
    Traceback (most recent call last):
    hsitools.errors.InputError: case: meta: found list, expected a dictionary
    """
    if not isinstance(value, kind):
        raise InputError(f"{where}: found {type(value).__name__}, expected {expected}")
