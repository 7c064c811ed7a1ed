"""Opens a results database: its ports over one `Database`."""

from dataclasses import dataclass

from switchyard.clients.results.artifact_copies import SqlArtifactCopies
from switchyard.clients.results.catalogue import SqlCatalogue
from switchyard.clients.results.decommission import SqlDecommissions
from switchyard.clients.results.embedded import is_outdated, refuse_without_file
from switchyard.clients.results.engine import Database, find_file
from switchyard.clients.results.followed import SqlFollowed
from switchyard.clients.results.histories import SqlHistories
from switchyard.clients.results.imports import SqlModelImports
from switchyard.clients.results.jobs import SqlJobs
from switchyard.clients.results.ledger import SqlLedger
from switchyard.clients.results.mirrors import SqlMirrorNotes
from switchyard.clients.results.models import SqlModels
from switchyard.clients.results.predictions import SqlPredictions
from switchyard.clients.results.runs import SqlRuns
from switchyard.core.ports import (
    ArtifactCopies,
    Catalogue,
    Decommissions,
    Followed,
    Histories,
    Jobs,
    Ledger,
    MirrorNotes,
    ModelImports,
    Models,
    Predictions,
    Runs,
)


@dataclass(frozen=True)
class ResultsPorts:
    """The ports of one opening, which share its connections."""

    database: Database
    runs: Runs
    jobs: Jobs
    histories: Histories
    ledger: Ledger
    followed: Followed
    models: Models
    mirrors: MirrorNotes
    predictions: Predictions
    catalogue: Catalogue
    imports: ModelImports
    artifact_copies: ArtifactCopies
    decommissions: Decommissions

    def close(self) -> None:
        """Closes the connections; a later call opens new ones."""
        self.database.close()


def open_results(url: str, table: str = "") -> ResultsPorts:
    """Opens the results database at `url`; `table` names an application's table of runs, empty for our own.

    An SQLite file of our own that is missing, or of an older schema, is made or brought up to date.

    Raises:
        BadSetup: the URL is wrong, the schema there is not this version's, or the file is gone and its log is not.
        TryAgain: an SQLite file must be brought up to date, and the disk is full.
    """
    path, where = find_file(url)
    if path is not None:
        refuse_without_file(path, where)
    if path is not None and not table and is_outdated(path):
        # Alembic takes a while to import, and only this needs it.
        from switchyard.clients.results.migrate import bring_up_to_date

        bring_up_to_date(url)
    database = Database(url, table)
    database.check()
    return ResultsPorts(
        database=database,
        runs=SqlRuns(database),
        jobs=SqlJobs(database),
        histories=SqlHistories(database),
        ledger=SqlLedger(database),
        followed=SqlFollowed(database),
        models=SqlModels(database),
        mirrors=SqlMirrorNotes(database),
        predictions=SqlPredictions(database),
        catalogue=SqlCatalogue(database),
        imports=SqlModelImports(database),
        artifact_copies=SqlArtifactCopies(database),
        decommissions=SqlDecommissions(database),
    )
