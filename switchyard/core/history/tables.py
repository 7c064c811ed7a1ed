"""A published history as table rows, for terminals and Prefect's UI."""

from typing import Any

COLUMNS = {
    "train loss": ("loss", "train"),
    "val loss": ("loss", "val"),
    "total loss": ("loss", "total"),
    "query norm": ("gradient", "query"),  # `gradient` holds norms of the weights: the legacy payload's name
    "candidate norm": ("gradient", "candidate"),
}


def to_epoch_rows(history: dict[str, Any]) -> list[dict[str, float | int | None]]:
    """Returns one row a published epoch; a column for each charted series of `COLUMNS` that the history has.

    >>> to_epoch_rows({"epochs": [0, 5], "loss": {"train": [0.5, 0.25], "val": [0.6]}})
    [{'epoch': 0, 'train loss': 0.5, 'val loss': 0.6}, {'epoch': 5, 'train loss': 0.25, 'val loss': None}]
    """
    columns = {
        label: series for label, (part, name) in COLUMNS.items() if (series := (history.get(part) or {}).get(name))
    }
    return [
        # A legacy history may be ragged: what a series lacks is left empty.
        {"epoch": epoch} | {label: series[at] if at < len(series) else None for label, series in columns.items()}
        for at, epoch in enumerate(history.get("epochs") or [])
    ]
