"""Published runs in a notebook, as pandas tables: ``pip install '<checkout>[reader]'``.

    from switchyard.reader import compare, read_history, read_runs, read_series

    best = read_runs("metrics.test_recall_at_10 > 0.08", order_by="metrics.test_recall_at_10")
    read_history(best["id"][0]).plot(x="epoch", y=["loss", "val_loss"])

Each function reads from `source`: the address of an API (``https://...``), with a token if it asks for one
(``API_TOKEN``), or a results database (``sqlite:///...``, ``postgresql+psycopg://...``). Without one it reads the
results database that the environment names (``RESULTS_URL``), which is where the API reads. Nothing is written,
except that an SQLite file of an older version is brought up to date, as by every command.

All raise `switchyard.core.errors`: `NotFound` for a run that is not there, `BadRequest` for a filter that cannot be
read, `TryAgain` if the source does not answer, `BadSetup` if it must be changed first.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from switchyard.clients.connect import Outside
from switchyard.clients.settings import Settings, read_settings
from switchyard.core.errors import BadRequest, BadSetup, NotFound
from switchyard.core.ports import Published

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_PAGE: Final = 200
"""Runs a question: the most that the API answers at once."""
_SQLITE: Final = "sqlite:///"


class Compared(NamedTuple):
    """Runs side by side."""

    curves: "pd.DataFrame"  # quick_test_id, name, step, value: a row a point
    values: "pd.DataFrame"  # by name: the way that is better, the ids of the best, and a column a run
    params: "pd.DataFrame"  # by name, a column a run: those that differ
    tags: "pd.DataFrame"  # the same of tags
    missing: list[int]  # ids that name no run (any more)


def read_history(quick_test_id: int, *, source: str = "", token: str = "") -> "pd.DataFrame":
    """Returns the published history: a row an epoch that was kept, a column a series. Empty if nothing is published.

    A value that was not logged and a NaN are both NaN in pandas; `read_history_arrow` tells them apart.
    """
    return _to_pandas(read_history_arrow(quick_test_id, source=source, token=token))


def read_series(quick_test_id: int, *, source: str = "", token: str = "") -> "pd.DataFrame":
    """Returns every series at full resolution: ``name``, ``step``, ``value``, a row a point; tower statistics too.

    ``attrs["complete"]`` is False if only the points of a sampled history are left (`switchyard fill`). Of a series
    above 2,000 points the minimum, maximum and last of each bucket are kept.
    """
    table = read_series_arrow(quick_test_id, source=source, token=token)
    found = _to_pandas(table)
    found.attrs["complete"] = (table.schema.metadata or {}).get(b"complete") == b"true"
    return found


def read_runs(
    filter: str = "",  # noqa: A002 - as the API calls it
    *,
    order_by: str = "id desc",
    fields: str = "metrics.*,best.*,params.*",
    limit: int = 1000,
    source: str = "",
    token: str = "",
) -> "pd.DataFrame":
    """Returns the runs that a filter finds (docs/api.md has the grammar), in order, at most `limit`: a row a run.

    `fields` names the values to have as columns, each under the name that a filter has for it.
    """
    return _to_pandas(
        read_runs_arrow(filter, order_by=order_by, fields=fields, limit=limit, source=source, token=token)
    )


def compare(ids: Sequence[int], *, source: str = "", token: str = "") -> Compared:
    """Compares up to 20 runs side by side: their curves, their values with the best marked, and what differs."""
    from switchyard.services.arrow_tables import to_comparison_tables

    with _open(source, token) as published:
        found = to_comparison_tables(published.compare([int(id_) for id_ in ids]))
    values, params, tags = (_to_pandas(table).set_index("name") for table in (found.values, found.params, found.tags))
    return Compared(_to_pandas(found.curves), values, params, tags, found.missing)


def read_history_arrow(quick_test_id: int, *, source: str = "", token: str = "") -> "pa.Table":
    """Returns the history of `read_history` as an Arrow table: null is what was not logged."""
    from switchyard.services.arrow_tables import to_history_table

    with _open(source, token) as published:
        return to_history_table(published.read_history(int(quick_test_id)), of=f"quick test {quick_test_id}")


def read_series_arrow(quick_test_id: int, *, source: str = "", token: str = "") -> "pa.Table":
    """Returns the series of `read_series` as an Arrow table: null is what was not logged."""
    from switchyard.services.arrow_tables import to_series_table

    with _open(source, token) as published:
        return to_series_table(published.read_series(int(quick_test_id)))


def read_runs_arrow(
    filter: str = "",  # noqa: A002 - as the API calls it
    *,
    order_by: str = "id desc",
    fields: str = "metrics.*,best.*,params.*",
    limit: int = 1000,
    source: str = "",
    token: str = "",
) -> "pa.Table":
    """Returns the runs of `read_runs` as an Arrow table."""
    from switchyard.services.arrow_tables import to_runs_table

    if limit < 1:
        raise BadRequest(f"`limit` must be at least 1; got {limit}")
    asked = {"filter": filter, "order_by": order_by, "fields": fields, "limit": str(min(limit, _PAGE))}
    with _open(source, token) as published:
        return to_runs_table(islice(published.find_runs({name: said for name, said in asked.items() if said}), limit))


@contextmanager
def _open(source: str, token: str) -> Iterator[Published]:
    """Opens the source, until the block ends."""
    if source.startswith(("http://", "https://")):
        from switchyard.clients.results_api import ApiPublished

        api = ApiPublished(source, token or read_settings().api_token)
        with closing(api):
            yield api
        return
    from switchyard.services.published import DatabasePublished

    with closing(Outside(_choose_database(source))) as outside:
        yield DatabasePublished(outside)


def _choose_database(source: str) -> Settings:
    """Returns the settings with the database that `source` names. A file that is not there is not made."""
    settings = read_settings({**os.environ, "RESULTS_URL": source} if source else os.environ)
    if settings.results_url.startswith(_SQLITE):
        path = Path(settings.results_url.removeprefix(_SQLITE).partition("?")[0])
        if not path.exists():
            raise NotFound(
                f'there is no results database {path}. Name one, or an API: source="sqlite:////path/to/results.db", '
                'source="http://127.0.0.1:8000"'
            )
    return settings


def _to_pandas(table: "pa.Table") -> "pd.DataFrame":
    try:
        return table.to_pandas()
    except ModuleNotFoundError as err:
        raise BadSetup(
            "this needs pandas: pip install '<checkout>[reader]', with the path to your checkout of Switchyard (the "
            "project named switchyard on PyPI is another one); the functions named *_arrow do not"
        ) from err
