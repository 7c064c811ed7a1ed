"""A drill: an MLflow server over a restored database must tell what the export holds."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from switchyard.core.errors import BadSetup, to_message
from switchyard.core.mlflow.raw_run import LostRun, RawRun, to_source_digest
from switchyard.core.registry.importing import LostModel, SourceModel

_NAMED: Final = 20
_ENVIRONMENTS: Final = {"acf3f17fdcc7": "mlflow-2.9.2", "dc11669786a5": "mlflow-current"}
"""Below STATE_DIR, by the schema that the MLflow there has (2.9.2, 3.17.2); the Makefile makes them."""


class Drilled(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a drill compared."""

    export_uri: str
    schema: str  # of the restored database
    server: str  # the MLflow that answered, e.g. "3.17.2"
    runs: tuple[str, ...]  # that were compared whole, by MLflow run id
    of_runs: int  # that the export holds
    equal_runs: int
    models: int
    versions: int
    registry_equal: bool
    differences: tuple[str, ...]  # a sentence each; empty: the server tells what the export holds
    drilled_at: datetime


def choose_runs(run_ids: Sequence[str], wanted: int) -> tuple[str, ...]:
    """Returns `wanted` of the runs, spread evenly over their ids, with the first and the last; at most all of them.

    MLflow's ids are random, so these are any runs. A second drill compares the same ones.

    >>> choose_runs(["a", "b", "c", "d", "e"], 3)
    ('a', 'c', 'e')
    """
    ids = sorted(run_ids)
    if wanted >= len(ids):
        return tuple(ids)
    if wanted < 2:
        return tuple(ids[:wanted])
    return tuple(ids[round(place * (len(ids) - 1) / (wanted - 1))] for place in range(wanted))


def choose_copies(run_ids: Sequence[str], copied: Sequence[str], wanted: int) -> tuple[str, ...]:
    """Returns the runs with copied artifacts that are read again: those of `run_ids`, and others up to `wanted`.

    >>> choose_copies(["a", "c"], ["b", "c", "d"], 2)
    ('b', 'c')
    """
    own = sorted(set(run_ids) & set(copied))
    others = sorted(set(copied) - set(own))
    return tuple(sorted((*own, *choose_runs(others, max(0, wanted - len(own))))))


def to_environment_name(schema: str) -> str:
    """Returns the environment with an MLflow of that schema.

    Raises: BadSetup: the Makefile makes none; a person names one."""
    if found := _ENVIRONMENTS.get(schema):
        return found
    raise BadSetup(
        f"The exported database has schema {schema}. The drill needs the MLflow that made it. Make an environment with "
        "that version, then name it: python3 -m venv <folder>; <folder>/bin/pip install mlflow==<version> "
        "psycopg2-binary; --mlflow-environment <folder>"
    )


def compare_runs(
    run_ids: Sequence[str], exported: Sequence[RawRun | LostRun], answered: Sequence[RawRun | LostRun]
) -> list[str]:
    """Lists how the server's answers differ from the export of these runs.

    It compares points, params, tags, names, times and states.
    """
    there, here = ({_to_id(run): run for run in runs} for runs in (exported, answered))
    return [f"run {run_id}: {found}" for run_id in run_ids if (found := _compare(there.get(run_id), here.get(run_id)))]


def compare_models(
    exported: Sequence[SourceModel | LostModel], answered: Sequence[SourceModel | LostModel]
) -> list[str]:
    """Returns what the server tells otherwise than the export of the registered models.

    A server does not show the number of a deleted version, or where a copied version is stored. That does not count.
    """
    there, here = (_by_name(models) for models in (exported, answered))
    found = []
    for name in sorted(there.keys() | here.keys()):
        export, server = there.get(name), here.get(name)
        if isinstance(export, LostModel):
            found.append(f"model {name}: the export does not hold it: {to_message(export.error)}")
        elif export is None:
            found.append(f"model {name}: the server has it, and the export does not")
        elif server is None:
            found.append(f"model {name}: the server does not have it")
        elif isinstance(server, LostModel):
            found.append(f"model {name}: the server does not answer for it: {to_message(server.error)}")
        else:
            found += [f"model {name}: {one}" for one in _compare_model(export, server)]
    return found


def cut(differences: Sequence[str]) -> tuple[str, ...]:
    """Returns the first differences, as many as a person reads, and how many more there are."""
    more = len(differences) - _NAMED
    return (*differences[:_NAMED], *([f"and {more} more differences"] if more > 0 else []))


def _to_id(run: RawRun | LostRun) -> str:
    return run.run_id if isinstance(run, LostRun) else run.info.run_id


def _compare(export: RawRun | LostRun | None, server: RawRun | LostRun | None) -> str:
    for where, run in (("the export", export), ("the server", server)):
        if run is None:
            return f"{where} does not have it"
        if isinstance(run, LostRun):
            return f"{where} cannot tell it: {to_message(run.error)}"
    assert isinstance(export, RawRun) and isinstance(server, RawRun)
    if to_source_digest(export) == to_source_digest(server):
        return ""
    if export.info != server.info:
        fields = [
            name for name in export.info.__struct_fields__ if getattr(export.info, name) != getattr(server.info, name)
        ]
        return f"the server tells another {' and '.join(fields)}"
    for what, there, here in (("param", export.params, server.params), ("tag", export.tags, server.tags)):
        if names := _differing(there, here):
            return f"the server tells another {what} {names[0]!r}" + _and_more(names)
    keys = [
        key
        for key in sorted(export.metrics.keys() | server.metrics.keys())
        if _to_digest_of(export, key) != _to_digest_of(server, key)
    ]
    return f"the server tells other points of {keys[0]!r}" + _and_more(keys)


def _to_digest_of(run: RawRun, key: str) -> str:
    """Returns the digest of one key's points; NaN has one pattern there, so that it equals itself."""
    return to_source_digest(msgspec.structs.replace(run, metrics={key: run.metrics[key]} if key in run.metrics else {}))


def _differing(there: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    return sorted(name for name in there.keys() | here.keys() if there.get(name) != here.get(name))


def _and_more(names: Sequence[str]) -> str:
    return f", and of {len(names) - 1} more" if len(names) > 1 else ""


def _by_name(models: Sequence[SourceModel | LostModel]) -> dict[str, SourceModel | LostModel]:
    return {model.name: model for model in models}


def _compare_model(export: SourceModel, server: SourceModel) -> list[str]:
    found = []
    origins = [msgspec.structs.replace(model.origin, deleted=[]) for model in (export, server)]
    if origins[0] != origins[1]:
        fields = [
            name for name in origins[0].__struct_fields__ if getattr(origins[0], name) != getattr(origins[1], name)
        ]
        found.append(f"the server tells another {' and '.join(fields)}")
    there, here = (
        {version.number: msgspec.structs.replace(version, storage="") for version in model.versions}
        for model in (export, server)
    )
    for number in sorted(there.keys() | here.keys()):
        if there.get(number) != here.get(number):
            absent = "the server does not have it" if number not in here else "the server tells it otherwise"
            found.append(f"version {number}: {absent if number in there else 'the export does not have it'}")
    return found
