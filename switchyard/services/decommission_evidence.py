"""Reads what MLflow, our results and people say of a decommission, from the outside systems of the settings.

It is `core.decommission.readers.EvidenceReader`. Changes nothing.
"""

import hashlib
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from typing import Final

import msgspec

from switchyard.clients.addresses import find_addresses
from switchyard.clients.connect import Outside
from switchyard.core.comparison.filter import parse_filter
from switchyard.core.comparison.found import FoundRun, RunQuery
from switchyard.core.decommission.databases import Address, to_address
from switchyard.core.decommission.evidence import (
    DrillEvidence,
    ExportEvidence,
    KeptEvidence,
    KeptKind,
    PublishedEvidence,
    PublishedRun,
    VerifyEvidence,
)
from switchyard.core.decommission.gates import Against
from switchyard.core.decommission.readers import Approvals, Drill, HandedIn, Needed, Newest
from switchyard.core.errors import BadRecord, BadSetup, NotFound, catch, to_message
from switchyard.core.mlflow.export import MARKER, read_marker
from switchyard.core.verify.findings import KIND, State
from switchyard.core.verify.manifest import Manifest, read_manifest

_SHOWN: Final = 20
_LOOKED_AT: Final = 200
"""Completed runs among which the newest are looked for."""
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)


