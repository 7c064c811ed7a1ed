"""The application: every route over one wiring."""

from importlib.metadata import version

from fastapi import FastAPI

from serving.access import Access, Door
from serving.access_document import document_tokens
from serving.api import add_api, add_health
from serving.assets import add_assets
from serving.cross_origin import CrossOrigin
from serving.deadline import Deadline
from serving.editing import add_editing
from serving.examples import document_examples
from serving.login import add_login
from serving.metrics import Measured, add_metrics
from serving.pages import add_pages
from serving.problems import add_problem_handlers, document_problems
from switchyard.clients.connect import Outside
from switchyard.core.access.rules import Guard, list_origins
from switchyard.core.errors import BadSetup


def create_app(outside: Outside, *, only_events: bool = False) -> FastAPI:
    """Makes the API and the pages over what `outside` is connected to; connects at the first request that needs it.

    With PUSH_AUDIENCE set it also takes Pub/Sub's pushes; with `only_events` it takes nothing but these and health
    checks: such a server may be open to the world, because it checks each sender itself.

    Everyone else must pass the door (`serving.access`).

    Raises: BadSetup: what taking pushes needs is missing, or API_TOKENS_FILE is not what it must be.
    """
    app = FastAPI(
        title="Switchyard results",
        version=version("switchyard"),
        description="Published training histories, ready to chart.",
        openapi_url="/api/openapi.json",
        # FastAPI's documentation pages load their scripts from the network.
        docs_url=None,
        redoc_url=None,
        # Both spellings are routes of their own: a redirect would name this host, which a proxy may hide.
        redirect_slashes=False,
    )
    access = None if only_events else Access(outside.settings)
    requests = None
    if access is None:
        add_health(app, outside)
    else:
        add_api(app, outside)
        add_editing(app, outside)
        add_pages(app, outside)
        add_assets(app)
        requests = add_metrics(app, outside, access)
        if access.guard is Guard.TOKENS:
            add_login(app, access)
    if only_events and not outside.settings.push_audience:
        raise BadSetup(
            "PUSH_AUDIENCE is not set, so --only-events has nothing to serve. Name the audience of Pub/Sub's tokens"
        )
    if outside.settings.push_audience:
        # Only here: what it needs (google-auth, Prefect's client) is not loaded, and need not be installed, elsewhere.
        from serving.push import add_push

        add_push(app, outside)
    add_problem_handlers(app)
    document_problems(app)
    document_examples(app)
    if access is not None and access.guard is Guard.TOKENS:
        document_tokens(app)
    app.add_middleware(Deadline)
    # Each stands in front of those above it: what the door refuses is counted, and other sites may read why.
    if access is not None and requests is not None:
        app.add_middleware(Door, access=access)
        if origins := list_origins(outside.settings.cors_origins):
            app.add_middleware(CrossOrigin, origins=origins)
        app.add_middleware(Measured, requests=requests)
    return app
