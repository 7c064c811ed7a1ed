"""What verify answers, and how it is shown."""

from typing import Any

import msgspec

from switchyard.core.errors import SwitchyardError
from switchyard.core.verify.findings import State, VerifiedRun
from switchyard.core.verify.manifest import Manifest

_SHOWN = 20


class VerifyResult(msgspec.Struct, frozen=True, kw_only=True):
    """The runs by what verify found of them; reasons by quick test id. The manifest has the rest."""

    looked_at: int
    verified: int
    differs: dict[int, str] = {}
    missing: dict[int, str] = {}
    unread: dict[int, str] = {}
    legacy: list[int] = []
    unpublished: list[int] = []
    uncharted: list[int] = []  # unpublished, because MLflow has no charted metric of them
    empty: list[int] = []  # unpublished, and MLflow has nothing of them either
    running: list[int] = []
    unknown_runs: int = 0  # MLflow runs that no row names
    safe: bool  # to delete MLflow
    says: str
    not_safe: list[str] = []
    lost: list[str] = []  # what goes with MLflow even so
    models: dict[str, int] = {}  # of MLflow's registry, by what was found; empty: it was not looked at
    models_unread: str = ""  # why the registry could not be read
    failed_models: list[str] = []  # what differs of the models that were imported
    manifest_uri: str

    @property
    def failed(self) -> dict[int, str]:
        """Returns the runs that differ, or could not be compared, with what is wrong."""
        return self.differs | self.missing | self.unread

    @property
    def counts(self) -> list[tuple[str, int]]:
        """Counts the runs by what was found."""
        lists = {
            "differs": self.differs,
            "missing": self.missing,
            "unread": self.unread,
            "legacy": self.legacy,
            "unpublished": self.unpublished,
            "uncharted": self.uncharted,
            "empty": self.empty,
            "running": self.running,
        }
        found = [("looked at", self.looked_at), ("verified", self.verified)]
        found += [(name, len(ids)) for name, ids in lists.items()]
        found.append(("in MLflow, known to no row", self.unknown_runs))
        return found + [(f"MLflow's registry: {name.replace('_', ' ')}", count) for name, count in self.models.items()]


def _join(lines: list[str]) -> str:
    more = len(lines) - _SHOWN
    return "; ".join(lines[:_SHOWN]) + (f"; and {more} more, see the manifest" if more > 0 else "")


NOTHING_TO_VERIFY = VerifyResult(
    looked_at=0,
    verified=0,
    safe=False,
    says="Nothing to verify: the settings name no MLflow, and no row names a run of one.",
    manifest_uri="",
)


class VerifyFailed(SwitchyardError):
    """Some runs differ, or could not be compared; `result` says which, and what was found of the others."""

    def __init__(self, result: VerifyResult) -> None:
        self.result = result
        found = [
            (f"{len(result.failed)} of {result.looked_at} runs are not verified", list(result.failed.values())),
            (f"{len(result.failed_models)} imported models are not verified", result.failed_models),
        ]
        said = ". ".join(f"{what}: {_join(lines)}" for what, lines in found if lines)
        if not said:
            said = f"all that was compared is equal, but do not delete MLflow yet: {'; '.join(result.not_safe)}"
        super().__init__(f"{said}. The manifest: {result.manifest_uri}")


def to_result(manifest: Manifest, uri: str) -> VerifyResult:
    """Returns the answer of a verify, with its manifest at `uri`."""
    by_state: dict[State, list[VerifiedRun]] = {state: [] for state in State}
    for run in manifest.runs:
        by_state[run.state].append(run)

    def reasons(state: State) -> dict[int, str]:
        return {run.quick_test_id: str(run) for run in by_state[state]}

    def ids(state: State) -> list[int]:
        return [run.quick_test_id for run in by_state[state]]

    return VerifyResult(
        looked_at=len(manifest.runs),
        verified=len(by_state[State.VERIFIED]),
        differs=reasons(State.DIFFERS),
        missing=reasons(State.MISSING),
        unread=reasons(State.UNREAD),
        legacy=ids(State.LEGACY),
        unpublished=ids(State.UNPUBLISHED),
        uncharted=ids(State.UNCHARTED),
        empty=ids(State.EMPTY),
        running=ids(State.RUNNING),
        unknown_runs=len(manifest.unknown_runs),
        safe=manifest.verdict.safe,
        says=manifest.verdict.says,
        not_safe=manifest.verdict.not_safe,
        lost=manifest.verdict.lost,
        models=manifest.models.counts if manifest.models and not manifest.models.unread else {},
        models_unread=manifest.models.unread if manifest.models else "",
        failed_models=manifest.models.failed if manifest.models else [],
        manifest_uri=uri,
    )


def to_table(result: VerifyResult) -> list[dict[str, Any]]:
    """Returns the counts, whether MLflow may go, and the runs that someone must look at."""
    rows = [{"what": name, "value": str(count)} for name, count in result.counts]
    rows += [{"what": "safe to delete MLflow", "value": result.says}]
    rows += [{"what": "not safe", "value": reason} for reason in result.not_safe]
    rows += [{"what": "lost with MLflow", "value": what} for what in result.lost]
    rows += [{"what": f"quick test {id_}", "value": said} for id_, said in list(result.failed.items())[:_SHOWN]]
    rows += [{"what": "imported model", "value": said} for said in result.failed_models[:_SHOWN]]
    rows += [{"what": "MLflow's registry", "value": result.models_unread}] if result.models_unread else []
    return [*rows, {"what": "manifest", "value": result.manifest_uri}]
