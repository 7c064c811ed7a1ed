"""What an MLflow store holds besides its runs, and which of it is kept nowhere else."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final, Literal, get_args

import msgspec

from switchyard.core.mlflow.store_rows import StoreRows
from switchyard.core.verify.models import VerifiedModels

KindName = Literal[
    "registry",
    "logged-models",
    "traces",
    "datasets",
    "experiment-tags",
    "other",
    "other-experiments",
    "artifacts",
    "logged-model-artifacts",
    "trace-artifacts",
]
KINDS: Final[tuple[KindName, ...]] = get_args(KindName)


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of what MLflow holds."""

    tables: tuple[str, ...]
    keep: str  # how it is kept, as a command


_EXPORT: Final = "keep an export and name it: switchyard export, then switchyard verify --kept-export-uri <where>"
_COPY: Final = "copy them: switchyard artifacts copy --all-runs"
_KINDS: Final[Mapping[KindName, Kind]] = {
    "registry": Kind(
        tables=(
            *("registered_models", "registered_model_tags", "registered_model_aliases"),
            *("model_versions", "model_version_tags"),
        ),
        keep=f"import it: switchyard import-models; or {_EXPORT}",
    ),
    "logged-models": Kind(
        tables=("logged_models", "logged_model_metrics", "logged_model_params", "logged_model_tags"), keep=_EXPORT
    ),
    "traces": Kind(
        tables=(
            *("trace_info", "trace_tags", "trace_request_metadata", "trace_metrics"),
            *("spans", "span_metrics", "assessments"),
        ),
        keep=_EXPORT,
    ),
    "datasets": Kind(tables=("datasets", "inputs", "input_tags"), keep=_EXPORT),
    "experiment-tags": Kind(tables=("experiment_tags",), keep=_EXPORT),
    "other": Kind(tables=(), keep=_EXPORT),  # every table that is named nowhere here
    "other-experiments": Kind(tables=(), keep=f"publish them: switchyard backfill --adopt --status all; or {_EXPORT}"),
    "artifacts": Kind(tables=(), keep=_COPY),
    "logged-model-artifacts": Kind(tables=(), keep=_COPY),
    "trace-artifacts": Kind(tables=(), keep=_COPY),
}
COMPARED: Final = frozenset(table for kind in _KINDS.values() for table in kind.tables)
"""The tables of which not only the number of rows is compared with a kept export's. Those of `other` may be a server's
own, such as leases, which never stay as they were exported."""
_OF_RUNS: Final = frozenset(("experiments", "runs", "metrics", "latest_metrics", "params", "tags"))
"""What verify compares run by run; an experiment's name is in its runs' rows."""
_HOUSEKEEPING: Final = frozenset(("alembic_version", "workspaces"))
"""Tables that MLflow fills by itself. Source: mlflow/store/db_migrations/versions, 3.17.2."""
_NAMED: Final = 20
"""Experiments that a message names; the manifest has all."""


NO_OTHERS: Final[Mapping[str, int]] = {}


