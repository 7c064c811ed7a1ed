"""Whether a record has anything to look at: what page, dry run, ledger and exit say of a run, by one function."""

from typing import Literal

from switchyard.core.metrics.record import MetricsRecord

Shows = Literal["curves", "values", "nothing"]
"""What there is to look at: ``curves`` where a chart has something to draw, if only one point of a loss; ``values``
where there are final metrics or params alone; ``nothing`` if nothing is to be published."""


def to_shows(record: MetricsRecord) -> Shows:
    """Returns what a reader of the published history sees of it.

    The towers' statistics and histograms do not count as curves.
    """
    if record.loss or record.gradient or record.metrics or record.other_series:
        return "curves"
    return "values" if record.available else "nothing"
