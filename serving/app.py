"""The application: every route over one wiring."""

from importlib.metadata import version

from fastapi import FastAPI

from clients.connect import Outside
from serving.api import add_api
from serving.assets import add_assets
from serving.pages import add_pages
from serving.problems import add_problem_handlers


def create_app(outside: Outside) -> FastAPI:
    """The API and the pages over what `outside` is connected to; connects at the first request that needs it.

    With PUSH_AUDIENCE set it also takes Pub/Sub's pushes. Raises: BadSetup: what that needs is missing.
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
    add_api(app, outside)
    add_pages(app, outside)
    add_assets(app)
    if outside.settings.push_audience:
        # Only here: what it needs (google-auth, Prefect's client) is not loaded, and need not be installed, elsewhere.
        from serving.push import add_push

        add_push(app, outside)
    add_problem_handlers(app)
    return app
