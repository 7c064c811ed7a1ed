"""A registry with models on a disk, and the holder and application that serve them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from serving.predictions.app import Application, Options, create_app
from serving.predictions.holder import Holder
from switchyard.clients.objects.open import open_objects
from switchyard.core.ports import Objects
from switchyard.core.predictions.sources import Kind, Source
from switchyard.core.registry.rows import ModelVersion
from switchyard.services import model_sources
from switchyard.services.model_loading import OpenRows
from tests.clients.results.places import Place
from tests.predicting import promote, register_folder, write_model
from tests.serving.conftest import OverPlace

CHAMPION = Source("MODEL_VARIANT", Kind.REGISTRY, "models:/shop/Production")


@dataclass
class World:
    """One database, and folders of models."""

    place: Place
    root: Path
    now: float = 0.0
    open_objects: Callable[[str], Objects] = field(default=open_objects)

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    def folder(self, seed: int) -> Path:
        """Where `add` writes."""
        return self.root / f"model{seed}"

    def add(self, seed: int = 1, name: str = "shop", **sizes: int) -> ModelVersion:
        """The next version, of a model that is like no other seed's."""
        return register_folder(self.place.models, write_model(self.folder(seed), seed=seed, **sizes), name)

    def add_champion(self, seed: int = 1, **sizes: int) -> ModelVersion:
        """The same, promoted."""
        version = self.add(seed, "shop", **sizes)
        promote(self.place.models, version)
        return version

    def ports(self) -> model_sources.Ports:
        place = self.place
        return model_sources.Ports(place.runs, place.jobs, place.models, self.open_objects, "served", self.cache)

    def hold(self, *sources: Source, looked: bool = True, open_rows: OpenRows | None = None) -> Holder:
        """A holder of these sources, by default the champion; it has looked once."""
        found: Sequence[Source] = sources or (CHAMPION,)
        holder = Holder(self.ports, lambda: found, open_rows=open_rows, clock=lambda: self.now)
        if looked:
            holder.look()
        return holder

    def application(
        self,
        options: Options = Options(poll_s=3600),  # noqa: B008
        open_rows: OpenRows | None = None,
        **settings: Any,
    ) -> Application:
        """The application, which has looked once."""
        outside = OverPlace(self.place)
        given = {"model_cache_dir": str(self.cache), **settings}
        outside.settings = replace_settings(outside.settings, **given)
        made = create_app(outside, options, open_rows)
        made.routes.holder.look()
        return made


def replace_settings(settings: Any, **changes: Any) -> Any:
    import msgspec

    return msgspec.structs.replace(settings, **changes)


def open_client(app: Application) -> TestClient:
    """As a program of this machine asks; its errors are answers."""
    return TestClient(app, raise_server_exceptions=False, base_url="http://127.0.0.1:8080", client=("127.0.0.1", 5000))


def served(holder: Holder) -> int | None:
    """The version that answers."""
    return holder.state.champion.version if holder.state.champion else None
