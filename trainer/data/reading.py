"""Reads interactions from Parquet or CSV with the library's own reader; anything unusual goes to the log."""

from functools import partial

from switchyard.clients.interactions.reading import read_interactions as read
from switchyard.clients.interactions.rows import Interactions
from switchyard.clients.objects.open import open_objects
from switchyard.core.runs.spec import TrainSpec
from trainer.console import say


def read_interactions(spec: TrainSpec) -> Interactions:
    """Returns the purchases in `spec.data_uri`. Raises: what `switchyard.clients.interactions.reading` raises."""
    return read(spec, partial(open_objects, retries_itself=True), say)
