"""What `clean` and `decommission scan` take. Imports no Prefect."""

from typing import Annotated

import msgspec
from msgspec import Meta


class CleanParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """List stale files below ARTIFACTS_URI and STATE_DIR; delete them on request.

    Without --apply or --yes it changes nothing. What a registered version, a published run or an unsettled run needs is
    never deleted, nor what is not recognised.
    """

    apply: Annotated[
        str,
        Meta(
            max_length=80,
            description="delete what the plan with this digest lists; its first 12 digits are enough",
        ),
    ] = ""
    yes: Annotated[bool, Meta(description="delete what is stale now, without looking at the plan first")] = False
    older_than_days: Annotated[int, Meta(ge=1, le=36_500, description="only what was written longer ago")] = 90
    models: Annotated[
        bool, Meta(description="also models of completed runs that were never registered, and of retired versions")
    ] = False
    copies: Annotated[
        bool,
        Meta(description="also copied artifacts that no run's copy has any more; not while `artifacts copy` runs"),
    ] = False


class DecommissionScanParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Report where code and settings still name MLflow. Edits nothing.

    Exits with 1 if it finds something.
    """

    path: Annotated[str, Meta(min_length=1, description="a folder or a file; of a Git checkout what Git tracks")] = "."
