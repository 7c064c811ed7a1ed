"""Which purchases a comparison may use: where they are, how they are written, and until when each version has seen."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from switchyard.core.errors import BadRequest
from switchyard.core.registry.rows import ModelVersion
from switchyard.core.runs.moments import is_time, read_moment, say_moment, to_next_day
from switchyard.core.runs.spec import TrainSpec

_OF_DATA: Final[tuple[str, ...]] = (
    "data_uri", "csv_separator", "csv_encoding", "csv_decimal", "csv_columns", "buyer_column", "product_column",
    "time_column", "time_format", "quantity_column", "invoice_column", "cancellations", "missing_buyers",
    "non_positive_quantities", "synthetic_buyers", "synthetic_products", "synthetic_interactions", "seed",
)  # fmt: skip
"""What of a training's parameters says which rows it had."""
_OF_MADE_UP: Final = ("synthetic_buyers", "synthetic_products", "synthetic_interactions")
NONE: Final = "none"
"""The word in the place of a column that says that there is none."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """Which version, on which purchases, and how it is measured."""

    name: str
    version: int
    k: int = 10  # which k is judged
    data_uri: str = ""  # empty: the challenger's own, of which it held the newest out
    columns: Mapping[str, str] = {}
    trained_until: str = ""  # of a version, if its training did not say it
    whole_days: bool = True
    buyers: int = 10_000  # asked for, at most
    min_buyers: int = 50
    resamples: int = 1_000
    confidence: float = 0.95
    seed: int = 7


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """The moment until which a version has seen purchases, and who says so."""

    version: int
    moment: float
    said_by: str  # training, or the caller


def to_data_spec(challenger: ModelVersion, data_uri: str, given: Mapping[str, str]) -> TrainSpec:
    """Returns how the held-out purchases are read: as those that the challenger was trained on, but for what is given.

    Args:
        data_uri: where they are; empty: where the challenger's own are, of which it held the newest out.
        given: column names and the like; what is empty is as the challenger's.

    Raises:
        BadRequest: nothing says where they are, or what is given contradicts itself.
    """
    known = challenger.lineage.parameters
    if not data_uri and not known:
        raise BadRequest(
            f"version {challenger.version} of model {challenger.name} does not say what it was trained on: name the "
            "held-out purchases with --data-uri"
        )
    fields: dict[str, Any] = {name: known[name] for name in _OF_DATA if name in known}
    if data_uri:
        fields = {name: value for name, value in fields.items() if name not in _OF_MADE_UP} | {"data_uri": data_uri}
    fields |= {name: "" if value == NONE else value for name, value in given.items() if value}
    try:
        return msgspec.convert({**fields, "top_k": 1}, TrainSpec)
    except msgspec.ValidationError as err:
        raise BadRequest(f"the held-out purchases cannot be read: {err}") from err


def to_limit(version: ModelVersion, trained_until: str) -> Limit:
    """Returns the moment until which the version has seen purchases: as its training said, else as the caller says.

    Raises:
        BadRequest: neither does.
    """
    if version.lineage.trained_until:
        return Limit(version=version.version, moment=read_moment(version.lineage.trained_until), said_by="training")
    if not trained_until:
        raise BadRequest(
            f"version {version.version} of model {version.name} does not say until when its purchases went. Give it: "
            "--trained-until 2024-02-29. The evidence records that you gave it"
        )
    return Limit(version=version.version, moment=read_moment(trained_until), said_by="caller")


def to_first_moment(limits: tuple[Limit, ...], first: float, last: float, *, whole_days: bool) -> tuple[float, bool]:
    """Returns the moment from which purchases are new to all versions, and whether that moment itself is new.

    Args:
        first, last: the oldest and the newest purchase there is. whole_days: of times, from the next day (UTC) on.

    Raises:
        BadRequest: none is newer, or the purchases' times and a training's are not times of one clock.
    """
    for limit in limits:
        if is_time(limit.moment) != is_time(last):
            raise BadRequest(
                f"version {limit.version} was trained until {say_moment(limit.moment)}, and the purchases end at "
                f"{say_moment(last)}. One is a date, the other a number without a date: they cannot be compared. "
                "Give other purchases: --data-uri. Or name the column that has their times: --time-column"
            )
    newest = max(limit.moment for limit in limits)
    begin, included = (to_next_day(newest), is_time(newest)) if whole_days else (newest, False)
    if last > begin or (included and last == begin):
        return begin, included
    seen = ", ".join(f"version {limit.version} was trained until {say_moment(limit.moment)}" for limit in limits)
    hint = "; that day is left out too: --no-whole-days takes what is later on it" if last > newest else ""
    raise BadRequest(
        f"no purchase is newer than the training's. They are from {say_moment(first)} to {say_moment(last)}; "
        f"{seen}{hint}. Give newer ones with --data-uri"
    )
