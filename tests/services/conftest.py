"""Fixtures of the services' tests: the databases that the clients' tests use, and what verify compares."""

from tests.clients.results.fixtures import all_places, own_place, place, places
from tests.postgres import postgres
from tests.services.verify_fixtures import charted, kept, legacy_store, on_postgres, published, world

__all__ = [
    "all_places",
    "charted",
    "kept",
    "legacy_store",
    "on_postgres",
    "own_place",
    "place",
    "places",
    "postgres",
    "published",
    "world",
]
