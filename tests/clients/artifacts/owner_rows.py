"""Logged models and traces of MLflow 3, added to a store in an SQLite file.

Source: mlflow/store/tracking/dbmodels/models.py, 3.17.2; the columns that say nothing of files are left out.
"""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path


def add_owners(path: Path, models: Mapping[str, tuple[str, str | None]], traces: Mapping[str, str]) -> None:
    """`models` by id: their place, and the run that made them; `traces` by id: their place."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "CREATE TABLE logged_models (model_id VARCHAR(36) NOT NULL PRIMARY KEY, experiment_id INTEGER NOT NULL, "
            "name VARCHAR(500) NOT NULL, artifact_location VARCHAR(1000) NOT NULL, source_run_id VARCHAR(32))"
        )
        connection.execute(
            "CREATE TABLE trace_tags (key VARCHAR(250) NOT NULL, value VARCHAR(8000), request_id VARCHAR(50) NOT NULL, "
            "PRIMARY KEY (key, request_id))"
        )
        connection.executemany(
            "INSERT INTO logged_models VALUES (?, 4, 'model', ?, ?)",
            [(model_id, place, run_id) for model_id, (place, run_id) in models.items()],
        )
        connection.executemany(
            "INSERT INTO trace_tags VALUES (?, ?, ?)",
            [
                row
                for trace_id, place in traces.items()
                for row in (("mlflow.artifactLocation", place, trace_id), ("mlflow.traceName", "predict", trace_id))
            ],
        )
