"""The record of an MLflow run by whichever version of the mapping: a stored history is compared by its own."""

from switchyard.core.history.digest import to_first_digests
from switchyard.core.history.publication import Digests, Versions
from switchyard.core.metrics.record import MetricsRecord
from switchyard.core.mlflow import mapping, mapping1
from switchyard.core.mlflow.raw_run import RawRun
from switchyard.core.mlflow.rules import parse_rules


def to_record(run: RawRun, versions: Versions) -> MetricsRecord:
    """Returns the record of `run`, as that version of the mapping and those rules make it.

    The run was read whole or with ``keys=SCALARS``.

    Raises:
        BadRequest: the rules are not valid, or the run was read with other keys.
        BadRecord: we do not know its status.
    """
    if versions.mapping == 1:
        return mapping1.from_points(run)
    return mapping.from_points(run, rules=parse_rules(versions.rules))


def to_first_digests_of(run: RawRun) -> Digests:
    """Returns what a history that was published by the first versions has, if it is of the same points.

    Raises: as above.
    """
    return to_first_digests(mapping1.from_points(run))
