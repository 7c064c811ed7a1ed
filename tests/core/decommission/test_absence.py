"""Whether an answer that something is not there is believed, as a table."""

import pytest

from switchyard.core.decommission.absence import find_doubt
from switchyard.core.decommission.resources import Activity, Found, Kind, Resource
from tests.core.decommission.world import SECRET, SERVICE, make_resource


def make_found(*resources: Resource, listed: int = 2, control: str = "") -> Found:
    return Found(kind=Kind.SECRET, resources=resources, listed=listed, places=("global",), control=control)


HERE = make_resource(Kind.SECRET, SECRET)
DELETED = Resource(kind=Kind.SECRET, name=SECRET, activity=Activity.DELETED)


@pytest.mark.parametrize(
    ("listed", "is_there", "said"),
    [
        (make_found(), False, ""),
        (make_found(listed=0, control="shop-key"), False, ""),
        (make_found(DELETED), False, ""),  # it waits for its end, and is listed
        (make_found(HERE), True, ""),  # a part of it is gone
        (make_found(make_resource(Kind.SECRET, SERVICE)), False, ""),
        (make_found(HERE), False, "it is listed"),
        (make_found(listed=0), False, "is empty, which proves nothing"),
        (None, False, "do not hold their control"),
        (None, True, "do not hold their control"),
    ],
)
def test_one_answer_is_believed_where_the_whole_lists_say_the_same(
    listed: Found | None, is_there: bool, said: str
) -> None:
    """Anything else is a doubt, and says what to do."""
    doubt = find_doubt(SECRET, listed, is_there=is_there)
    assert bool(doubt) is bool(said)
    assert said in doubt
