"""Which texts of an inventory are kept apart, as tables of values."""

from typing import Any

import msgspec
import pytest

from switchyard.core.decommission.inventory import Inventory, to_json
from switchyard.core.decommission.resources import Found, Kind, Resource
from switchyard.core.decommission.sealing import HIDDEN, is_sealed, read_values, seal, unseal
from switchyard.core.decommission.sealing import to_json as values_to_json
from switchyard.core.errors import BadRecord
from tests.core.decommission.world import SERVICE, SOUGHT

SECRET = "s3cret"


def make_inventory(description: dict[str, Any], parts: dict[str, Any] | None = None) -> Inventory:
    resource = Resource(kind=Kind.RUN_SERVICE, name=SERVICE, description=description, parts=parts or {})
    return Inventory(
        sought=SOUGHT, found=(Found(kind=Kind.RUN_SERVICE, resources=(resource,), listed=1, places=("r",)),)
    )


@pytest.mark.parametrize(
    ("description", "left"),
    [
        ({"env": [{"name": "A", "value": SECRET}]}, {"env": [{"name": "A", "value": HIDDEN}]}),
        ({"env": [f"A={SECRET}"]}, {"env": [HIDDEN]}),
        ({"args": ["--uri", SECRET]}, {"args": [HIDDEN, HIDDEN]}),
        ({"command": [SECRET]}, {"command": [HIDDEN]}),
        ({"steps": [{"script": SECRET, "id": "1"}]}, {"steps": [{"script": HIDDEN, "id": "1"}]}),
        ({"substitutions": {"_URI": SECRET}}, {"substitutions": {"_URI": HIDDEN}}),
        (
            {"buildConfig": {"environmentVariables": {"A": SECRET}}},
            {"buildConfig": {"environmentVariables": {"A": HIDDEN}}},
        ),
        (
            {"template": {"containers": [{"args": [["x", SECRET]]}]}},
            {"template": {"containers": [{"args": [[HIDDEN, HIDDEN]]}]}},
        ),
    ],
)
def test_what_may_be_a_password_is_kept_apart_and_comes_back(description: dict[str, Any], left: dict[str, Any]) -> None:
    """In its place, and with the same bytes whenever it is saved."""
    whole = make_inventory(description)
    bare, values = seal(whole)
    assert bare.read(SERVICE).description == left
    assert SECRET not in to_json(bare).decode()
    assert SECRET not in repr(values)
    saved = values_to_json(values)
    assert is_sealed(bare)
    assert unseal(bare, read_values(saved, "here", bare, bare.digest)) == whole
    assert seal(whole) == (bare, values)


def test_names_and_references_stay_to_be_read() -> None:
    """As do the places and the names of variables; a variable's own entry is kept apart too."""
    reference = {"name": "B", "valueSource": {"secretKeyRef": {"secret": "mlflow-password"}}}
    description = {"env": [{"name": "A", "value": ""}, reference], "image": "img/mlflow", "labels": {"env": "prod"}}
    entry = {"container": 0, "place": 1, "entry": {"name": "MLFLOW_TRACKING_URI", "value": SECRET}}
    whole = make_inventory(description, {"entries": [entry], "objects": [{"name": "args", "generation": "1"}]})
    bare, values = seal(whole)
    left = bare.read(SERVICE)
    assert left.description["env"] == description["env"]
    assert left.description["image"] == "img/mlflow"
    assert left.parts["entries"][0]["entry"] == {"name": "MLFLOW_TRACKING_URI", "value": HIDDEN}
    assert left.parts["objects"] == whole.read(SERVICE).parts["objects"]
    assert unseal(bare, values) == whole


def test_an_inventory_without_values_needs_no_file() -> None:
    """And one of format 1 has all in itself, also a value that looks kept apart."""
    bare, values = seal(make_inventory({"image": "x"}))
    assert (is_sealed(bare), values.hidden) == (False, ())
    old = msgspec.structs.replace(make_inventory({"args": [HIDDEN]}), format=1)
    assert not is_sealed(old)


def test_values_of_another_inventory_are_refused() -> None:
    """And those that are not whole, or say more than the inventory leaves out."""
    bare, values = seal(make_inventory({"args": [SECRET, "b"]}))
    (first, second) = values.hidden
    wrong = [
        msgspec.structs.replace(values, inventory="sha256:" + "0" * 64),
        msgspec.structs.replace(values, hidden=(first,)),
        msgspec.structs.replace(values, hidden=(first, second, msgspec.structs.replace(second, place=("parts", "x")))),
        msgspec.structs.replace(values, hidden=(first, msgspec.structs.replace(second, resource="another"))),
    ]
    for one in wrong:
        with pytest.raises(BadRecord) as err:
            read_values(values_to_json(one), "here", bare, bare.digest)
        assert SECRET not in str(err.value)
