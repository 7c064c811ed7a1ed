"""A published history as table rows, for terminals and Prefect's UI."""

from typing import Any

COLUMNS = (("loss", "train"), ("loss", "val"), ("loss", "total"), ("gradient", "query"), ("gradient", "candidate"))


def to_epoch_rows(history: dict[str, Any]) -> list[dict[str, float | int | None]]:
    """One row a published epoch; a column for each charted series of `COLUMNS` that the history has.

    >>> to_epoch_rows({"epochs": [0, 5], "loss": {"train": [0.5, 0.25], "val": [0.6]}})
    [{'epoch': 0, 'loss.train': 0.5, 'loss.val': 0.6}, {'epoch': 5, 'loss.train': 0.25, 'loss.val': None}]
    """
    columns = {f"{part}.{name}": series for part, name in COLUMNS if (series := (history.get(part) or {}).get(name))}
    return [
        # A legacy history may be ragged: what a series lacks is left empty.
        {"epoch": epoch} | {name: series[at] if at < len(series) else None for name, series in columns.items()}
        for at, epoch in enumerate(history.get("epochs") or [])
    ]
