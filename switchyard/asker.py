"""Says who asked for a change of a model, if a command line does not say it."""

import getpass
from typing import Final, TypeVar

import msgspec

S = TypeVar("S", bound=msgspec.Struct)

_MAX_NAME: Final = 200
"""Characters, as `by` takes them."""


def with_user(value: S) -> S:
    """Returns `value` with an empty `by` filled: by the system's name of the user.

    Without such a field it stays as it is. `by` stays empty if the system has no name for the user: in a container with
    a user id of its own, say.
    """
    if getattr(value, "by", None) != "":
        return value
    try:
        return msgspec.structs.replace(value, by=getpass.getuser()[:_MAX_NAME])
    except (OSError, KeyError, ImportError):  # which of them, the version of Python and the system say
        return value
