"""The suite of the port `ModelImports`, on every database and every table of runs."""

from datetime import UTC, datetime

import pytest

from switchyard.core.errors import BadRequest, StaleWrite
from switchyard.core.registry.importing import ImportedVersion, ModelOrigin, SourceModel, VersionOrigin
from switchyard.core.registry.manifest import Manifest, ModelFile, to_manifest
from switchyard.core.registry.rows import NewVersion
from switchyard.core.registry.stages import Act, Stage
from tests.clients.results.places import Place

ODD = "ünï\u2603\U0001f680 'quoted' \"twice\"; DROP TABLE x; --"
LONG = "d" * 10_000
ORIGIN = ModelOrigin(
    name="there", description=LONG, created_at_ms=5, tags={"team": ODD}, aliases={"stable": 2}, deleted=[4]
)


def version(number: int, stage: str = "None") -> VersionOrigin:
    return VersionOrigin(
        number=number,
        stage=stage,
        description=ODD,
        source="gs://b/1",
        user_id="ann",
        created_at_ms=1_700_000_000_123,
        tags={"long": "t" * 5_000, "empty": "", ODD: ODD},
    )


MODEL = SourceModel(origin=ORIGIN, versions=[version(1), version(2, "Production")])


def files(text: str = "a") -> Manifest:
    return to_manifest([ModelFile(path="model/é", size_bytes=2**33, sha256=text * 64)], "here")


def add(place: Place, number: int, stage: Stage = Stage.NONE, manifest: Manifest | None = None) -> bool:
    imported = ImportedVersion(
        origin=version(number, str(stage)), stage=stage, manifest=manifest, source_uri="file:///a", flavor="mlflow"
    )
    return place.ports.imports.add_version("shop", ORIGIN, imported, where="MLflow", by="bob")


def new(key: str) -> NewVersion:
    return NewVersion(name="shop", source_key=key, source_uri="", manifest=files())


def test_imported_version_is_as_it_was_said(place: Place) -> None:
    """With its number, stage, texts, tags and time; its line of history says where it comes from."""
    place.ports.imports.begin("shop", MODEL)
    assert add(place, 2, Stage.PRODUCTION, files())
    place.ports.imports.finish("shop", ORIGIN, {"stable": 2})
    found = place.models.find_version("shop", "2")
    assert (found.stage, found.description, found.created_by, found.flavor) == (Stage.PRODUCTION, ODD, "ann", "mlflow")
    assert found.created_at == datetime(2023, 11, 14, 22, 13, 20, 123_000, UTC)
    assert place.models.read_files("shop", 2) == files()
    assert place.models.list_tags("shop") == {0: {"team": ODD}, 2: dict(sorted(version(2).tags.items()))}
    model = place.models.read_model("shop")
    assert (model.production, model.description, model.last_number) == (2, LONG, 4)
    (line,) = place.models.list_transitions("shop")
    assert (line.act, line.from_stage, line.to_stage, line.by) == (Act.IMPORTED, Stage.NONE, Stage.PRODUCTION, "bob")
    assert line.evidence["imported_from"] == "MLflow"
    assert place.ports.imports.read_model_origin("shop") == ORIGIN
    assert place.ports.imports.list_version_origins("shop") == {2: version(2, "Production")}
    assert place.models.list_aliases("shop") == {"champion": 2, "stable": 2}
    assert place.ports.mirrors.list_origins("shop") == {2: 1_700_000_000_123}


def test_second_calls_change_nothing(place: Place) -> None:
    """They also keep what was changed here since."""
    for _ in range(2):
        place.ports.imports.begin("shop", MODEL)
    assert add(place, 1, Stage.STAGING, files())
    assert not add(place, 1, Stage.STAGING, files())
    place.ports.imports.finish("shop", ORIGIN, {"stable": 1})
    place.models.set_alias("shop", "stable", None)
    place.ports.imports.finish("shop", ORIGIN, {"stable": 1} if not ORIGIN.aliases else {})
    assert place.models.list_aliases("shop") == {"challenger": 1}
    assert len(place.models.list_transitions("shop")) == 1
    assert place.models.read_model("shop").revision == 1


def test_numbers_are_reserved_before_the_versions_are_there(place: Place) -> None:
    """A run that is registered meanwhile gets the next one after all that were given there."""
    place.ports.imports.begin("shop", MODEL)
    assert place.models.register(new("run:1")).version.version == 5
    assert add(place, 1, Stage.NONE, files())
    place.ports.imports.begin("shop", MODEL)
    assert [line.act for line in place.models.list_transitions("shop")] == [Act.REGISTERED, Act.IMPORTED]


def test_a_champion_that_is_here_stays(place: Place) -> None:
    """The imported one is archived: two are never in Production."""
    place.ports.imports.begin("shop", MODEL)
    add(place, 1, Stage.PRODUCTION, files())
    add(place, 2, Stage.PRODUCTION, files())
    assert place.models.read_model("shop").production == 1
    assert place.models.find_version("shop", "2").stage is Stage.ARCHIVED


def test_files_are_added_once_and_never_changed(place: Place) -> None:
    """To a version that had none; another content is refused."""
    place.ports.imports.begin("shop", MODEL)
    assert add(place, 1)
    assert place.models.find_version("shop", "1").digest == ""
    assert not add(place, 1, Stage.NONE, files())
    assert place.models.find_version("shop", "1").digest == files().digest
    assert place.models.read_files("shop", 1) == files()
    assert not add(place, 1)
    with pytest.raises(StaleWrite, match="changed since they were imported"):
        add(place, 1, Stage.NONE, files("b"))


def test_other_versions_and_models_are_not_written_over(place: Place) -> None:
    """Each number is one version for ever, and each model one import's."""
    place.models.register(new("run:1"))
    with pytest.raises(StaleWrite, match="another name: --name 'there="):
        place.ports.imports.begin("shop", MODEL)
    with pytest.raises(StaleWrite, match="not imported from there"):
        add(place, 1, Stage.NONE, files())
    with pytest.raises(BadRequest, match="cannot be a model's name"):
        place.ports.imports.begin("a/b", MODEL)
    place.ports.imports.begin("taken", MODEL)
    place.ports.imports.finish("taken", ORIGIN, {})
    other = SourceModel(origin=ModelOrigin(name="other"))
    with pytest.raises(StaleWrite, match="comes from another model, there"):
        place.ports.imports.begin("taken", other)
