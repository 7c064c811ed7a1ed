"""The evidence that Google Cloud does not have, as ports: what MLflow, our results and people say."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from switchyard.core.decommission.databases import Address
from switchyard.core.decommission.evidence import (
    Approver,
    DrillEvidence,
    ExportEvidence,
    KeptEvidence,
    PublishedEvidence,
    VerifyEvidence,
)
from switchyard.core.decommission.gates import Against


class Newest(msgspec.Struct, frozen=True, kw_only=True):
    """The newest of what an MLflow store holds."""

    run_at: datetime | None = None  # a run was started or ended then
    run_id: str = ""
    point_at: datetime | None = None


class Needed(msgspec.Struct, frozen=True, kw_only=True):
    """What must outlive the deletion."""

    what: str
    place: str = ""  # a folder's address
    address: Address | None = None  # of a database


class HandedIn(msgspec.Struct, frozen=True, kw_only=True):
    """The approvals that people handed in."""

    approvers: tuple[Approver, ...] = ()  # who is proved to approve
    refused: tuple[str, ...] = ()  # what else was handed in, and why it does not count


class EvidenceReader(Protocol):
    """Reads what the gates look at, all of it again at each call, and changes nothing."""

    def read_verify(self, against: Against) -> VerifyEvidence:
        """Returns the newest manifest of verify, beside MLflow's present runs.

        Raises: NotFound: there is none; BadRecord: it is damaged; BadSetup: no MLflow is named."""

    def read_kept(self, against: Against) -> KeptEvidence:
        """Returns what the same manifest says of all that MLflow holds besides runs. Raises: as `read_verify`."""

    def read_published(self, against: Against) -> PublishedEvidence:
        """Returns the newest completed runs of ours, and whether their pages open."""

    def read_export(self, against: Against) -> ExportEvidence:
        """Returns the export, every part of it. Raises: NotFound: there is none; BadSetup: no MLflow is named."""

    def drill(self, against: Against, export: ExportEvidence) -> DrillEvidence:
        """Returns what a real MLflow answers over a database that is restored from the export. It takes minutes.

        Raises: BadSetup: there is nowhere to drill, and the message says how to make it."""

    def read_newest(self) -> Newest:
        """Returns the newest run and point of MLflow's. Raises: BadSetup: no MLflow is named."""

    def list_needed(self) -> Sequence[Needed]:
        """Lists the places that Switchyard reads and writes, whatever becomes of MLflow."""

    def find_mlflow_address(self) -> Address | None:
        """Returns where MLflow's own database is; None: only MLflow's server is known."""

    def read_approvals(self, against: Against, state: str) -> HandedIn:
        """Reads which approvals of that inventory and state are verified, and who made them."""


class Drill(Protocol):
    """Restores an export into an empty database, and asks a real MLflow over it."""

    def __call__(self, against: Against, export: ExportEvidence) -> DrillEvidence:
        """Returns what was compared. A second call drills again, and leaves nothing behind. Raises: BadSetup."""


class Approvals(Protocol):
    """Verifies who approved."""

    def __call__(self, against: Against, state: str) -> HandedIn:
        """Returns those who provably approved the inventory and state. A second call reads again."""
