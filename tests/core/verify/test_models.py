"""What verify says of imported models: the counts, and what of them is wrong."""

from switchyard.core.registry.importing import NOT_HERE, ModelOrigin, ModelVerified, SourceModel, VersionOrigin
from switchyard.core.verify.models import VerifiedModel, VerifiedModels, to_absent, to_verified


def model(name: str, versions: int) -> SourceModel:
    numbers = range(1, versions + 1)
    return SourceModel(origin=ModelOrigin(name=name), versions=[VersionOrigin(number=number) for number in numbers])


def test_each_version_is_in_one_count() -> None:
    """Equal, differing, missing or without files; the model's own difference is none of a version."""
    compared = ModelVerified(
        versions=3,  # one of them without files
        files=4,
        size_bytes=8,
        without_files=[3, 5],
        differs={"model": ["tags"], "4": [NOT_HERE], "5": ["description"], "6": ["a file"]},
    )
    found = to_verified(model("there", 6), "here", compared)
    assert found == VerifiedModel(
        name="there",
        here="here",
        versions=6,
        equal=2,
        differs={"model": ["tags"], "5": ["description"], "6": ["a file"]},
        missing=[4],
        without_files=[3],
        files=4,
        size_bytes=8,
    )
    counts = VerifiedModels(models=[found]).counts
    assert counts["equal"] + counts["differ"] + counts["missing"] + counts["without_files"] == counts["versions"] == 6
    assert counts["models_differ"] == 1
    assert str(found) == "model here: version model: tags; version 5: description; version 6: a file"


def test_what_was_not_imported_is_counted_and_is_no_failure() -> None:
    """A team may leave models behind; what of an imported one cannot be compared is one."""
    absent = to_absent(model("left", 2))
    lost = VerifiedModel(name="odd", unread="no such column")
    away = VerifiedModel(name="shop", here="shop", versions=1, unread="access refused")
    found = VerifiedModels(models=[absent, lost, away])
    assert found.counts == {
        "models": 3,
        "models_imported": 1,
        "versions": 3,
        "equal": 0,
        "differ": 0,
        "models_differ": 0,
        "without_files": 0,
        "missing": 2,
        "unread": 2,
    }
    assert found.failed == ["model shop: access refused"]
