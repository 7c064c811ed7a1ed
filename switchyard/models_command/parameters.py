"""What each command of `switchyard models` takes: its flags, their help and their limits."""

from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from switchyard.core.errors import BadRequest
from switchyard.core.registry.names import EXPECTED_PATTERN, MAX_VERSION, MODEL_PATTERN
from switchyard.core.registry.staging import FIRST_SHARE, MAX_SHARE

Name = Annotated[str, Meta(pattern=MODEL_PATTERN, description="the model's name")]
Version = Annotated[int, Meta(ge=1, le=MAX_VERSION, description="the version's number")]
Share = Annotated[
    float,
    Meta(ge=0, le=MAX_SHARE, description="share of the traffic that the challenger answers; 0: it is only asked"),
]
Reason = Annotated[str, Meta(max_length=2_000, description="the reason, which the model's history keeps for ever")]
By = Annotated[
    str, Meta(max_length=200, description="your name for the model's history; empty: your user name on this machine")
]
Key = Annotated[
    str, Meta(max_length=200, description="a change with this key is made once, however often asked for; empty: no key")
]


class ListParameters(msgspec.Struct, frozen=True, kw_only=True):
    """List all models, and which of their versions answer."""


class VersionsParameters(msgspec.Struct, frozen=True, kw_only=True):
    """List the versions of a model, the newest first."""

    name: Name


class ShowParameters(msgspec.Struct, frozen=True, kw_only=True):
    """Show one version: its files, where it comes from, and what it was compared with."""

    name: Name
    version: Annotated[str, Meta(min_length=1, description="a number, Production, Staging, or @alias")]


class HistoryParameters(msgspec.Struct, frozen=True, kw_only=True):
    """Show what became of a model's versions, the oldest first."""

    name: Name
    last: Annotated[int, Meta(ge=0, description="only the last N lines; 0: all")] = 0


class ProductionParameters(msgspec.Struct, frozen=True, kw_only=True):
    """Say which version was in Production at a moment."""

    name: Name
    at: Annotated[
        str,
        Meta(description="when, as ISO 8601, such as 2026-11-29T05:30; in UTC unless it says otherwise; empty: now"),
    ] = ""

    def to_moment(self, now: datetime) -> datetime:
        """Returns the moment that is meant, in UTC. Raises: BadRequest: it is not a moment, or is still to come."""
        if not self.at:
            return now
        try:
            found = datetime.fromisoformat(self.at)
        except ValueError as err:
            raise BadRequest(f"--at takes a time such as 2026-11-29T05:30; got {self.at!r}") from err
        moment = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        if moment > now:
            raise BadRequest(f"--at {self.at} is in the future; it is {now:%Y-%m-%d %H:%M} UTC now")
        return moment


class MoveParameters(msgspec.Struct, frozen=True, kw_only=True):
    """Move a version to Staging (it is the challenger then), None or Archived.

    Production is entered by `switchyard promote`, which names the champion that is replaced.
    """

    name: Name
    version: Version
    stage: Literal["Staging", "None", "Archived", "Production"]  # the last is refused, with the command that does it
    share: Annotated[
        Annotated[float, Meta(ge=0, le=MAX_SHARE)] | None,
        Meta(
            description=f"share of the traffic that the challenger answers, up to {MAX_SHARE}; 0: it is only asked; "
            f"none: {FIRST_SHARE} for a new challenger; one that is it already keeps its own",
        ),
    ] = None
    expect: Annotated[
        str,
        Meta(
            pattern=f"^$|{EXPECTED_PATTERN}",
            description="the challenger that a move to Staging replaces, by its version; none: there is none; empty: "
            "whichever it is",
        ),
    ] = ""
    reason: Reason = ""
    by: By = ""
    request_key: Key = ""


class ShareParameters(msgspec.Struct, frozen=True, kw_only=True):
    """Give the challenger another share of the traffic."""

    name: Name
    version: Version
    share: Share
    reason: Reason = ""
    by: By = ""
    request_key: Key = ""


class AliasParameters(msgspec.Struct, frozen=True, kw_only=True):
    """Let an alias name a version, and no other; `champion` and `challenger` follow by themselves."""

    name: Name
    alias: Annotated[str, Meta(description="a word of your own")]
    version: Version


class UnaliasParameters(msgspec.Struct, frozen=True, kw_only=True):
    """Drop an alias. The version that it names stays as it is."""

    name: Name
    alias: Annotated[str, Meta(description="a word of your own")]


class TombstoneParameters(msgspec.Struct, frozen=True, kw_only=True):
    """Retire a version for ever: it stays listed and never answers again."""

    name: Name
    version: Version
    reason: Reason
    by: By = ""
    request_key: Key = ""
