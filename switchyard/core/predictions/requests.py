"""What is asked of a model: the bodies of every contract, read into one value.

Ours, Vertex AI's and KServe's have ``instances`` and ``parameters``; MLflow's has one of four, and ``params``. Services
of one model often take its row as the whole body; so do ours, of a model of rows.
Sources: https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements,
https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol,
https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/
"""

from contextlib import suppress
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from switchyard.core.errors import BadRequest
from switchyard.core.predictions.signature import Signature, describe
from switchyard.core.strict_json import decode_strictly

MAX_BODY_BYTES: Final = 1_500_000
"""Vertex AI's own limit. Source: https://cloud.google.com/vertex-ai/docs/predictions/get-online-predictions"""
MAX_INSTANCES: Final = 256
MAX_K: Final = 1_000
DEFAULT_K: Final = 20
MAX_ID: Final = 1_024
"""Characters of a buyer's or product's id."""

_Id = Annotated[str, Meta(max_length=MAX_ID)]


class Parameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to answer, for all instances."""

    k: Annotated[int, Meta(ge=1, le=MAX_K)] | UnsetType = UNSET
    only: list[_Id] | UnsetType | None = UNSET  # these products alone
    without_bought: bool | UnsetType = UNSET


class Instance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to answer."""

    buyer_id: _Id


class PredictRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What every contract asks."""

    buyer_ids: tuple[str, ...]
    k: int = DEFAULT_K
    only: frozenset[str] | None = None
    without_bought: bool = False


class RowsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What every contract asks of a model of rows, before anyone has held it against the model's columns."""

    instances: tuple[Any, ...]

    @property
    def buyer_ids(self) -> tuple[str, ...]:
        """An empty id for each row: rows name no buyer."""
        return ("",) * len(self.instances)


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    instances: list[Instance | _Id]
    parameters: Parameters | UnsetType = UNSET


