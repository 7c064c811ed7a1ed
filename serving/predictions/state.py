"""Who answers now: one object that never changes. A request reads it once, so no answer is of two models."""

from dataclasses import dataclass

from switchyard.core.ports import Recommender, RowModel
from switchyard.core.predictions.sources import Source, Tried


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A version in memory, ready to answer."""

    recommender: Recommender | None = None  # it, or `rows`: a version is of one kind
    rows: RowModel | None = None
    name: str
    version: int
    digest: str
    source: Source
    fallback: bool = False  # a source that comes before this one gave no model

    @property
    def identity(self) -> tuple[str, int, str]:
        """Equal for the same files of the same version."""
        return self.name, self.version, self.digest

    @property
    def is_alive(self) -> bool:
        """False where the process that read it has ended: it is loaded anew at the next look."""
        return self.rows is None or self.rows.is_alive


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
        return self.champion is not None and self.champion.is_alive

    @property
    def is_degraded(self) -> bool:
        """They are answered, and not by what was asked for, or it is not known whether they are."""
        return self.is_ready and bool(self.problem or self.tried)

    @property
    def why_not_ready(self) -> str:
        """In words, where `is_ready` is false."""
        if self.champion is not None and not self.problem:
            return "the process of its loader has ended, and it is being loaded again"
        return self.problem

    def list_loaded(self) -> list[Loaded]:
        """The models in memory."""
        return [loaded for loaded in (self.champion, self.challenger) if loaded is not None]
