"""Names of models and aliases, and the references by which a version is asked for."""

import re
from typing import Final

import msgspec

from switchyard.core.errors import BadRequest
from switchyard.core.registry.stages import Stage

MODEL_PATTERN: Final = "^[A-Za-z0-9]([A-Za-z0-9 ._-]{0,118}[A-Za-z0-9])?$"
"""Legal in an MLflow registry of any version, in a URL's path and in a folder's name."""
ALIAS_PATTERN: Final = "^[A-Za-z][A-Za-z0-9_-]{0,62}$"
EXPECTED_PATTERN: Final = "^(none|[1-9][0-9]{0,8})$"
"""What ``--expect`` takes: the champion's version, or that there is none."""
CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"
# The first two are kept by the registry; MLflow takes none of the others, or they would read like a stage or a number.
_TAKEN: Final = (CHAMPION, CHALLENGER, "latest", *(str(stage).lower() for stage in Stage))
_LIKE_A_NUMBER: Final = re.compile("v[0-9]+")
MAX_VERSION: Final = 2**31 - 1
"""Postgres' `integer`."""


class Reference(msgspec.Struct, frozen=True):
    """A version by exactly one of number, stage and alias."""

    version: int | None = None
    stage: Stage | None = None
    alias: str = ""


def check_model_name(name: str) -> None:
    """Refuses what cannot be the name of a model.

    Raises: BadRequest: it cannot.
    """
    if not re.fullmatch(MODEL_PATTERN, name):
        raise BadRequest(
            f"{name!r} cannot be a model's name. Use letters, digits, blanks, `.`, `_` and `-`: at most 120, the first "
            "and the last a letter or a digit"
        )


def check_free_alias(alias: str) -> None:
    """Refuses what cannot be an alias, or is an alias that people may not set.

    Raises: BadRequest: it is one of these.
    """
    if not re.fullmatch(ALIAS_PATTERN, alias):
        raise BadRequest(
            f"{alias!r} cannot be an alias. Use letters, digits, `_` and `-`: at most 63, the first a letter"
        )
    if alias.lower() in (CHAMPION, CHALLENGER):
        raise BadRequest(f"the registry keeps the alias {alias!r} itself: it moves by `switchyard promote` and stages")
    if alias.lower() in _TAKEN or _LIKE_A_NUMBER.fullmatch(alias.lower()):
        raise BadRequest(f"the alias {alias!r} would read like a stage or a version; use another word")


def read_reference(text: str) -> Reference:
    """Returns what `text` names: ``3``, ``Production`` or ``Staging``, ``@champion``.

    >>> read_reference("@champion")
    Reference(version=None, stage=None, alias='champion')
    >>> read_reference("staging").stage
    <Stage.STAGING: 'Staging'>

    Raises:
        BadRequest: it names nothing.
    """
    if text.startswith("@") and len(text) > 1:
        return Reference(alias=text[1:])
    if re.fullmatch("[0-9]{1,10}", text) and 0 < int(text) <= MAX_VERSION:
        return Reference(version=int(text))
    for stage in (Stage.PRODUCTION, Stage.STAGING):
        if text.lower() == str(stage).lower():
            return Reference(stage=stage)
    raise BadRequest(f"a version is a number, Production, Staging or @alias; got {text!r}")


def read_expected(text: str) -> int | None:
    """Returns the champion that ``--expect`` names; None: there is none.

    >>> read_expected("3"), read_expected("none")
    (3, None)
    """
    return None if text == "none" else int(text)
