"""Errors with a name and one line: the file, the field, what was found, what was expected."""


class HsiError(Exception):
    """Root of all errors that hsitools raises on purpose; the command line prints them without a traceback."""


class InputError(HsiError, ValueError):
    """A value, array or option that cannot be right."""


class FormatError(InputError):
    """A file that is missing, unreadable or of another kind than expected."""