class KindFound(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What there is of one kind in the store, and what of that is kept elsewhere.

    Rows by table; artifacts by their owners, as far as it names a place for them; runs of other experiments than were
    asked about by experiment.
    """

    kind: KindName
    stored: dict[str, int] = {}
    missing: dict[str, int] = {}  # of those, what is kept nowhere
    kept_in: list[str] = []
    given_up: bool = False  # by name: the caller says that it may be lost

    @property
    def is_safe(self) -> bool:
        """True if nothing is lost that was not given up."""
        return not self.missing or self.given_up

    @property
    def words_missing(self) -> str:
        """What is kept nowhere, by table and number."""
        if self.kind.endswith("artifacts"):
            return " and ".join(f"those of {count} {owner}" for owner, count in self.missing.items())
        if self.kind == "other-experiments":
            named = [f"{count} of {name!r}" for name, count in list(self.missing.items())[:_NAMED]]
            more = len(self.missing) - len(named)
            also = f", and those of {more} experiments more" if more else ""
            return f"{sum(self.missing.values())} runs that no row names ({', '.join(named)}{also})"
        return ", ".join(f"{count} {name}" for name, count in self.missing.items())

    def __str__(self) -> str:
        said = f"{self.kind}: {self.words_missing} are kept nowhere else"
        return f"{said}; {_KINDS[self.kind].keep}; or say that it may be lost: --give-up {self.kind}"


class Artifacts(msgspec.Struct, frozen=True, kw_only=True):
    """The runs, logged models and traces that MLflow knows a place of artifacts for.

    And those with artifacts that were all copied and are there.
    """

    stored: frozenset[str] = frozenset()  # runs
    models: frozenset[str] = frozenset()
    traces: frozenset[str] = frozenset()
    copied: frozenset[str] = frozenset()
    empty: frozenset[str] = frozenset()  # of these, the ones of which nothing was found to copy


def find_kinds(
    store: StoreRows,
    *,
    kept: StoreRows | None = None,
    models: VerifiedModels | None = None,
    artifacts: Artifacts | None = None,
    others: Mapping[str, int] = NO_OTHERS,
    give_up: Collection[KindName] = (),
) -> list[KindFound]:
    """Returns each kind of which the store has anything, in the order of KINDS.

    Args:
        kept: the rows of an export that outlives the store; it keeps no table that is `changed`.
        models: what of the store's registry our own has, and found equal; None: no one looked.
        artifacts: None: no one looked, and nothing is said of them.
        others: how many runs of other experiments than were asked about have no row, by experiment.
        give_up: kinds that may be lost.
    """
    found: list[KindFound] = []
    for kind in KINDS:
        if kind == "artifacts":
            line = _find_artifacts(kind, "runs", artifacts.stored, artifacts) if artifacts else None
        elif kind == "logged-model-artifacts":
            # Some are counted and not listed: deleted or damaged ones, and no one tells their place.
            untold = max(0, store.rows.get("logged_models", 0) - len(artifacts.models)) if artifacts else 0
            line = _find_artifacts(kind, "logged_models", artifacts.models, artifacts, untold) if artifacts else None
        elif kind == "trace-artifacts":
            line = _find_artifacts(kind, "traces", artifacts.traces, artifacts) if artifacts else None
        elif kind == "other-experiments":
            line = _find_others(others, kept)
        else:
            line = _find_rows(kind, store, kept, models)
        if line is not None:
            found.append(msgspec.structs.replace(line, given_up=kind in give_up and bool(line.missing)))
    return found


def _find_rows(
    kind: KindName, store: StoreRows, kept: StoreRows | None, models: VerifiedModels | None
) -> KindFound | None:
    tables = _to_tables(kind, store)
    stored = {table: n for table in tables if (n := store.rows.get(table, 0) + store.unkept.get(table, 0))}
    if not stored:
        return None
    exported = {table: rows for table, rows in kept.rows.items() if table not in kept.changed} if kept else {}
    missing = {table: left for table, count in stored.items() if (left := count - exported.get(table, 0)) > 0}
    kept_in = ["an export"] if kept and missing != stored else []
    if missing and kind == "registry" and models is not None and _is_imported(models, stored):
        missing = {}
        kept_in.append("our registry")
    return KindFound(kind=kind, stored=stored, missing=missing, kept_in=kept_in)


def _is_imported(models: VerifiedModels, stored: Mapping[str, int]) -> bool:
    """Returns True if every model that is stored, with every version and its files, is in our registry and equal.

    Prompts are registered models for MLflow, and none for us.
    """
    if models.unread or any(
        not model.here or model.equal != model.versions or model.differs or model.missing or model.unread
        for model in models.models
    ):
        return False
    found = {"registered_models": len({model.name for model in models.models}), "model_versions": 0}
    for model in {model.name: model for model in models.models}.values():
        found["model_versions"] += model.versions
    return all(stored.get(table, 0) <= count for table, count in found.items())


def _to_tables(kind: KindName, store: StoreRows) -> Sequence[str]:
    if kind != "other":
        return _KINDS[kind].tables
    named = {table for found in _KINDS.values() for table in found.tables}
    return sorted((store.rows.keys() | store.unkept.keys()) - named - _OF_RUNS - _HOUSEKEEPING)


def _find_artifacts(
    kind: KindName, owner: str, stored: frozenset[str], artifacts: Artifacts, untold: int = 0
) -> KindFound | None:
    if not stored and not untold:
        return None
    left = len(stored - artifacts.copied) + untold
    return KindFound(
        kind=kind,
        stored={owner: len(stored) + untold},
        missing={owner: left} if left else {},
        kept_in=["copies"] if stored & artifacts.copied else [],
    )


def _find_others(others: Mapping[str, int], kept: StoreRows | None) -> KindFound | None:
    """Returns the runs of other experiments, and whether an export keeps them.

    An export has all runs, but for those that could not be read when it was made. Which experiments those are of does
    not matter here.

    Which experiments they are of, it need not know.
    """
    if not others:
        return None
    stored = dict(sorted(others.items()))
    is_kept = kept is not None and not kept.unkept.get("runs")
    return KindFound(
        kind="other-experiments",
        stored=stored,
        missing={} if is_kept else stored,
        kept_in=["an export"] if is_kept else [],
    )


def without_tables(store: StoreRows, names: Collection[str]) -> StoreRows:
    """Returns the store without these tables, which are not MLflow's."""
    return msgspec.structs.replace(
        store, rows={table: count for table, count in store.rows.items() if table not in names}
    )


def list_beside(kinds: Sequence[KindFound], artifacts: Artifacts) -> list[str]:
    """Returns what goes with MLflow although its kind is kept, in words: an export keeps rows, and no files."""
    said = []
    by_export = {kind.kind for kind in kinds if kind.kept_in == ["an export"] and not kind.missing}
    if "registry" in by_export:
        said.append("files of registered versions that lie in no run: switchyard import-models copies them")
    if "traces" in by_export and not (artifacts.traces and artifacts.traces <= artifacts.copied):
        said.append("spans that MLflow keeps as a trace's artifact, and not in its database")
    if empty := len(artifacts.empty & artifacts.stored):
        said.append(f"artifacts of {empty} runs, if they have any: none was found where MLflow says that they are")
    if empty := len(artifacts.empty & artifacts.models):
        said.append(f"files of {empty} logged models: none was found where MLflow says that they are")
    return said
