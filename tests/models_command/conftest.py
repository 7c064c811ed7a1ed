"""Fixtures of `switchyard models`: the databases on which it is tried."""

from tests.clients.results.fixtures import all_places, own_place, places
from tests.postgres import postgres

__all__ = ["all_places", "own_place", "places", "postgres"]
