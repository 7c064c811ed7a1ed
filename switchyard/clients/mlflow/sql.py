"""Picks the reader of an MLflow backend store by its URI."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import exc, make_url

from switchyard.core.errors import BadSetup

if TYPE_CHECKING:
    from switchyard.clients.mlflow.mysql import MysqlTracking
    from switchyard.clients.mlflow.postgres import PostgresTracking
    from switchyard.clients.mlflow.sqlite import SqliteTracking

_POSTGRES: Final = ("postgresql", "postgres", "postgresql+psycopg2", "postgresql+psycopg")
_MYSQL: Final = ("mysql", "mariadb")  # by any driver: MLflow's own is not used
_OVER_REST: Final = "read any other store over REST (MLFLOW_TRACKING_URI)"


def open_store(
    uri: str, *, setting: str = "MLFLOW_BACKEND_STORE_URI", otherwise: str = _OVER_REST
) -> "PostgresTracking | SqliteTracking | MysqlTracking":
    """Opens the backend store at `uri`, as the MLflow server's ``--backend-store-uri`` names it.

    It connects at its first use. An error names the `setting` that `uri` is of, and what to do `otherwise`.

    Raises:
        BadSetup: there is no such URI, or we do not read that database by SQL.
    """
    try:
        url = make_url(uri)
    except (exc.ArgumentError, ValueError) as err:
        problem = "what is set is not one" if uri else "it is not set"
        raise BadSetup(f"{setting} must be a database URL, as in .env.example; {problem}") from err
    if url.drivername == "sqlite" and url.database and url.database != ":memory:":
        from switchyard.clients.mlflow.sqlite import SqliteTracking

        path = Path(url.database).absolute()
        if path.is_dir():
            raise BadSetup(
                f"{setting} must name a file after sqlite:///; {path} is a folder. MLflow's own folder (mlruns) is "
                f"read by MLFLOW_TRACKING_URI={path}"
            )
        return SqliteTracking(path)
    if url.drivername in _POSTGRES and url.database:
        from psycopg.conninfo import make_conninfo

        from switchyard.clients.mlflow.postgres import PostgresTracking

        shown = url.set(drivername="postgresql", query={}).render_as_string(hide_password=True)
        # Not as a URL: SQLAlchemy leaves a space in a password as it is, which libpq refuses.
        options = {name: ",".join(values) for name, values in url.normalized_query.items()}
        found = url.translate_connect_args(username="user", database="dbname")
        return PostgresTracking(make_conninfo(**found, **options), f"MLflow store {shown}")
    if url.get_backend_name() in _MYSQL and url.database:
        from switchyard.clients.mlflow.mysql import MysqlTracking
        from switchyard.clients.mlflow.mysql_connection import MysqlServer

        return MysqlTracking(MysqlServer(url, setting))
    shown = url.set(query={}).render_as_string(hide_password=True)
    raise BadSetup(
        f"{setting} must be postgresql://..., postgresql+psycopg2://..., postgresql+psycopg://..., "
        f"mysql+pymysql://..., mysql://... or sqlite:///<path of a file>; got {shown}; {otherwise}"
    )