class OutsideEvidence:
    """Implements `core.decommission.readers.EvidenceReader`, which has the contracts.

    Args:
        find_page_problem: says why the page of a run does not open; empty: it does.
        drill: None: this machine has none.
        approvals: None: only a typed digest counts.
        find_addresses: finds the addresses of a host's name.
    """

    def __init__(
        self,
        outside: Outside,
        *,
        find_page_problem: Callable[[int], str],
        drill: Drill | None = None,
        approvals: Approvals | None = None,
        find_addresses: Callable[[str], tuple[str, ...]] = find_addresses,
    ) -> None:
        self._outside = outside
        self._find_page_problem = find_page_problem
        self._drill = drill
        self._approvals = approvals
        self._find_addresses = find_addresses

    def read_verify(self, against: Against) -> VerifyEvidence:
        """See the port."""
        uri, data, manifest = self._read_manifest()
        named = {run.mlflow_run_id for run in manifest.runs if run.mlflow_run_id and run.state is not State.MISSING}
        named |= {run.mlflow_run_id for run in manifest.unknown_runs}
        there = self._list_mlflow_runs()
        return VerifyEvidence(
            inventory=against.inventory,
            read_at=against.now,
            manifest_uri=uri,
            manifest_digest=_to_digest(data),
            format=manifest.format,
            verified_at=manifest.verified_at,
            database_id=manifest.database_id,
            own_database_id=self._outside.runs.read_database_id(),
            is_all=manifest.scope.is_all,
            safe=manifest.verdict.safe,
            not_safe=tuple(manifest.verdict.not_safe),
            failed=sum(run.state.failed for run in manifest.runs),
            manifest_runs=len(named),
            mlflow_runs=len(there),
            unseen=tuple(sorted(there - named)[:_SHOWN]),
        )

    def read_kept(self, against: Against) -> KeptEvidence:
        """See the port. What was given up by name when verify ran stays given up."""
        _, data, manifest = self._read_manifest()
        has_kinds = "kinds" in msgspec.json.decode(data, type=dict[str, msgspec.Raw])  # older manifests lack them
        return KeptEvidence(
            inventory=against.inventory,
            read_at=against.now,
            counted=has_kinds and manifest.scope.is_all,
            kinds=tuple(
                KeptKind(kind=kind.kind, missing="" if kind.is_safe else kind.words_missing) for kind in manifest.kinds
            ),
        )

    def read_published(self, against: Against) -> PublishedEvidence:
        """See the port."""
        own = not self._outside.settings.results_table
        since = against.rules.switched_at
        asked = "status = 'completed'"
        if own and since is not None:  # an application's own table may not have this column
            asked += f" and created_at >= '{since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}'"
        query = RunQuery(limit=_LOOKED_AT, filter=parse_filter(asked), archived="any")
        found = [(self._find_completed_at(run), run) for run in self._outside.runs.find_runs(query).runs]
        newest = sorted(found, key=lambda pair: (pair[0], pair[1].id), reverse=True)[: against.rules.last_runs]
        return PublishedEvidence(
            inventory=against.inventory,
            read_at=against.now,
            runs=tuple(
                PublishedRun(
                    quick_test_id=run.id,
                    completed_at=completed_at,
                    source=self._read_source(run.id),
                    page_problem=self._find_page_problem(run.id),
                )
                for completed_at, run in newest
            ),
        )

    def read_export(self, against: Against) -> ExportEvidence:
        """See the port."""
        uri = against.rules.export_uri
        marker, _ = self._outside.objects(uri).read(f"{uri}/{MARKER}")
        export = read_marker(marker, f"{uri}/{MARKER}")
        with closing(self._outside.open_export(uri)) as tracking:
            found = catch(tracking.describe)
            if isinstance(found, Exception) and not isinstance(found, BadRecord):
                raise found
            runs = sum(1 for _ in tracking.list_runs())
        return ExportEvidence(
            inventory=against.inventory,
            read_at=against.now,
            uri=uri,
            digest=_to_digest(marker),
            taken_at=export.taken_at,
            runs=runs,
            mlflow_runs=len(self._list_mlflow_runs()),
            missing=tuple(f"{one.kind} {one.id}: {one.reason}" for one in export.missing[:_SHOWN]),
            problem=to_message(found) if isinstance(found, Exception) else "",
        )

    def drill(self, against: Against, export: ExportEvidence) -> DrillEvidence:
        """See the port."""
        if self._drill is None:
            raise BadSetup("A restore drill cannot be made here. docs/decommission.md says what it needs")
        return self._drill(against, export)

    def read_newest(self) -> Newest:
        """See the port. Looks at the newest point of each key, without reading all."""
        newest_run: tuple[int, str] = (-1, "")
        newest_point = -1
        with closing(self._outside.tracking) as tracking:
            ids = []
            for run in tracking.list_runs():
                ids.append(run.run_id)
                newest_run = max(newest_run, (max(run.started_at_ms or -1, run.ended_at_ms or -1), run.run_id))
            for look in tracking.look_at_runs(ids):
                newest_point = max(newest_point, -1 if look.newest_ms is None else look.newest_ms)
        return Newest(run_at=_to_moment(newest_run[0]), run_id=newest_run[1], point_at=_to_moment(newest_point))

    def list_needed(self) -> list[Needed]:
        """See the port: published artifacts, the results, and the files of models that were registered in place."""
        settings = self._outside.settings
        needed = [
            Needed(what="folder ARTIFACTS_URI", place=settings.artifacts_uri),
            Needed(what="database RESULTS_URL", address=self._find_address(settings.results_url)),
        ]
        models = self._outside.models
        return needed + [
            Needed(what=f"model {model.name} version {version.version}", place=version.source_uri)
            for model in models.list_models()
            for version in models.list_versions(model.name)
            if version.source_uri and version.digest and version.tombstoned_at is None
        ]

    def find_mlflow_address(self) -> Address | None:
        """See the port."""
        return self._find_address(self._outside.settings.mlflow_backend_store_uri)

    def _find_address(self, url: str) -> Address | None:
        found = to_address(url)
        if found is None:
            return None
        addresses = (address for host in found.hosts for address in self._find_addresses(host))
        return msgspec.structs.replace(found, addresses=tuple(dict.fromkeys(addresses)))

    def read_approvals(self, against: Against, state: str) -> HandedIn:
        """See the port."""
        return self._approvals(against, state) if self._approvals else HandedIn()

    def _read_manifest(self) -> tuple[str, bytes, Manifest]:
        folder = f"{self._outside.settings.artifacts_uri}/manifests/"
        objects = self._outside.objects(folder)
        found = objects.list(f"{folder}{KIND}-")  # each name begins with its time
        if not found:
            raise NotFound(f"No manifest of verify is in {folder}. Run: switchyard verify --require-safe")
        data, _ = objects.read(found[-1])
        return found[-1], data, read_manifest(data, found[-1])

    def _list_mlflow_runs(self) -> set[str]:
        with closing(self._outside.tracking) as tracking:
            return {run.run_id for run in tracking.list_runs()}

    def _find_completed_at(self, run: FoundRun) -> datetime:
        """Returns when the run was completed; where an application's table lacks it, when its last job was claimed."""
        if run.completed_at is not None:
            return run.completed_at
        job = self._outside.jobs.read_job(run.id)
        return (job.ended_event_at or job.claimed_at) if job else _FIRST

    def _read_source(self, quick_test_id: int) -> str:
        stored = self._outside.histories.read_history(quick_test_id).history_json
        found = msgspec.json.decode(stored) if stored else {}
        return str(found.get("source", "")) if isinstance(found, dict) else ""


def _to_digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _to_moment(milliseconds: int) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds >= 0 else None
