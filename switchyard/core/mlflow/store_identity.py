"""Which MLflow store an address leads to: told by its experiments, which every kind of store has, and keeps."""

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec

_KEPT: Final = 100
_HEX_DIGITS: Final = 16


class KnownExperiment(msgspec.Struct, frozen=True):
    """One experiment, as far as it says which store it is in."""

    created_at_ms: int | None  # None: of MLflow before 1.30, which noted no time
    said: str  # a hash of its name and artifact location


class StoreIdentity(msgspec.Struct, frozen=True):
    """The oldest experiments of a store, by id.

    A store that was moved, restored, upgraded, or is read by another way, has the same; one that was made again has
    other times, its first experiment's included.
    """

    experiments: dict[str, KnownExperiment] = {}

    def is_of(self, before: "StoreIdentity") -> bool:
        """Returns True if both are of one store, as far as can be known.

        They are if an experiment of theirs was made in the same millisecond; where none has a time, if one has the same
        name and place. A store in which there was nothing to know it by may be any.
        """
        if not before.experiments:
            return True
        shared = [(one, before.experiments[id_]) for id_, one in self.experiments.items() if id_ in before.experiments]
        timed = [(one, other) for one, other in shared if None not in (one.created_at_ms, other.created_at_ms)]
        if timed:
            return any(one.created_at_ms == other.created_at_ms for one, other in timed)
        return any(one.said == other.said for one, other in shared)


def to_experiment(name: object, artifact_location: object, created_at_ms: object) -> KnownExperiment:
    """Returns the experiment of a store's own values, odd ones too."""
    said = "\0".join("" if value is None else str(value) for value in (name, artifact_location))
    digest = hashlib.sha256(said.encode("utf-8", "backslashreplace")).hexdigest()[:_HEX_DIGITS]
    return KnownExperiment(created_at_ms if isinstance(created_at_ms, int) else None, digest)


def to_identity(experiments: Iterable[tuple[object, KnownExperiment]]) -> StoreIdentity:
    """Returns the identity of a store with all these experiments, by id.

    It keeps the oldest, because they were there first; the rest are not needed.
    """
    found = sorted(
        ((str(id_), one) for id_, one in experiments),
        key=lambda item: (item[1].created_at_ms is None, item[1].created_at_ms or 0, item[0]),
    )
    return StoreIdentity(dict(found[:_KEPT]))
