"""Results, artifacts and a state folder of our own, in which a test plants what `clean` finds."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from switchyard.clients.connect import Outside
from switchyard.clients.launchers.local.launcher import LocalLauncher
from switchyard.clients.objects.open import open_objects
from switchyard.clients.results.migrate import migrate
from switchyard.clients.settings import read_settings
from switchyard.core.artifacts.copies import ArtifactCopy
from switchyard.core.artifacts.manifest import Copied, to_manifest, to_manifest_uri, to_object_uri
from switchyard.core.backfill.rows import AdoptedRun
from switchyard.core.decommission.clearing import Decision, Plan, Policy
from switchyard.core.registry.rows import Lineage, ModelVersion, NewVersion
from switchyard.core.runs.jobs import JobState
from switchyard.core.runs.rows import Claim, JobNews, NewRun, RunStatus
from switchyard.services.clearing import Site, plan_clearing
from switchyard.services.registering import read_manifest
from tests.clients.results.places import publication

NOW = datetime(2026, 6, 1, tzinfo=UTC)
OLD = NOW - timedelta(days=200)


@dataclass
class ClearingWorld:
    """All of it lies in one folder."""

    folder: Path
    outside: Outside = field(init=False)

    def __post_init__(self) -> None:
        self.outside = Outside(read_settings({"STATE_DIR": str(self.state)}))
        migrate(self.outside.settings)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def artifacts(self) -> Path:
        return self.state / "artifacts"

    @property
    def cache(self) -> Path:
        return self.state / "models"

    @property
    def site(self) -> Site:
        """What cleaning reaches here."""
        outside = self.outside
        return Site(
            open_objects=open_objects,
            runs=outside.runs,
            jobs=outside.jobs,
            ledger=outside.ledger,
            models=outside.models,
            catalogue=outside.catalogue,
            copies=outside.artifact_copies,
            launcher=LocalLauncher(str(self.state)),
            artifacts_uri=self.artifacts.as_uri(),
            state_dir=self.state,
            model_cache=self.cache,
        )

    def plan(self, policy: Policy | None = None) -> Plan:
        """What becomes of all that is there."""
        return plan_clearing(self.site, policy or Policy(), NOW)

    def look(self, ending: str, policy: Policy | None = None) -> Decision:
        """What becomes of the one thing whose name ends so."""
        found = [one for one in self.plan(policy).decisions if one.thing.name.rstrip("/").endswith(ending)]
        assert len(found) == 1, [one.thing.name for one in self.plan(policy).decisions]
        return found[0]

    def write(self, path: str, data: bytes = b"x", *, written_at: datetime = OLD, root: Path | None = None) -> Path:
        """A file below ARTIFACTS_URI, as old as is said."""
        file = (root or self.artifacts) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        os.utime(file, (written_at.timestamp(), written_at.timestamp()))
        return file

    def write_run(self, id_: int, *, written_at: datetime = OLD) -> None:
        """Everything that a training leaves."""
        for path in (
            "training_metrics.json",
            "model/saved_model.pb",
            "embeddings/products.parquet",
            "checkpoints/attempt-1/checkpoint.json",
            "checkpoints/attempt-1/epoch-000003-aa/0.npy",
        ):
            self.write(f"quick_tests/{id_}/{path}", path.encode(), written_at=written_at)

    def add_run(self, status: RunStatus) -> int:
        """A run without a job, as it stands in MLflow."""
        name = hashlib.sha256(os.urandom(8)).hexdigest()[:32]
        return self.outside.runs.adopt_runs([AdoptedRun(mlflow_run_id=name, status=status)], now=OLD)[name]

    def add_completed(self, *, told: bool = True) -> int:
        """A run of ours that has completed and is published; `told`: its job's end is told of, too."""
        id_ = self.outside.runs.create_run(NewRun(request_key=os.urandom(8).hex()), now=OLD).id
        key = self.claim(id_)
        self.outside.jobs.record_job(key, JobNews(state=JobState.SUCCEEDED), now=OLD)
        self.outside.histories.publish(publication(id_, row_status=RunStatus.COMPLETED), now=OLD)
        if told:
            self.outside.jobs.claim_ended_event(key, now=OLD)
            self.outside.jobs.note_completed_event(key, now=OLD)
        return id_

    def claim(self, id_: int, *, folder: Path | None = None) -> str:
        """A new job of the run begins; its key."""
        uri = (folder or self.to_folder(id_)).as_uri()
        claim = Claim(quick_test_id=id_, request_key=os.urandom(8).hex(), artifacts_uri=uri)
        return self.outside.jobs.claim_job(claim, now=NOW).job.key

    def to_folder(self, id_: int) -> Path:
        """A run's."""
        return self.artifacts / "quick_tests" / str(id_)

    def register(self, folder: Path, name: str = "shop", quick_test_id: int | None = None) -> ModelVersion:
        """The model in a folder as the next version."""
        uri = folder.as_uri()
        new = NewVersion(
            name=name,
            source_key=uri,
            source_uri=uri,
            manifest=read_manifest(open_objects(uri), uri, "a test"),
            lineage=Lineage(quick_test_id=quick_test_id),
        )
        return self.outside.models.register(new).version

    def write_cached(self, digest: str, written_at: datetime = OLD) -> Path:
        """A private copy of a model."""
        folder = self.cache / digest.replace(":", "-")
        self.write("model/saved_model.pb", b"graph", written_at=written_at, root=folder)
        folder.chmod(0o700)
        return folder

    def copy(
        self, run_id: str, contents: Mapping[str, bytes], *, named: bool = True, written_at: datetime = OLD
    ) -> Path:
        """A run's copied artifacts, by path; its manifest. `named`: the run's row names this manifest."""
        to_uri = f"{self.artifacts.as_uri()}/mlflow-artifacts"
        copied = []
        for path, data in contents.items():
            sha256 = hashlib.sha256(data).hexdigest()
            copied.append(Copied(path=path, size_bytes=len(data), sha256=sha256))
            self.write(_to_path(to_object_uri(to_uri, sha256), self.artifacts), data, written_at=written_at)
        manifest = to_manifest(run_id, "file:///mlruns", copied)
        uri = to_manifest_uri(to_uri, run_id, manifest.digest)
        if named:
            self.outside.artifact_copies.keep(
                ArtifactCopy(
                    mlflow_run_id=run_id,
                    to_uri=to_uri,
                    digest=manifest.digest,
                    objects=len(copied),
                    size_bytes=manifest.size_bytes,
                    left_out=0,
                    copied_at=OLD,
                )
            )
        return self.write(_to_path(uri, self.artifacts), manifest.to_json(), written_at=written_at)

    def list_files(self) -> list[str]:
        """All files but the database's, by path."""
        files = (path for path in self.state.rglob("*") if path.is_file() and "results.db" not in path.name)
        return sorted(str(path.relative_to(self.state)) for path in files)

    def read_all(self) -> dict[str, tuple[bytes, int]]:
        """Content and time of each of these files."""
        return {
            path: ((self.state / path).read_bytes(), (self.state / path).stat().st_mtime_ns)
            for path in self.list_files()
        }


def with_objects(site: Site, objects: object) -> Site:
    """The site, with other objects for every URI."""
    return replace(site, open_objects=lambda uri: objects)  # type: ignore[arg-type, return-value]


def _to_path(uri: str, root: Path) -> str:
    return uri.removeprefix(f"{root.as_uri()}/")
