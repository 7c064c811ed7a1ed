"""Fixtures of the clients' tests."""

from tests.clients.objects.small_disk import small_disk
from tests.clients.results.fixtures import all_places, application_place, own_place, place, places
from tests.mariadb import mariadb
from tests.postgres import postgres

__all__ = ["all_places", "application_place", "mariadb", "own_place", "place", "places", "postgres", "small_disk"]
