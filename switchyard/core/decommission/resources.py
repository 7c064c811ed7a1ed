"""What an MLflow deployment on Google Cloud consists of, as it is described, saved and compared."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec


class Kind(StrEnum):
    """A kind of resource; each has an adapter of its own."""

    RUN_SERVICE = "run service"
    SQL_INSTANCE = "sql instance"
    BUILD_TRIGGER = "build trigger"
    BUCKET = "bucket"
    SERVICE_ACCOUNT = "service account"
    SECRET = "secret"  # noqa: S105 - the kind, not one of them
    VARIABLE = "variable"  # of another service or job, that points to the deployment
    BINDING = "binding"  # a role that a policy gives to the deployment's account


class Activity(StrEnum):
    """Whether a resource does its work."""

    ACTIVE = "active"
    STOPPED = "stopped"  # as `Cloud.stop` leaves it
    DELETED = "deleted"  # and can be brought back for a while


class Sought(msgspec.Struct, frozen=True, kw_only=True):
    """What the resources of one deployment are found by."""

    project: str
    regions: tuple[str, ...]
    names: Mapping[Kind, tuple[str, ...]] = {}  # short names, e-mails of accounts
    labels: Mapping[str, str] = {}
    references: tuple[str, ...] = ()  # what others name it by: hosts, connection names, e-mails, buckets, secrets
    controls: Mapping[Kind, str] = {}  # a resource that is known to exist and must be in the list; it is left alone


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """One resource, as it was when it was read."""

    kind: Kind
    name: str  # in full: `projects/p/locations/r/services/s`; of a variable or binding: `<owner>#<what>`
    unique_id: str = ""  # what a namesake that is made later does not have: uid, generation, 21 digits
    version: str = ""  # what changes with every change: etag, metageneration, settings version
    activity: Activity = Activity.ACTIVE
    found_by: tuple[str, ...] = ()  # "name", "label", or the reference, e.g. "env MLFLOW_TRACKING_URI of .../api"
    description: Mapping[str, Any] = {}  # the whole answer of the API
    policy: Mapping[str, Any] = {}  # the whole policy of its own; empty: it has none
    parts: Mapping[str, Any] = {}  # what is asked by itself: versions of a secret, backups, bytes of a bucket
    managed_by: str = ""  # "terraform": it would come back with the next apply
    guards: tuple[str, ...] = ()  # what forbids its deletion now, in a sentence each: protection, replicas, retention


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What whole lists hold of one kind."""

    kind: Kind
    resources: tuple[Resource, ...]  # that were sought, ascending by name
    listed: int  # resources in all lists, others' too
    places: tuple[str, ...]  # that were asked: `global`, each region, each policy
    control: str = ""  # the control, where the lists hold it
    unseen: tuple[str, ...] = ()  # what of this kind no list shows that was asked


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """An act that was begun. A name is stored before it is waited for."""

    kind: Kind
    resource: str
    name: str = ""  # of the vendor's long operation; empty: the act was over with its answer


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far an operation is."""

    done: bool
    problem: str = ""  # it is done and has failed


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What of a resource that is stopped or deleted can still be brought back."""

    what: str  # e.g. "final backup projects/p/backups/123"
    state: str  # in the vendor's words: SUCCESSFUL, DISABLED, SOFT_DELETED
    until: datetime | None = None  # the vendor deletes it then; None: it stays
    name: str = ""  # in full, as a bill names it; empty: it has none of its own


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who asked a service for something."""

    who: str  # user agent, and the account where the log has one
    account: str = ""  # that account alone: a user agent may say anything, also "... as someone"
    requests: int
    last_at: datetime


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What a resource cost in a time."""

    resource: str
    amount: float
    currency: str
