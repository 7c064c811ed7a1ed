"""The evidence that MLflow and our results give, read from real stores."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from switchyard.clients.connect import Outside
from switchyard.clients.local_servers import find_page_problem
from switchyard.clients.settings import read_settings
from switchyard.core.decommission.databases import Address
from switchyard.core.decommission.evidence import DrillEvidence, ExportEvidence
from switchyard.core.decommission.gates import Against, check_kept, check_published, check_verify
from switchyard.core.decommission.readers import HandedIn
from switchyard.core.decommission.rules import Rules
from switchyard.core.errors import BadSetup, NotFound
from switchyard.core.ports import ANY
from switchyard.core.registry.manifest import ModelFile
from switchyard.core.registry.manifest import to_manifest as to_model_manifest
from switchyard.core.registry.rows import NewVersion, Tombstone
from switchyard.core.verify.batches import Scope
from switchyard.core.verify.findings import State, UnknownRun, VerifiedRun
from switchyard.core.verify.kinds import KindFound
from switchyard.core.verify.manifest import Manifest, SourceOfTruth, to_json, to_manifest
from switchyard.services.decommission_evidence import OutsideEvidence
from tests.clients.mlflow.export.exports import export_to_folder
from tests.clients.mlflow.stores import add_runs, make_sqlite
from tests.clients.results.places import NOW, Place, Places, publication
from tests.core.decommission.world import make_evidence
from tests.core.mlflow.factories import make_run

IDS = ("a" * 32, "b" * 32)
READ_AT = NOW + timedelta(days=1)


@dataclass
class Stores:
    """An MLflow of two runs, our results, and what is written beside them."""

    outside: Outside
    store: Path
    folder: Path
    place: Place

    def against(self, **rules: Any) -> Against:
        given = {"switched_at": NOW - timedelta(days=1), "export_uri": (self.folder / "export").as_uri(), **rules}
        return Against(inventory="sha256:i", rules=Rules(**given), now=READ_AT)

    def reader(self, **more: Any) -> OutsideEvidence:
        return OutsideEvidence(self.outside, find_page_problem=lambda _id: "", **more)

    def mlflow(self, statement: str) -> None:
        with closing(sqlite3.connect(self.store)) as connection, connection:
            connection.execute(statement)

    def write_manifest(self, *, older: dict[str, Any] | None = None, **changed: Any) -> None:
        found = make_manifest(self.outside.runs.read_database_id(), **changed)
        data = to_json(found)
        if older is not None:
            plain = msgspec.json.decode(data)
            data = msgspec.json.encode({key: plain[key] for key in plain if key not in ("models", "kinds")} | older)
        uri = f"{self.outside.settings.artifacts_uri}/manifests/verify-{found.verified_at:%Y%m%dT%H%M%SZ}-1.json"
        self.outside.objects(uri).write(uri, data, if_generation=ANY)


def make_manifest(database_id: str, **changed: Any) -> Manifest:
    given: dict[str, Any] = {
        "runs": [VerifiedRun(quick_test_id=1, mlflow_run_id=IDS[0], state=State.VERIFIED, kept_in_full=True)],
        "unknown": [UnknownRun(mlflow_run_id=IDS[1], name="b", experiment="e", deleted=True)],
        "verified_at": READ_AT - timedelta(hours=1),
        "kinds": [],
        "scope": Scope(),
        **changed,
    }
    source = SourceOfTruth(described="MLflow", database_id=database_id, versions={})
    return to_manifest(given.pop("runs"), given.pop("unknown"), source, from_export=True, **given)


@pytest.fixture
def stores(places: Places, tmp_path: Path) -> Iterator[Stores]:
    place = places.make("sqlite", tmp_path)
    store = make_sqlite(tmp_path / "mlflow.db")
    with closing(sqlite3.connect(store)) as connection, connection:
        add_runs(connection, [make_run(run_id=id_, epochs=1) for id_ in IDS])
    outside = Outside(
        read_settings(
            {
                "STATE_DIR": str(tmp_path / "state"),
                "RESULTS_URL": place.url,
                "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{store}",
            }
        )
    )
    yield Stores(outside=outside, store=store, folder=tmp_path, place=place)
    outside.close()


def test_a_manifest_that_names_every_run_passes(stores: Stores) -> None:
    """Those that no row names too; a new or a lost run in MLflow is found."""
    with pytest.raises(NotFound, match="switchyard verify"):
        stores.reader().read_verify(stores.against())
    stores.write_manifest()
    found = stores.reader().read_verify(stores.against())
    assert (found.manifest_runs, found.mlflow_runs, found.unseen, found.failed) == (2, 2, (), 0)
    assert check_verify(found, stores.against()) == []
    with closing(sqlite3.connect(stores.store)) as connection, connection:
        add_runs(connection, [make_run(run_id="c" * 32, epochs=1)])
    assert stores.reader().read_verify(stores.against()).unseen == ("c" * 32,)
    stores.mlflow("DELETE FROM runs WHERE run_uuid <> '" + IDS[0] + "'")
    (refusal,) = check_verify(stores.reader().read_verify(stores.against()), stores.against())
    assert "MLflow has 1 runs now" in refusal


def test_the_newest_manifest_counts(stores: Stores) -> None:
    """It counts, whatever an older one says."""
    stores.write_manifest(verified_at=READ_AT - timedelta(hours=9))
    failed = VerifiedRun(quick_test_id=1, mlflow_run_id=IDS[0], state=State.DIFFERS)
    stores.write_manifest(runs=[failed])
    found = stores.reader().read_verify(stores.against())
    assert (found.failed, found.safe) == (1, False)
    assert any("1 runs failed" in refusal for refusal in check_verify(found, stores.against()))


def test_a_manifest_of_format_1_is_read(stores: Stores) -> None:
    """It counts nothing besides runs, so that what else there is must be given up by name."""
    stores.write_manifest(older={"format": 1})
    assert stores.reader().read_verify(stores.against()).format == 1
    kept = stores.reader().read_kept(stores.against())
    assert not kept.counted
    assert len(check_kept(kept, Rules())) == 2
    assert check_kept(kept, Rules(give_up=("artifacts", "registry"))) == []


def test_a_manifest_of_format_3_that_counts_no_kinds_is_not_taken_for_one_that_found_none(stores: Stores) -> None:
    """The first of that format did not."""
    stores.write_manifest(older={"format": 3})
    assert not stores.reader().read_kept(stores.against()).counted


def test_what_is_kept_nowhere_is_named(stores: Stores) -> None:
    """Unless it was given up when verify ran."""
    lost = KindFound(kind="traces", stored={"trace_info": 5}, missing={"trace_info": 5})
    stores.write_manifest(kinds=[lost, msgspec.structs.replace(lost, kind="artifacts", given_up=True)])
    found = stores.reader().read_kept(stores.against())
    assert [(kind.kind, kind.missing) for kind in found.kinds] == [("traces", "5 trace_info"), ("artifacts", "")]


def test_the_last_completed_runs_are_read_with_their_source(stores: Stores) -> None:
    """The newest first; one that was published from MLflow, or whose page does not open, is named."""
    ids = [stores.place.add_finished_run(number) for number in range(4)]
    for days, id_ in enumerate(ids):
        stores.place.sql("UPDATE quick_tests SET completed_at = :at WHERE id = :id", id=id_, at=f"2026-01-{16 + days}")
    old = stores.place.add_run("old", status="completed")
    stores.place.sql(
        "UPDATE quick_tests SET created_at = '2025-01-01', completed_at = '2026-02-01' WHERE id = :id", id=old
    )
    reader = OutsideEvidence(stores.outside, find_page_problem=lambda id_: "status 404" if id_ == ids[3] else "")
    found = reader.read_published(stores.against())
    assert [run.quick_test_id for run in found.runs] == [ids[3], ids[2], ids[1]]
    assert {run.source for run in found.runs} == {"file"}
    (refusal,) = check_published(found, stores.against().rules)
    assert "status 404" in refusal
    stores.place.histories.publish(publication(ids[2], charted="z", source="mlflow"), force=True, now=READ_AT)
    assert [run.source for run in reader.read_published(stores.against()).runs] == ["file", "mlflow", "file"]


def test_an_export_is_read_whole(stores: Stores) -> None:
    """With its digest; a damaged part is named, and so is one that is not there."""
    with pytest.raises(NotFound):
        stores.reader().read_export(stores.against())
    uri = export_to_folder(f"sqlite:///{stores.store}", stores.folder / "export")
    found = stores.reader().read_export(stores.against())
    assert (found.uri, found.runs, found.mlflow_runs, found.problem, found.missing) == (uri, 2, 2, "", ())
    assert found.digest.startswith("sha256:")
    part = next((stores.folder / "export" / "tables" / "tags").glob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-8] + b"damaged!")
    assert "tags" in stores.reader().read_export(stores.against()).problem


def test_the_newest_run_and_point_are_found(stores: Stores) -> None:
    """A point may be newer than its run's end."""
    late = datetime(2027, 5, 1, 12, 0, 0, 250_000, tzinfo=UTC)
    with closing(sqlite3.connect(stores.store)) as connection, connection:
        newest = (int(late.timestamp() * 1000), IDS[0])
        connection.execute("UPDATE latest_metrics SET step = 99, timestamp = ? WHERE run_uuid = ?", newest)
        connection.execute("UPDATE runs SET end_time = 1800000000000 WHERE run_uuid = ?", (IDS[1],))
        connection.execute("UPDATE runs SET end_time = NULL, start_time = 5 WHERE run_uuid = ?", (IDS[0],))
    found = stores.reader().read_newest()
    assert found.point_at == late
    assert (found.run_at, found.run_id) == (datetime.fromtimestamp(1_800_000_000, UTC), IDS[1])


