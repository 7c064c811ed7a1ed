"""Opens a results database: four ports over one `Database`."""

from dataclasses import dataclass

from switchyard.clients.results.engine import Database
from switchyard.clients.results.histories import SqlHistories
from switchyard.clients.results.jobs import SqlJobs
from switchyard.clients.results.ledger import SqlLedger
from switchyard.clients.results.runs import SqlRuns
from switchyard.core.ports import Histories, Jobs, Ledger, Runs


@dataclass(frozen=True)
class ResultsPorts:
    """The ports of one opening, which share its connections."""

    database: Database
    runs: Runs
    jobs: Jobs
    histories: Histories
    ledger: Ledger

    def close(self) -> None:
        """Closes the connections; a later call opens new ones."""
        self.database.close()


def open_results(url: str, table: str = "") -> ResultsPorts:
    """The results database at `url`; `table` names an application's table of runs, empty for our own.

    Raises:
        BadSetup: the URL is none, or the schema there is not this version's.
    """
    database = Database(url, table)
    database.check()
    return ResultsPorts(
        database=database,
        runs=SqlRuns(database),
        jobs=SqlJobs(database),
        histories=SqlHistories(database),
        ledger=SqlLedger(database),
    )
