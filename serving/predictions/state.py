"""The models that answer now, as one object that never changes; a request reads it once, so it never mixes states."""

from dataclasses import dataclass

from switchyard.core.ports import Recommender, RowModel
from switchyard.core.predictions.sources import Source, Tried


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A version in memory, ready to answer."""

    recommender: Recommender | None = None  # either this or `rows`: a version is of one kind
    rows: RowModel | None = None
    name: str
    version: int
    digest: str
    source: Source
    fallback: bool = False  # True: an earlier source gave no model

    @property
    def identity(self) -> tuple[str, int, str]:
        """The identity, which is equal for the same files of the same version."""
        return self.name, self.version, self.digest

    @property
    def is_alive(self) -> bool:
        """False if the process that read the model has ended; the next look loads it again."""
        return self.rows is None or self.rows.is_alive


@dataclass(frozen=True)
class State:
    """Everything that an answer depends on, except the request."""

    champion: Loaded | None = None  # None: no model could be loaded, and no request is answered
    challenger: Loaded | None = None
    share: float = 0.0  # of the traffic, that the challenger answers; 0: its answers are only compared
    revision: int | None = None  # of the model's row; None: the source follows no row
    tried: tuple[Tried, ...] = ()  # the sources before the one in use, and why they are not used
    problem: str = "no model is loaded yet"  # why this is not as it should be; empty: it is

    @property
    def is_ready(self) -> bool:
        """Whether requests are answered."""
        return self.champion is not None and self.champion.is_alive

    @property
    def is_degraded(self) -> bool:
        """Whether requests are answered, but not, or perhaps not, by the model that was asked for."""
        return self.is_ready and bool(self.problem or self.tried)

    @property
    def why_not_ready(self) -> str:
        """Why `is_ready` is false, in words."""
        if self.champion is not None and not self.problem:
            return "the process of its loader has ended, and it is being loaded again"
        return self.problem

    def list_loaded(self) -> list[Loaded]:
        """Returns the models in memory."""
        return [loaded for loaded in (self.champion, self.challenger) if loaded is not None]
