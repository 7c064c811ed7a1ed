"""A registry without tables of its own, as rows of MLflow's."""

from switchyard.core.errors import BadRecord
from switchyard.core.registry.importing import LostModel, ModelOrigin, SourceModel, VersionOrigin
from switchyard.core.registry.mlflow_rows import to_models, to_tables

FULL = SourceModel(
    origin=ModelOrigin(
        name="it's a shop",
        description="ünï",
        created_at_ms=1,
        updated_at_ms=2,
        tags={"k": "v", "long": "x" * 5_000},
        aliases={"champion": 2},
        deleted=[3, 5],
    ),
    versions=[
        VersionOrigin(
            number=2,
            stage="Production",
            description="d",
            source="models:/other/1",
            storage="gs://b/other",
            run_id="a" * 32,
            run_link="l",
            user_id="ann",
            status="READY",
            status_message="m",
            created_at_ms=3,
            updated_at_ms=4,
            tags={"k": "v"},
        ),
        VersionOrigin(number=4, source="runs:/ab/model"),
    ],
    places={2: "gs://b/other", 4: "gs://b/ab/artifacts/model"},
)
BARE = SourceModel(origin=ModelOrigin(name="bare"), versions=[])


def test_models_are_the_same_by_their_rows() -> None:
    """Every field, and the numbers of versions that were deleted; one that could not be read stays so."""
    lost = LostModel("lost", BadRecord("model lost", ["odd"]))
    found = to_tables([BARE, FULL, lost])
    assert found.lost == [lost]
    assert to_models(found.tables, {"ab": "gs://b/ab/artifacts"}, where="here") == [BARE, FULL]