def test_a_drill_and_approvals_are_asked_for_where_there_are_any(stores: Stores) -> None:
    """Without a drill nothing passes; without approvals a digest that is typed is left."""
    evidence: dict[str, Any] = {**make_evidence()}
    export: ExportEvidence = evidence["export"]
    with pytest.raises(BadSetup, match="restore drill"):
        stores.reader().drill(stores.against(), export)
    assert stores.reader().read_approvals(stores.against(), "approved") == HandedIn()
    asked: list[str] = []

    def drill(against: Against, of: ExportEvidence) -> DrillEvidence:
        asked.append(of.digest)
        found: DrillEvidence = evidence["drill"]
        return found

    handed_in = HandedIn(approvers=evidence["approval"].approvers)
    reader = stores.reader(
        drill=drill, approvals=lambda _against, state: handed_in if state == "approved" else HandedIn()
    )
    assert reader.drill(stores.against(), export) == evidence["drill"]
    assert asked == [export.digest]
    assert reader.read_approvals(stores.against(), "approved") == handed_in


def test_what_switchyard_needs_is_named_without_a_password(stores: Stores) -> None:
    """Its artifacts, its results, and the files of registered models; not those of retired ones, or of none."""
    manifest = to_model_manifest([ModelFile(path="model/a", size_bytes=1, sha256="ab" * 32)], "")
    for number, uri in enumerate(["gs://mlflow/1/model", "gs://mlflow/2/model"]):
        stores.place.models.register(
            NewVersion(name="shop", source_key=f"key {number}", source_uri=uri, manifest=manifest)
        )
    stores.place.models.tombstone(Tombstone(name="shop", version=1, reason="a test"))
    found = stores.reader().list_needed()
    assert [(one.what, one.place) for one in found] == [
        ("folder ARTIFACTS_URI", stores.outside.settings.artifacts_uri),
        ("database RESULTS_URL", ""),  # a file
        ("model shop version 2", "gs://mlflow/2/model"),
    ]


