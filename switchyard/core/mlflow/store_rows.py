"""What an MLflow store holds, table by table, as far as its reader can count."""

import msgspec


class StoreRows(msgspec.Struct, frozen=True, kw_only=True):
    """Rows by table, named as MLflow's database names them, however they were counted.

    A table without a row may be left out.
    """

    rows: dict[str, int]
    unkept: dict[str, int] = {}  # of an export: rows that the store had and the export has not, as far as known
    changed: list[str] = []  # of an export: tables in which the store has other rows by now, as far as it was compared
    untold: list[str] = []  # what no one can count this way, in words
