"""An MLflow store of a few runs in a database, whose artifacts lie in folders, and results of our own beside it."""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from switchyard.clients.connect import Outside
from switchyard.clients.results.migrate import migrate
from switchyard.clients.settings import read_settings
from switchyard.core.artifacts.manifest import Manifest, read_manifest, to_manifest_uri, to_object_uri
from switchyard.core.artifacts.places import to_allowed
from switchyard.core.artifacts.plan import ArtifactRun, How
from switchyard.core.backfill.rows import AdoptedRun
from switchyard.core.runs.rows import RunStatus
from switchyard.services.artifacts import find_runs
from tests.clients.mlflow.stores import add_runs, make_sqlite
from tests.core.mlflow.factories import make_run

Files = Mapping[str, bytes]


@dataclass
class ArtifactWorld:
    """`files` by the letter of a run, whose MLflow id is 32 of it; each has a row. Copies go to `to_uri`."""

    folder: Path
    files: Mapping[str, Files]
    to_uri: str = ""
    uris: Mapping[str, str] = field(default_factory=dict)  # where a run's place is another one
    rows: bool = True
    outside: Outside = field(init=False)
    ids: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.to_uri = self.to_uri or (self.folder / "copies").as_uri()
        store = make_sqlite(self.folder / "mlflow.db")
        runs = [make_run(run_id=letter * 32, epochs=1, artifact_uri=self.uri(letter)) for letter in self.files]
        with sqlite3.connect(store) as connection:
            add_runs(connection, runs)
        connection.close()
        for letter, files in self.files.items():
            for path, data in files.items():
                self.write(letter, path, data)
        settings = {"STATE_DIR": str(self.folder / "state"), "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{store}"}
        self.outside = Outside(read_settings(settings))
        migrate(self.outside.settings)
        adopted = [AdoptedRun(mlflow_run_id=letter * 32, status=RunStatus.COMPLETED) for letter in self.files]
        made = self.outside.runs.adopt_runs(adopted if self.rows else [], now=datetime.now(UTC))
        self.ids = {run_id[0]: id_ for run_id, id_ in made.items()}

    def uri(self, letter: str) -> str:
        """Returns the place as MLflow says it."""
        return self.uris.get(letter, self.place(letter).as_uri())

    def place(self, letter: str) -> Path:
        """Where MLflow puts a run's artifacts."""
        return self.folder / "mlruns" / "4" / (letter * 32) / "artifacts"

    def write(self, letter: str, path: str, data: bytes) -> Path:
        """Logs an artifact."""
        target = self.place(letter) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        return target

    def how(self, **changes: Any) -> How:
        values: dict[str, Any] = {"to_uri": self.to_uri, "concurrency": 4, "allowed": to_allowed(["/"], [])}
        return How(**(values | changes))

    def runs(self, **scope: Any) -> list[ArtifactRun]:
        return sorted(find_runs(self.outside, **scope), key=lambda run: run.mlflow_run_id)

    def manifest(self, letter: str) -> Manifest:
        """The copy of a run, by its row."""
        row = self.outside.artifact_copies.read([letter * 32])[letter * 32]
        uri = to_manifest_uri(row.to_uri, letter * 32, row.digest)
        return read_manifest(self.outside.objects(uri).read(uri)[0], uri, digest=row.digest)

    def kept(self, letter: str) -> dict[str, bytes]:
        """What is kept of a run's artifacts, by name."""
        objects = self.outside.objects(self.to_uri)
        return {
            one.path: objects.read(to_object_uri(self.to_uri, one.sha256))[0] for one in self.manifest(letter).objects
        }

    def lines(self) -> dict[str, tuple[str, str]]:
        """State and error of the ledger's lines, by run."""
        letters = {id_: letter for letter, id_ in self.ids.items()}
        return {
            letters[line.quick_test_id]: (line.state, line.error)
            for line in self.outside.ledger.read_ledger("artifacts")
        }

    def stored(self) -> dict[str, bytes]:
        """Every file below a local `to_uri`, by its path there."""
        root = Path(self.to_uri.removeprefix("file://"))
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    def close(self) -> None:
        self.outside.close()