def test_the_addresses_of_databases_are_looked_up(stores: Stores) -> None:
    """By the names in their URLs: a name of one's own may stand for an instance's address."""
    settings = msgspec.structs.replace(
        stores.outside.settings,
        results_url="postgresql+psycopg://ann:secret@results.acme.example:5432/switchyard",
        mlflow_backend_store_uri="postgresql://ann:secret@127.0.0.1/mlflow",
    )

    class Elsewhere(Outside):
        models = stores.place.models  # that database is not there

    asked: list[str] = []

    def find(host: str) -> tuple[str, ...]:
        asked.append(host)
        return ("10.1.2.3",)

    reader = OutsideEvidence(Elsewhere(settings), find_page_problem=lambda _id: "", find_addresses=find)
    needed = {one.what: one.address for one in reader.list_needed()}
    assert needed["database RESULTS_URL"] == Address(
        hosts=("results.acme.example",), database="switchyard", addresses=("10.1.2.3",)
    )
    mlflow = reader.find_mlflow_address()
    assert mlflow is not None
    assert mlflow.database == "mlflow"
    assert asked == ["results.acme.example", "127.0.0.1"]
    assert "secret" not in f"{needed} {mlflow}"


def test_a_page_that_does_not_open_says_why() -> None:
    """No server listens there."""
    assert "did not answer" in find_page_problem("http://127.0.0.1:9/quick-tests/1", token="secret")
    assert "secret" not in find_page_problem("http://127.0.0.1:9/quick-tests/1", token="secret")
