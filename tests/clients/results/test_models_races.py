"""The registry under several promoters at once: one Production, always, and a history without a gap."""

import pytest

from tests.clients.results.places import Place
from tests.clients.results.promoters import PROMOTERS, ROLLBACKS, check, race


def test_races_of_promoters_and_rollbacks_leave_one_production(own_place: Place) -> None:
    """Never two, never none in between; who lost was told who won."""
    seen = race(own_place, 200)
    check(own_place, seen, 200)
    assert seen.said["promoted"] >= 100
    assert seen.said["lost"] >= 200


@pytest.mark.slow
def test_a_thousand_races(own_place: Place) -> None:
    """As above, more often."""
    seen = race(own_place, 1_000)
    check(own_place, seen, 1_000)
    assert seen.said.total() == 1_000 * (PROMOTERS + ROLLBACKS)
