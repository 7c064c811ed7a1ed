"""Models with versions, judgements and a history, through the real port; a test names what differs."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from switchyard.core.predictions.feedback import Kind
from switchyard.core.predictions.rows import NewFeedback, Prediction
from switchyard.core.registry.manifest import ModelFile, to_manifest
from switchyard.core.registry.rows import (
    Judgement,
    Lineage,
    NewVersion,
    Promotion,
    StageMove,
    Verdict,
)
from switchyard.core.registry.stages import Stage, Validation
from tests.clients.results.places import Place

SHOP = "shop"
EVIDENCE: dict[str, Any] = {
    "schema_version": 1,
    "metrics": {
        "recall_at_10": {"challenger": 0.081, "champion": 0.072, "difference": 0.009, "low": 0.004, "high": 0.014},
    },
    "thresholds": {"recall_at_10": -0.005},
    "data": {"fingerprint": "sha256:" + "d" * 64, "first_day": "2026-01-01", "last_day": "2026-01-14"},
    "an_unknown_key": {"of": ["some", {"later": "version"}]},
}


def files(**changed: str) -> list[ModelFile]:
    """Three files, and those that the test names, by the letter of their sha256; an empty one takes a file away."""
    named = {"model/saved_model": "a", "embeddings/products": "b", "score/weights": "c", **changed}
    return [ModelFile(path=path, size_bytes=1_000, sha256=letter * 64) for path, letter in named.items() if letter]


def register(
    place: Place,
    name: str = SHOP,
    *,
    source: str = "",
    run: int | None = None,
    listed: Sequence[ModelFile] | None = None,
    by: str = "ann",
    description: str = "",
    **lineage: Any,
) -> int:
    """A new version's number."""
    taken = place.catalogue.list_models(limit=99)
    known = {line.model.name: line.model.last_number for line in taken}
    new = NewVersion(
        name=name,
        source_key=source or f"run:{known.get(name, 0) + 1}",
        source_uri="file:///artifacts/quick_tests/7",
        manifest=to_manifest(listed or files(), "here"),
        lineage=Lineage(quick_test_id=run, **{"parameters": {"epochs": 5}, **lineage}),
        by=by,
        description=description,
    )
    return place.models.register(new).version.version


def tag(place: Place, version: int, key: str, value: str, *, name: str = SHOP) -> None:
    """As an import leaves them; of version 0 the model's own."""
    place.sql(
        "INSERT INTO switchyard_model_tags (name, version, key, value) VALUES (:name, :version, :key, :value)",
        name=name,
        version=version,
        key=key,
        value=value,
    )


def judge(
    place: Place,
    version: int,
    against: int | None,
    *,
    name: str = SHOP,
    status: Validation = Validation.PASSED,
    evidence: dict[str, Any] | None = None,
    by: str = "ann",
) -> None:
    digests = {one.version: one.digest for one in place.models.list_versions(name)}
    judgement = Judgement(
        status=status,
        digest=digests[version],
        against=against,
        against_digest=digests[against] if against else "",
        evidence=EVIDENCE if evidence is None else evidence,
    )
    place.models.validate(Verdict(name=name, version=version, judgement=judgement, by=by))


def promote(place: Place, version: int, expected: int | None, *, name: str = SHOP, **more: Any) -> None:
    place.models.promote(Promotion(name=name, version=version, expected=expected, **{"by": "bob", **more}))


def stage(place: Place, version: int, to: Stage = Stage.STAGING, *, name: str = SHOP, **more: Any) -> None:
    place.models.move(StageMove(name=name, version=version, stage=to, **{"by": "eve", **more}))


def predict(place: Place, number: int, *, name: str = SHOP, **more: Any) -> None:
    """A prediction; its id is made of its number."""
    values = {"digest": "sha256:d", "product_ids": ("p1",), "latency_ms": 1.0, **more}
    place.predictions.record([Prediction(id=to_prediction_id(number), model=name, **values)])


def say(place: Place, number: int, kind: Kind, *, now: datetime, value: float | None = None) -> None:
    """Feedback on the prediction of that number."""
    new = NewFeedback(
        idempotency_key=f"given:{number} {kind}",
        body_digest="sha256:b",
        prediction_id=to_prediction_id(number),
        kind=kind,
        value=value,
    )
    place.predictions.give(new, now=now)


def to_prediction_id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012x}"