class _Split(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    columns: list[str]
    data: list[list[Any]]
    index: list[Any] | UnsetType = UNSET


class _Invocation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    dataframe_split: _Split | UnsetType = UNSET
    dataframe_records: list[Instance] | UnsetType = UNSET
    instances: list[Instance | _Id] | UnsetType = UNSET
    inputs: list[Instance | _Id] | dict[str, list[_Id] | _Id] | UnsetType = UNSET
    params: Parameters | UnsetType = UNSET
    parameters: Parameters | UnsetType = UNSET


class _RowsBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    instances: list[Any]
    parameters: dict[str, Any] | UnsetType = UNSET


class _RowsInvocation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    dataframe_split: _Split | UnsetType = UNSET
    dataframe_records: list[dict[str, Any]] | UnsetType = UNSET
    instances: list[Any] | UnsetType = UNSET
    inputs: list[Any] | dict[str, list[Any]] | UnsetType = UNSET
    params: dict[str, Any] | UnsetType = UNSET
    parameters: dict[str, Any] | UnsetType = UNSET


_FORMS: Final = ("dataframe_split", "dataframe_records", "instances", "inputs")


def read_predict(body: bytes) -> PredictRequest:
    """Returns the body of ``/predict``, Vertex AI's and KServe's. Raises: BadRequest: it is not one, and why."""
    found = _decode(body, _Body)
    return _to_request([_to_id(instance) for instance in found.instances], found.parameters)


def read_invocations(body: bytes) -> PredictRequest:
    """Returns the body of MLflow's ``/invocations``. Raises: BadRequest: it is not one, and why."""
    found = _decode(body, _Invocation)
    _check_form(found)
    if found.params is not UNSET and found.parameters is not UNSET:
        raise BadRequest("the body has `params` and `parameters`. Send one of them")
    return _to_request(_list_ids(found), found.parameters if found.params is UNSET else found.params)


def read_rows_predict(body: bytes, signature: Signature) -> RowsRequest:
    """Reads a body like `read_predict`, for a model of rows, which also takes one row alone.

    One row is an object with a column of the model and without `instances`, which is never read as a column.

    Raises: BadRequest: it is not such a body, and why.

    >>> from switchyard.core.predictions.signature import Column, Type
    >>> read_rows_predict(b'{"age": 31}', Signature(columns=(Column(name="age", type=Type.NUMBER),), answers="a sum"))
    RowsRequest(instances=({'age': 31},))
    """
    try:
        found = _decode(body, _RowsBody, _ROWS_EXAMPLE)
    except BadRequest:
        row = _read_object(body)
        if row is None or "instances" in row:
            raise
        return _to_rows_request([_check_row(row, signature)])
    return _to_rows_request(found.instances, found.parameters)


def _read_object(body: bytes) -> dict[str, Any] | None:
    """Returns the body as one JSON object; None: it is something else."""
    with suppress(ValueError):
        return decode_strictly(body, dict[str, Any])
    return None


def _check_row(row: dict[str, Any], signature: Signature) -> dict[str, Any]:
    if not any(column.name in row for column in signature.columns):
        raise BadRequest(
            f"the body must have `instances`, or be one row with columns of the model; it has {_show(list(row))}. "
            f"This model takes {describe(signature)}. An example: {_ROWS_EXAMPLE}"
        )
    return row


def read_rows_invocations(body: bytes, _signature: Signature) -> RowsRequest:
    """Reads a body like `read_invocations`, for a model of rows. Raises: BadRequest: it is not such a body, and why."""
    found = _decode(body, _RowsInvocation, _ROWS_EXAMPLE)
    _check_form(found)
    for said in (found.params, found.parameters):
        _check_no_parameters(said)
    if found.dataframe_split is not UNSET:
        return _to_rows_request(_to_records(found.dataframe_split))
    if isinstance(found.inputs, dict):
        return _to_rows_request(_to_records(_transpose(found.inputs)))
    rows = next(rows for rows in (found.dataframe_records, found.instances, found.inputs) if rows is not UNSET)
    return _to_rows_request(rows)


def _check_form(found: _Invocation | _RowsInvocation) -> None:
    given = [name for name in _FORMS if getattr(found, name) is not UNSET]
    if len(given) != 1:
        raise BadRequest(
            f"the body must have exactly one of {', '.join(_FORMS)}; it has {', '.join(given) or 'none of them'}"
        )


def _check_no_parameters(said: dict[str, Any] | UnsetType) -> None:
    if said is not UNSET and said:
        raise BadRequest(f"this model takes no parameters; the body has {_show(list(said))}. Leave them out")


def _to_rows_request(instances: list[Any], said: dict[str, Any] | UnsetType = UNSET) -> RowsRequest:
    _check_no_parameters(said)
    _check_count(len(instances))
    return RowsRequest(instances=tuple(instances))


def _transpose(columns: dict[str, list[Any]]) -> _Split:
    lengths = {len(values) for values in columns.values()}
    if len(lengths) != 1:
        raise BadRequest(f"the columns of `inputs` must have one length; they have {sorted(lengths) or 'no columns'}")
    return _Split(list(columns), [list(row) for row in zip(*columns.values(), strict=True)])


def _to_records(split: _Split) -> list[dict[str, Any]]:
    if len(set(split.columns)) < len(split.columns):
        raise BadRequest(f"`dataframe_split` must have each column once; it has {_show(split.columns)}")
    for number, row in enumerate(split.data):
        if len(row) != len(split.columns):
            raise BadRequest(
                f"row {number} must have {len(split.columns):,} values, as there are columns; it has {len(row):,}"
            )
    return [dict(zip(split.columns, row, strict=True)) for row in split.data]


def _check_count(count: int) -> None:
    if not 0 < count <= MAX_INSTANCES:
        raise BadRequest(f"a request must have 1 to {MAX_INSTANCES} instances; it has {count:,}")


def _list_ids(found: _Invocation) -> list[str]:
    if found.dataframe_split is not UNSET:
        return _read_split(found.dataframe_split)
    if isinstance(found.inputs, dict):
        column = found.inputs.get("buyer_id")
        if column is None or len(found.inputs) > 1:
            raise BadRequest(f"`inputs` must have the one column `buyer_id`; it has {_show(list(found.inputs))}")
        return [column] if isinstance(column, str) else column
    rows = next(rows for rows in (found.dataframe_records, found.instances, found.inputs) if rows is not UNSET)
    return [_to_id(row) for row in rows]


def _read_split(split: _Split) -> list[str]:
    if split.columns != ["buyer_id"]:
        raise BadRequest(f"`dataframe_split` must have the one column `buyer_id`; it has {_show(split.columns)}")
    for number, row in enumerate(split.data):
        if len(row) != 1 or not isinstance(row[0], str) or len(row[0]) > MAX_ID:
            raise BadRequest(f"row {number} of `dataframe_split` must be one text, the buyer's id")
    return [row[0] for row in split.data]


def _to_id(instance: Any) -> str:
    return instance.buyer_id if isinstance(instance, Instance) else str(instance)


def _to_request(buyer_ids: list[str], said: Parameters | UnsetType) -> PredictRequest:
    _check_count(len(buyer_ids))
    if said is UNSET:
        return PredictRequest(buyer_ids=tuple(buyer_ids))
    return PredictRequest(
        buyer_ids=tuple(buyer_ids),
        k=DEFAULT_K if said.k is UNSET else said.k,
        only=None if said.only is UNSET or said.only is None else frozenset(said.only),
        without_bought=said.without_bought is True,
    )


_BUYERS_EXAMPLE: Final = '{"instances": [{"buyer_id": "b1"}], "parameters": {"k": 20}}'
_ROWS_EXAMPLE: Final = '{"instances": [{"column": 1.5}]}'


def _decode(body: bytes, type_: type[Any], example: str = _BUYERS_EXAMPLE) -> Any:
    """Decodes a body strictly.

    What no decoder could read otherwise takes the fast way: plain ASCII without escapes, with as many colons as what
    was read from it has. A key that is there twice has one more.

    What no decoder could read otherwise takes the fast way: plain ASCII without escapes, with as many colons as what
    was read from it has. A key that stands twice has one more.
    """
    if body.isascii() and b"\\" not in body:
        with suppress(ValueError):
            found = msgspec.json.decode(body, type=type_)
            if msgspec.json.encode(found).count(b":") == body.count(b":"):
                return found
    try:
        return decode_strictly(body, type_)
    except ValueError as err:
        raise BadRequest(f"the body is wrong: {err}. An example: {example}") from err


def _show(names: list[str]) -> str:
    return ", ".join(repr(name[:40]) for name in names[:5]) or "none"
