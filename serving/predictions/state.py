"""Who answers now: one object that never changes. A request reads it once, so no answer is of two models."""

from dataclasses import dataclass

from switchyard.core.ports import Recommender
from switchyard.core.predictions.sources import Source, Tried


@dataclass(frozen=True)
class Loaded:
    """A version in memory, ready to answer."""

    recommender: Recommender
    name: str
    version: int
    digest: str
    source: Source
    fallback: bool = False  # a source that comes before this one gave no model

    @property
    def identity(self) -> tuple[str, int, str]:
        """Equal for the same files of the same version."""
        return self.name, self.version, self.digest


@dataclass(frozen=True)
class State:
    """All that an answer depends on, but for the request."""

    champion: Loaded | None = None  # None: nothing could be loaded, and nothing is answered
    challenger: Loaded | None = None
    share: float = 0.0  # of the traffic, that the challenger answers; 0: it is only asked, never heard
    revision: int | None = None  # of the model's row; None: the source follows none
    tried: tuple[Tried, ...] = ()  # what was asked before the source in use, and why it is not the one
    problem: str = "no model is loaded yet"  # what keeps this from being as it should be; empty: nothing

    @property
    def is_ready(self) -> bool:
        """Requests are answered."""
        return self.champion is not None

    @property
    def is_degraded(self) -> bool:
        """They are answered, and not by what was asked for, or it is not known whether they are."""
        return self.champion is not None and bool(self.problem or self.tried)
