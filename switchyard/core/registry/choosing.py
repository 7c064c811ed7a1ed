"""Which version a person may have meant who named none."""

import shlex
from collections.abc import Sequence
from typing import Final

from switchyard.core.registry.rows import ModelVersion
from switchyard.core.registry.stages import Stage

_SHOWN: Final = 10


def say_choice(command: str, name: str, versions: Sequence[ModelVersion]) -> str:
    """Lists the versions of the model, the newest first, and says how to type `command`.

    It names the first version that the command may be meant for.

    >>> say_choice("switchyard promote", "shop", [])
    'name a version: switchyard promote shop <number>'
    """
    typed = f"{command} {shlex.quote(name)}"
    alive = [one for one in versions if one.tombstoned_at is None]
    if not alive:
        return f"name a version: {typed} <number>"
    shown = [f"{one.version} ({_say_stage(one)}{one.judgement.status})" for one in alive[:_SHOWN]]
    more = f", and {len(alive) - _SHOWN} older ones" if len(alive) > _SHOWN else ""
    champion = next((one.version for one in alive if one.stage is Stage.PRODUCTION), None)
    meant = next((one.version for one in alive if one.stage is not Stage.PRODUCTION), champion)
    expect = f" --expect {champion}" if champion is not None and command.endswith("promote") else ""
    return f"name a version of model {name}: {', '.join(shown)}{more}. For example: {typed} {meant}{expect}"


def _say_stage(version: ModelVersion) -> str:
    return "" if version.stage is Stage.NONE else f"{version.stage}, "
