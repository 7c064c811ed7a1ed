"""The application that answers with models: routes behind the access check, and the thread that chooses the models."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from anyio.to_thread import run_sync
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.access import Access, Door
from serving.predictions.behind import Behind, make_behind
from serving.predictions.counts import Counts
from serving.predictions.holder import POLL_S, Holder
from serving.predictions.loader_process import RowLoader
from serving.predictions.rate import Rate
from serving.predictions.routes import Routes, to_need
from serving.predictions.scratch import sweep_scratch
from serving.problems import FOR_PROGRAMS
from switchyard.clients.connect import Outside, connect
from switchyard.clients.settings import Settings
from switchyard.core.errors import NotFound
from switchyard.core.ports import Models
from switchyard.core.predictions.pickles import read_digests
from switchyard.core.predictions.sources import Kind, Source, list_sources
from switchyard.core.registry.rows import ModelVersion
from switchyard.services import model_sources
from switchyard.services.model_loading import OpenRows


@dataclass(frozen=True)
class Options:
    """The options of the command line."""

    model: str = ""  # instead of all settings that name one
    rate: str = ""
    workers: int = 1
    poll_s: float = POLL_S


class Application:
    """The ASGI application: routes behind the access check, and threads that live as long as the server."""

    def __init__(self, routes: Routes, door: ASGIApp, behind: Behind, *, poll_s: float) -> None:
        self.routes = routes
        self._door = door
        self._behind = behind
        self._looking = threading.Thread(target=routes.holder.run, args=(poll_s,), name="models", daemon=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Starts and stops the threads with the server, and passes requests on."""
        if scope["type"] == "http":
            scope[FOR_PROGRAMS] = True  # also the paths that Vertex AI chooses
            await self._door(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                sweep_scratch()
                self._looking.start()
                self._behind.start()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                self.routes.holder.stop()
                self.routes.work.close()
                await run_sync(self._behind.stop)
                await run_sync(self.routes.holder.close)
                await send({"type": "lifespan.shutdown.complete"})
                return


def create_app(outside: Outside, options: Options, open_rows: OpenRows | None = None) -> Application:
    """Returns the application over the connections of `outside`; it loads the first model once the server runs.

    Raises: BadSetup: API_TOKENS_FILE, BUYER_KEY_FILE or the rate is not valid.
    """
    settings = outside.settings
    holder = Holder(
        partial(to_ports, outside, to_mlflow(outside)),
        partial(choose_sources, outside, options.model),
        open_rows=open_rows
        or RowLoader(
            settings.model_loader_python,
            filename=settings.model_filename,
            tokenizer=settings.tokenizer_filename,
            pickle_digests=read_digests(settings.model_pickle_digests),
        ),
        filename=settings.model_filename,
    )
    rate = Rate(options.rate or settings.predict_rate, workers=options.workers)
    counts = Counts(holder)
    behind = make_behind(outside, holder, rate, counts.registry)
    routes = Routes(
        holder,
        counts,
        rate,
        answer=behind.router.answer,
        on_answered=behind.note,
        on_rows_answered=behind.note_rows,
        predict_route=settings.aip_predict_route,
        health_route=settings.aip_health_route,
    )
    behind.add_routes(routes)
    needs = partial(to_need, predict_route=settings.aip_predict_route, health_route=settings.aip_health_route)
    return Application(routes, Door(routes, access=Access(settings), needs=needs), behind, poll_s=options.poll_s)


def create_from_environment(options: Options) -> Application:
    """Returns the application of a worker process."""
    return create_app(connect(), options)


def to_mlflow(outside: Outside) -> Callable[[Source], ModelVersion]:
    """Returns what takes models from the MLflow server that the settings name; it refuses if they name none."""
    settings = outside.settings
    if not (settings.mlflow_tracking_uri or settings.mlflow_backend_store_uri):
        return model_sources.no_mlflow
    # Imported here, because these imports take time and most servers have no MLflow.
    from switchyard.services.importing_files import open_importing
    from switchyard.services.mlflow_models import MlflowModels
    from switchyard.services.registering_elsewhere import Ports, register_first_seen

    agreed = read_digests(settings.model_pickle_digests)

    def take_run(run_id: str, path: str) -> ModelVersion:
        ports = Ports(open_importing(outside), outside.open_registry, lambda: outside.tracking, agreed)
        return register_first_seen(ports, run_id, path, settings.model_name)

    return MlflowModels(
        outside.open_registry,
        partial(open_importing, outside),
        settings.model_name,
        take_run=take_run,
        open_tracking=lambda: outside.tracking,
        path=settings.model_artifact_path,
        pickle_digests=agreed,
    ).take


def to_ports(outside: Outside, import_from_mlflow: Callable[[Source], ModelVersion]) -> model_sources.Ports:
    """Returns the ports that finding a model needs. Raises: BadSetup: the database has another version's schema."""
    settings = outside.settings
    return model_sources.Ports(
        runs=outside.runs,
        jobs=outside.jobs,
        models=outside.models,
        open_objects=outside.objects,
        model_name=settings.model_name,
        cache=Path(settings.model_cache_dir),
        pickle_digests=read_digests(settings.model_pickle_digests),
        import_from_mlflow=import_from_mlflow,
        filename=settings.model_filename,
    )


def choose_sources(outside: Outside, model: str) -> Sequence[Source]:
    """Returns the sources in order: only `model` if the command line names one, else those of the settings.

    If no setting names one, the source is the champion of the only model.

    Raises: NotFound: there is no model, or there are several.
    """
    if model:
        return [Source("--model", Kind.REGISTRY, model)]
    found = list_sources(to_named(outside.settings))
    return found or [Source("default", Kind.REGISTRY, f"models:/{_find_only(outside.models)}/Production")]


def to_named(settings: Settings) -> dict[str, str]:
    """Returns the settings that name a model, by variable."""
    return {
        "MODEL_VARIANT": settings.model_variant,
        "MLFLOW_MODEL_URI": settings.mlflow_model_uri,
        "MODEL_RUN_ID": settings.model_run_id,
        "RUN_ID": settings.run_id,
        "MODEL_RUN_NAME": settings.model_run_name,
        "MODEL_FILE": settings.model_file,
        "AIP_STORAGE_URI": settings.aip_storage_uri,
    }


def _find_only(models: Models) -> str:
    found = models.list_models()
    answering = [model.name for model in found if model.production is not None]
    names = answering or [model.name for model in found]  # one that was only served has no champion
    if len(names) == 1:
        return names[0]
    if not names:
        raise NotFound("no model is registered yet: switchyard register <run> --name <model>, then switchyard promote")
    raise NotFound(f"there are several models ({', '.join(names)}); name one: switchyard predict --model {names[0]}")
