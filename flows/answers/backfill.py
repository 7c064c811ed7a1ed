"""What backfill answers: counts, and a reason for each run that was not published."""

import msgspec

from switchyard.core.backfill.plan import PlannedRun, Shown
from switchyard.core.errors import SwitchyardError

_SHOWN, _ROWS_SHOWN = 20, 200


class BackfillResult(msgspec.Struct, frozen=True, kw_only=True):
    """The counts before, and what was done; reasons by quick test id. A dry run has the list in `runs`."""

    dry_run: bool
    rows: int
    completed: int
    with_mlflow_run: int  # of the rows of a chosen status, as the two below
    already_published: int
    legacy: int  # published by the legacy application: kept, unless by force
    adopted: int  # rows made for MLflow runs; of a dry run: that would be made
    to_do: int
    published: int = 0
    unchanged: int = 0
    values_alone: int = 0  # of the two above: without a curve, because no metric was logged more than once
    would_show: Shown = Shown()  # of a dry run: what there is of the runs to do
    skipped: dict[int, str] = {}
    failed: dict[int, str] = {}
    unasked: str = ""  # why MLflow could not be asked what has changed
    doubt: str = ""  # why the runs that MLflow lacks were not marked as deleted
    left_out: list[PlannedRun] = []  # not to do, and why
    runs: list[PlannedRun] = []
    export_only: list[str] = []  # what is then kept by an export of MLflow's store alone

    @property
    def unadopted(self) -> dict[str, str]:
        """Returns the MLflow runs that were to be adopted and could not be, with the reason."""
        return {run.mlflow_run_id: run.why_not for run in self.left_out if run.odd}

    @property
    def has_news(self) -> bool:
        """Returns False if there was nothing to do and nothing is wrong.

        A flow run every hour need not show that.
        """
        return bool(self.to_do or self.adopted or self.failed or self.unadopted or self.unasked or self.doubt)

    @property
    def counts(self) -> list[list[str | int]]:
        """Returns names and numbers, in the order of the walk."""
        names = ["rows", "completed", "with_mlflow_run", "already_published", "legacy", "adopted", "to_do"]
        counts: list[list[str | int]] = [[name.replace("_", " "), getattr(self, name)] for name in names]
        if self.dry_run:
            shown = self.would_show
            if shown.why_unknown:
                return counts
            would: list[list[str | int]] = [["with curves", shown.curves], ["with values alone", shown.values]]
            return [*counts, *would, ["with nothing", shown.nothing]]
        done: list[list[str | int]] = [["published", self.published], ["unchanged", self.unchanged]]
        done += [["of these with values alone", self.values_alone]]
        return [*counts, *done, ["skipped", len(self.skipped)], ["failed", len(self.failed)]]

    @property
    def table(self) -> list[dict[str, str | int]]:
        """Returns a Prefect artifact's rows: the counts, and the first of the runs that someone must look at."""
        rows: list[dict[str, str | int]] = [
            {"what": str(name), "runs": number, "why": ""} for name, number in self.counts
        ]
        for id_, error in list(self.failed.items())[:_ROWS_SHOWN]:
            rows.append({"what": "failed", "runs": f"quick test {id_}", "why": error})
        for run_id, error in list(self.unadopted.items())[:_ROWS_SHOWN]:
            rows.append({"what": "not adopted", "runs": f"MLflow run {run_id}", "why": error})
        if self.doubt:
            rows.append({"what": "missing in MLflow", "runs": "", "why": self.doubt})
        return rows

    @property
    def lists(self) -> list[tuple[str, list[list[str]]]]:
        """Returns each list that has lines, with its title.

        A line is a run and what there is to say of it.
        """
        reasons = [("failed", self.failed), ("skipped", self.skipped)]
        lists = [(title, [[f"quick test {id_}", said] for id_, said in found.items()]) for title, found in reasons]
        lists.append(("to do", [[_to_name(run), run.status, _to_todo(run)] for run in self.runs]))
        lists.append(("left out", [[_to_name(run), run.status, run.why_not] for run in self.left_out]))
        return [(title, lines) for title, lines in lists if lines]


class BackfillFailed(SwitchyardError):
    """Some runs could not be published, or MLflow could not be asked; `result` says what became of the rest."""

    def __init__(self, result: BackfillResult) -> None:
        self.result = result
        by_error: dict[str, list[int]] = {}
        for id_, error in result.failed.items():
            by_error.setdefault(error, []).append(id_)  # an MLflow that is away says the same of every run
        lines = [f"{_to_names(ids)}: {error}" for error, ids in list(by_error.items())[:_SHOWN]]
        more = sum(map(len, list(by_error.values())[_SHOWN:]))
        said = "; ".join(lines) + (f"; and {more} more, see the ledger" if more else "")
        told = []
        if result.failed:
            told.append(
                f"{len(result.failed)} of {result.to_do} runs could not be published: {said}. "
                "Run the same command again to try them"
            )
        if result.unasked:
            told.append(f"MLflow cannot be asked what has changed: {result.unasked}")
        if result.unadopted:
            odd = [f"MLflow run {run_id}: {why}" for run_id, why in list(result.unadopted.items())[:_SHOWN]]
            more = len(result.unadopted) - len(odd)
            also = f"; and {more} more, see the ledger" if more else ""
            told.append(f"{len(result.unadopted)} runs of MLflow could not be adopted: {'; '.join(odd)}{also}")
        if result.doubt:
            told.append(result.doubt)
        super().__init__(". ".join(told))


def _to_names(ids: list[int]) -> str:
    if len(ids) == 1:
        return f"quick test {ids[0]}"
    more = len(ids) - _SHOWN
    return f"quick tests {', '.join(map(str, ids[:_SHOWN]))}" + (f" and {more} more" if more > 0 else "")


def _to_name(run: PlannedRun) -> str:
    row = f"quick test {run.quick_test_id}" if run.quick_test_id is not None else ""
    mlflow = f"MLflow run {run.mlflow_run_id}" if run.mlflow_run_id else ""
    return ", ".join(filter(None, (row, mlflow)))


def _to_todo(run: PlannedRun) -> str:
    return f"{run.todo}: {run.why}" if run.why else str(run.todo)
