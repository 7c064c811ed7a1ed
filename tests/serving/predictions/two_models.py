"""A champion and a challenger that are no files: what each answers is said by the test."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry

from serving.predictions.state import Loaded, State
from switchyard.core.predictions.answers import Recommendation
from switchyard.core.predictions.arms import Arm, Split, choose_arm, to_salt
from switchyard.core.predictions.requests import PredictRequest
from switchyard.core.predictions.sources import Kind, Source

SOURCE = Source("MODEL_VARIANT", Kind.REGISTRY, "models:/shop/Production")


@dataclass
class Scripted:
    """`core.ports.Recommender` that answers what `say` says; it keeps whom it was asked for."""

    say: Callable[[str], Recommendation]
    products: Sequence[str] = ("p1", "p2", "p3")
    has_purchases: bool = True
    popularity: str = "prior"
    asked: list[str] = field(default_factory=list)

    def list_buyers(self, limit: int) -> Sequence[str]:
        return ["b1"][:limit]

    def knows(self, buyer_id: str) -> bool:
        return True

    def recommend(
        self, buyer_id: str, k: int, *, only: frozenset[str] | None = None, without_bought: bool = False
    ) -> Recommendation:
        self.asked.append(buyer_id)
        return self.say(buyer_id)


def saying(*products: str, score: float = 1.0) -> Scripted:
    """It answers these products to all who ask."""
    found = Recommendation(product_ids=products, scores=(score,) * len(products), known=True)
    return Scripted(lambda buyer_id: found)


def failing(err: Exception) -> Scripted:
    """It always fails."""

    def fail(buyer_id: str) -> Recommendation:
        raise err

    return Scripted(fail)


def loaded(recommender: Scripted, version: int, name: str = "shop") -> Loaded:
    return Loaded(recommender=recommender, name=name, version=version, digest=f"sha256:{version}", source=SOURCE)


def to_state(champion: Scripted, challenger: Scripted | None, share: float = 0.5, **more: Any) -> State:
    """Version 1 is the champion, version 2 the challenger."""
    given: dict[str, Any] = {"share": share, "revision": 5, "problem": "", **more}
    return State(
        champion=loaded(champion, 1), challenger=None if challenger is None else loaded(challenger, 2), **given
    )


def asking(*buyer_ids: str) -> PredictRequest:
    return PredictRequest(buyer_ids=buyer_ids, k=3)


def find_buyers(arm: Arm, count: int, *, share: float = 0.5, digest: str = "sha256:2", version: int = 2) -> list[str]:
    """Buyers of an arm."""
    split = Split(model="shop", salt=to_salt(version, digest), share=share)
    names = (f"b{number}" for number in range(100_000))
    found = (name for name in names if choose_arm(split, name) is arm)
    return [next(found) for _ in range(count)]


def read_number(registry: CollectorRegistry, name: str, **labels: str) -> float:
    """A metric's value; 0 where it was never counted."""
    return registry.get_sample_value(name, labels) or 0.0
