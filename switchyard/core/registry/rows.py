"""What the registry holds of models and their versions: plain values, as flows, tasks and serving pass them around."""

from datetime import datetime
from typing import Any

import msgspec

from switchyard.core.registry.manifest import Manifest
from switchyard.core.registry.stages import Act, Stage, Validation


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A named model: which of its versions answer."""

    name: str
    production: int | None = None  # the champion
    previous: int | None = None  # who was champion before, and what a rollback goes back to; None after a rollback
    challenger: int | None = None  # the version in Staging
    share: float = 0.0  # of the traffic, that the challenger answers; 0: it is only asked, never heard
    last_number: int = 0  # the highest version number ever given
    revision: int = 0  # lines in its history; grows with every change
    description: str = ""


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """Where a version comes from; what is empty is not known."""

    quick_test_id: int | None = None
    run_key: str = ""
    data_uri: str = ""
    parameters: dict[str, Any] = {}
    image: str = ""  # the trainer's, by its digest where that could be read
    code_version: str = ""
    trained_until: str = ""  # the newest purchase that the training has seen (`core.runs.moments`)


class NewVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version before it has a number."""

    name: str
    source_key: str  # what it was made from; unique in the model, so that the same source registers once
    source_uri: str  # the folder of its files
    manifest: Manifest
    lineage: Lineage = Lineage()
    by: str = ""
    description: str = ""
    flavor: str = ""  # what kind of model it is, and so who can load it; empty: no one knows


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """What a comparison said: of which files, against which champion. It speaks of no other pair."""

    status: Validation = Validation.PENDING
    digest: str = ""
    against: int | None = None  # None: there was no champion
    against_digest: str = ""
    evidence: dict[str, Any] = {}


class ModelVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version as it stands."""

    name: str
    version: int  # from 1; never given again
    digest: str  # the manifest's; empty: it was imported, and its files could not be read
    stage: Stage = Stage.NONE
    judgement: Judgement = Judgement()
    source_key: str = ""
    source_uri: str = ""
    lineage: Lineage = Lineage()
    description: str = ""
    created_at: datetime
    created_by: str = ""
    tombstoned_at: datetime | None = None  # None: it is not
    flavor: str = ""


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """The version of a source, and whether this call made it."""

    version: ModelVersion
    is_new: bool


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a model's history. Nothing ever changes one."""

    name: str
    seq: int  # from 1, without a gap; `at` never decreases with it
    version: int
    act: Act
    from_stage: Stage
    to_stage: Stage
    at: datetime
    by: str = ""
    reason: str = ""
    forced: bool = False  # it went past the comparison with the champion
    replaced: int | None = None  # who was champion, or challenger, before
    share: float | None = None  # the challenger's since then
    evidence: dict[str, Any] = {}
    request_key: str | None = None


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What every change of a model says: of which, who asks, and why."""

    name: str
    request_key: str = ""  # the same key finds the first call's answer again; empty: every call is a new one
    by: str = ""
    reason: str = ""


class Promotion(Request, frozen=True, kw_only=True):
    """Make `version` the champion, in the place of `expected` (None: there is none)."""

    version: int
    expected: int | None
    force: bool = False  # without a passed comparison; needs a reason


class Rollback(Request, frozen=True, kw_only=True):
    """Take the champion `expected` back: `to`, else who was champion before it, is champion again."""

    expected: int | None
    to: int | None = None


class StageMove(Request, frozen=True, kw_only=True):
    """Move a version to a stage that is not Production.

    In Staging it is the challenger, with `share`; None: 5 %, or the share that it has, where it is the challenger
    already.
    """

    version: int
    stage: Stage
    share: float | None = None
    # The challenger that a move to Staging replaces; UNSET: whichever it is.
    expected_challenger: int | msgspec.UnsetType | None = msgspec.UNSET


class ShareChange(Request, frozen=True, kw_only=True):
    """Give the challenger `version` another share of the traffic."""

    version: int
    share: float


class Verdict(Request, frozen=True, kw_only=True):
    """Record what a comparison of `version` said."""

    version: int
    judgement: Judgement
    # The champion must still be the one compared with. False: a judgement of another pair is kept too.
    of_champion: bool = False


class Tombstone(Request, frozen=True, kw_only=True):
    """Retire a version for ever: its number and its history stay, and it never answers again."""

    version: int


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a change did; a second call with its request key answers the same."""

    name: str
    version: int
    act: Act | None  # None: it was so already, and nothing was written
    seq: int = 0  # of its line in the history; 0: none was written
    replaced: int | None = None
    at: datetime | None = None
