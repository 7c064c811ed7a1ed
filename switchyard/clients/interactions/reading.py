"""Reads interactions from Parquet or CSV, a file or a folder of files, and counts what is dropped and why."""

import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from switchyard.clients.interactions.columns import to_ids, to_numbers, to_times
from switchyard.clients.interactions.rows import Interactions
from switchyard.core.data.columns import choose_columns, list_wanted
from switchyard.core.data.dialect import HEAD_BYTES, PARQUET_MAGIC, read_dialect, to_encoding_problem
from switchyard.core.data.files import find_files
from switchyard.core.data.looking import check_rows
from switchyard.core.errors import BadRequest, NotFound
from switchyard.core.ports import Objects
from switchyard.core.runs.spec import TrainSpec

Mask = np.ndarray[Any, np.dtype[np.bool_]]
OpenObjects = Callable[[str], Objects]


def read_interactions(spec: TrainSpec, open_objects: OpenObjects, tell: Callable[[str], None]) -> Interactions:
    """Returns the purchases in `spec.data_uri`, after its options for cancellations, missing buyers and quantities.

    Each dropped row is counted once, under the first reason it meets, in the order of `_list_unwanted`. A row without
    a quantity or an invoice number is kept. A second call reads again.

    Args:
        tell: called when a column is missing that may be missing.

    Raises:
        NotFound: no such file, or a folder without a Parquet or CSV file.
        BadRequest: a file cannot be read, a column is missing or has no usable type, an option says "fail" and there
            are such rows, or no row is left.
    """
    files = _list_files(spec.data_uri, open_objects)
    tables = [_read_table(uri, open_objects(uri).read(uri)[0], spec, tell) for uri in files]
    table = pa.concat_tables(tables).combine_chunks()
    rows = len(table)
    counts = {"files_read": len(files), "rows_read": rows}
    keep = np.ones(rows, bool)
    for reason, unwanted, flag, option in _list_unwanted(table, spec):
        found = int((keep & unwanted).sum())
        if option == "fail" and found:
            raise BadRequest(
                f"{spec.data_uri}: {found} of {rows} rows have a problem ({reason.replace('_', ' ')}), and {flag} is "
                f"fail. Correct the data, or drop these rows: {flag} drop"
            )
        if option == "drop":
            keep &= ~unwanted
            counts[f"rows_dropped_{reason}"] = found
    counts["rows_used"] = int(keep.sum())
    if not counts["rows_used"]:
        dropped = {name: count for name, count in counts.items() if "dropped" in name and count}
        raise BadRequest(
            f"{spec.data_uri}: none of {rows} rows in {len(files)} files is left; dropped: "
            f"{dropped or 'nothing'}; look at the column flags and the options for what is dropped"
        )
    table = table.filter(pa.array(keep))
    return Interactions(
        buyers=table["buyer"].combine_chunks(),
        products=table["product"].combine_chunks(),
        times=table["time"].to_numpy(),
        counts=counts,
    )


def _list_unwanted(table: Any, spec: TrainSpec) -> Iterator[tuple[str, Mask, str, str]]:
    """Yields (reason, which rows [rows], the flag that decides, what it says), in the order of counting."""
    for name in ("buyer", "product", "time"):
        yield f"missing_{name}", _to_mask(pc.is_null(table[name])), "--missing-buyers", spec.missing_buyers
    if spec.invoice_column:
        cancelled = pc.starts_with(pc.utf8_upper(table["invoice"]), "C")
        yield "cancellation", _to_mask(cancelled), "--cancellations", spec.cancellations
    if spec.quantity_column:
        too_few = pc.less_equal(table["quantity"], 0.0)
        flag = "--non-positive-quantities"
        yield "non_positive_quantity", _to_mask(too_few), flag, spec.non_positive_quantities


def _to_mask(column: Any) -> Mask:
    return np.asarray(pc.fill_null(column, False).combine_chunks().to_numpy(zero_copy_only=False), bool)


def _list_files(data_uri: str, open_objects: OpenObjects) -> list[str]:
    objects = open_objects(data_uri)

    def is_file(uri: str) -> bool:
        try:
            objects.stat(uri)
        except NotFound:
            return False
        return True

    return find_files(data_uri, is_file=is_file, list_files=objects.list)


def _read_table(uri: str, data: bytes, spec: TrainSpec, tell: Callable[[str], None]) -> Any:
    """Returns a file's wanted columns under our names and as our types, whatever the file's are.

    Where it lacks a column of a default name that may be missing, there are nulls."""
    try:
        table, columns = _parse(data, spec)
        found = {}
        for ours, theirs in columns.items():
            if ours == "time":
                found[ours] = to_times(table[theirs], theirs, spec.time_format, decimal=spec.csv_decimal)
            elif ours == "quantity":
                found[ours] = to_numbers(table[theirs], theirs, decimal=spec.csv_decimal)
            else:
                found[ours] = to_ids(table[theirs], theirs)
    except BadRequest as err:
        raise BadRequest(f"{uri}: {err}") from err
    except (pa.ArrowException, OSError, ValueError, KeyError) as err:
        if "invalid UTF8" in str(err):
            raise BadRequest(f"{uri}: {to_encoding_problem(str(err))}") from err
        raise BadRequest(f"{uri}: a Parquet or CSV file was expected; it cannot be read: {err}") from err
    wanted = list_wanted(spec)
    for ours in wanted.keys() - columns.keys():
        tell(f"{uri} has no column {wanted[ours]!r}: no row is dropped for its {ours}")
        found[ours] = pa.nulls(len(table), pa.float64() if ours == "quantity" else pa.string())
    return pa.table({ours: found[ours] for ours in wanted})


def _parse(data: bytes, spec: TrainSpec) -> tuple[Any, dict[str, str]]:
    """Returns a file's wanted columns, and their names by role. Its first bytes tell the kind, not its name."""
    if data.startswith(PARQUET_MAGIC):
        columns = choose_columns(pa_parquet.read_schema(pa.BufferReader(data)).names, spec)
        return pa_parquet.read_table(pa.BufferReader(data), columns=list(columns.values())), columns
    if data[:2] == b"\x1f\x8b":
        data = pa.input_stream(pa.BufferReader(data), compression="gzip").read()
    dialect = read_dialect(data[:HEAD_BYTES], spec, is_whole=len(data) <= HEAD_BYTES)
    columns = choose_columns(dialect.columns, spec, hint=dialect.hint)
    check_rows(dialect, columns, spec)
    # All as text: types are inferred from the first block, and an id may have its first letter in a later one.
    options = pa_csv.ConvertOptions(
        column_types=dict.fromkeys(columns.values(), pa.string()),
        include_columns=list(columns.values()),
        strings_can_be_null=True,
    )
    is_utf8 = dialect.encoding.startswith("utf-8")  # with or without a mark; else Python transcodes, block by block
    table = pa_csv.read_csv(
        io.BytesIO(data),
        read_options=pa_csv.ReadOptions(
            encoding="utf8" if is_utf8 else dialect.encoding,
            column_names=None if dialect.has_header else list(dialect.columns),
        ),
        parse_options=pa_csv.ParseOptions(delimiter=dialect.separator),
        convert_options=options,
    )
    return table, columns
