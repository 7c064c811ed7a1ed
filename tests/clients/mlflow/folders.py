"""Folders of MLflow runs (`mlruns`), written as MLflow's own file store does.

Source: mlflow/store/tracking/file_store.py, 2.9.2.
"""

from typing import Any
from urllib.parse import quote

import yaml

from switchyard.clients.objects.open import open_objects
from switchyard.core.mlflow.raw_run import Points, RawRun
from switchyard.core.ports import ANY

STATUS = {"RUNNING": 1, "SCHEDULED": 2, "FINISHED": 3, "FAILED": 4, "KILLED": 5}


def write_folder(root: str, runs: list[RawRun]) -> dict[str, str]:
    """Makes the folder at `root`, a URI, of just these runs; returns their folders' URIs, by run id.

    The URIs end with a slash. What is there already, and is as it should be, is not touched."""
    objects = open_objects(root)
    to_name = quote if root.startswith("file:") else str
    folders: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for run in runs:
        info = run.info
        parent = f"{root}/.trash" if info.experiment_lifecycle == "deleted" else root
        folder = f"{parent}/{info.experiment_id}/"
        folders[info.run_id] = f"{folder}{info.run_id}/"
        experiment = {
            "artifact_location": folder,
            "creation_time": 1_690_000_000_000,
            "experiment_id": info.experiment_id,
            "last_update_time": 1_690_000_000_000,
            "lifecycle_stage": info.experiment_lifecycle,
            "name": info.experiment,
        }
        files[f"{folder}meta.yaml"] = to_yaml(experiment)
        files[f"{folders[info.run_id]}meta.yaml"] = to_yaml(to_meta(run))
        for kind, texts in (("params", run.params), ("tags", run.tags)):
            files |= {f"{folders[info.run_id]}{kind}/{to_name(key)}": text.encode() for key, text in texts.items()}
        for key, points in run.metrics.items():
            files[f"{folders[info.run_id]}metrics/{to_name(key)}"] = to_lines(points)
    there = set(objects.list(f"{root}/"))
    for uri in there - files.keys():
        objects.delete(uri, if_generation=ANY)
    for uri, data in files.items():
        if uri not in there or objects.read(uri)[0] != data:
            objects.write(uri, data, if_generation=ANY)
    return folders


def to_meta(run: RawRun) -> dict[str, Any]:
    info = run.info
    return {
        "artifact_uri": info.artifact_uri,
        "deleted_time": None,
        "end_time": info.ended_at_ms,
        "entry_point_name": "",
        "experiment_id": info.experiment_id,
        "lifecycle_stage": info.lifecycle,
        "run_id": info.run_id,
        "run_name": info.name,
        "run_uuid": info.run_id,
        "source_name": "",
        "source_type": 4,
        "source_version": "",
        "start_time": info.started_at_ms,
        "status": STATUS[info.status],
        "tags": [],
        "user_id": "trainer",
    }


def to_yaml(values: dict[str, Any]) -> bytes:
    return yaml.safe_dump(values, default_flow_style=False, allow_unicode=True).encode()


def to_lines(points: Points) -> bytes:
    rows = zip(points.timestamps_ms, points.values, points.steps, strict=True)
    return "".join(f"{time} {value} {step}\n" for time, value, step in rows).encode()
