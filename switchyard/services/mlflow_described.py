"""Says in words which MLflow is read: for a manifest, which outlives it."""

from contextlib import closing

from switchyard.clients.connect import Outside


def describe(outside: Outside, export_uri: str = "") -> str:
    """The export at `export_uri`, or the MLflow that the settings name, with its schema's version where it has one;
    never a password.

    Every part of an export is read, and must be what was exported.

    Raises: BadSetup: there is none, or none that we know; BadRecord: an export that was changed; TryAgain: it
    does not answer.
    """
    if export_uri:
        from switchyard.clients.mlflow.export.writer import check_export, read_export

        outside.open_export(export_uri).close()  # refuses a schema that we do not know
        objects = outside.objects(export_uri)
        export = read_export(export_uri, objects)
        # A manifest calls MLflow safe to delete because of it: all of it, also tables that no history is made of.
        check_export(export, export_uri.rstrip("/"), objects)
        return (
            f"the export at {export_uri}, taken at {export.taken_at:%Y-%m-%dT%H:%M:%SZ} ({export.dialect}, "
            f"MLflow schema {export.alembic_version}, {export.rows} rows)"
        )
    with closing(outside.tracking) as tracking:
        if outside.settings.mlflow_backend_store_uri:
            from switchyard.clients.mlflow.postgres import PostgresTracking
            from switchyard.clients.mlflow.sqlite import SqliteTracking

            assert isinstance(tracking, PostgresTracking | SqliteTracking)
            return f"{tracking.where} by SQL (schema {tracking.read_version()})"
        return f"the MLflow server {outside.settings.mlflow_tracking_uri} over REST"
