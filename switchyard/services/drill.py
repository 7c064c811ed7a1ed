"""A restore drill: compares what an MLflow server answers over a restored database with the export."""

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import requests

from switchyard.clients.connect import Outside
from switchyard.clients.mlflow.export.restore import restore_store
from switchyard.clients.mlflow.http import MlflowServer
from switchyard.clients.mlflow.rest_store import RestStore
from switchyard.clients.mlflow.temporary_server import read_version, run_server
from switchyard.core.artifacts.plan import ArtifactRun, How
from switchyard.core.decommission.drilling import (
    Drilled,
    choose_copies,
    choose_runs,
    compare_models,
    compare_runs,
    cut,
    to_environment_name,
)
from switchyard.core.decommission.evidence import DrillEvidence, ExportEvidence
from switchyard.core.decommission.gates import Against
from switchyard.core.errors import BadSetup
from switchyard.core.ports import RegistrySource, Tracking
from switchyard.core.registry.importing import SourceModel
from switchyard.services import artifacts


class RestoreDrill:
    """Implements `core.decommission.readers.Drill` on this machine.

    Args:
        entrypoint: `deployments/mlflow/entrypoint.py`, which starts the server.
        environment: the folder of a Python with MLflow; empty: the folder in STATE_DIR for the exported schema.
    """

    def __init__(self, outside: Outside, *, entrypoint: Path, environment: str = "") -> None:
        self._outside = outside
        self._entrypoint = entrypoint
        self._environment = environment

    def __call__(self, against: Against, export: ExportEvidence) -> DrillEvidence:
        """See the port. Fills the database of MLFLOW_RESTORE_STORE_URI, which stays.

        A second call compares every row of it before it drills again."""
        found = self._drill(export.uri, against.rules.drill_runs)
        compared, damaged = compare_copies(self._outside, found.runs, against.rules.drill_runs)
        return DrillEvidence(
            inventory=against.inventory,
            read_at=datetime.now(UTC),
            export_digest=export.digest,
            drilled_at=found.drilled_at,
            mlflow_version=found.server,
            asked_runs=len(found.runs),
            of_runs=found.of_runs,
            equal_runs=found.equal_runs,
            registry_equal=found.registry_equal,
            artifacts_equal=compared > 0 and not damaged,
            artifacts_compared=compared,
            differences=(*found.differences, *cut(damaged)),
        )

    def _drill(self, export_uri: str, runs: int) -> Drilled:
        outside = self._outside
        settings = outside.settings
        if not settings.mlflow_restore_store_uri:
            raise BadSetup(
                "A drill needs an empty database of the kind that was exported. Make one, then name it: "
                "export MLFLOW_RESTORE_STORE_URI=postgresql://<user>:<password>@<host>/<database>"
            )
        export, _ = restore_store(export_uri, outside.objects(export_uri), settings.mlflow_restore_store_uri)
        folder = Path(self._environment or Path(settings.state_dir) / to_environment_name(export.alembic_version))
        python = folder / "bin" / "python"
        if not python.exists():
            raise BadSetup(f"{folder} has no MLflow. Install it: make {folder}/.installed")
        with (
            run_server(python, self._entrypoint, settings.mlflow_restore_store_uri) as url,
            closing(RestStore(MlflowServer(url, requests.Session))) as store,
            closing(outside.open_export(export_uri)) as exported,
            closing(outside.open_registry(export_uri)) as models,
        ):
            return drill(
                export_uri,
                schema=export.alembic_version,
                server=read_version(python),
                exported=(exported, models),
                answered=(store, store),
                runs=runs,
            )


def compare_copies(outside: Outside, run_ids: Sequence[str], wanted: int) -> tuple[int, list[str]]:
    """Reads the copied artifacts of runs, every byte; returns of how many runs, and what differs from what was copied.

    The runs are `run_ids`, and others until there are `wanted`. Changes nothing; a second call reads again."""
    every = outside.artifact_copies.read(outside.artifact_copies.list_ids())
    chosen = choose_copies(run_ids, [run_id for run_id, copy in every.items() if copy.objects], wanted)
    found = []
    for run_id in chosen:
        how = How(to_uri=every[run_id].to_uri)
        verified = artifacts.verify_runs(outside, [ArtifactRun(mlflow_run_id=run_id)], how, against_source=False)
        found += [f"artifacts of run {run_id}: {one}" for line in verified for one in line.problems]
    return len(chosen), found if chosen else ["artifacts: none compared"]


def drill(
    export_uri: str,
    *,
    schema: str,
    server: str,
    exported: tuple[Tracking, RegistrySource],
    answered: tuple[Tracking, RegistrySource],
    runs: int,
) -> Drilled:
    """Compares `runs` whole runs, and all registered models. Changes neither side; a second call compares again.

    Raises: TryAgain, BadSetup: as the ports."""
    (export, export_models), (mlflow, mlflow_models) = exported, answered
    ids = [run.run_id for run in export.list_runs()]
    chosen = choose_runs(ids, runs)
    of_runs = compare_runs(chosen, list(export.read_runs(chosen)), list(mlflow.read_runs(chosen)))
    here = len(list(mlflow.list_runs()))
    absent = [f"the export holds {len(ids)} runs, and the server has {here}"] if here != len(ids) else []
    models = export_models.read_models()
    of_models = compare_models(models, mlflow_models.read_models())
    return Drilled(
        export_uri=export_uri,
        schema=schema,
        server=server,
        runs=chosen,
        of_runs=len(ids),
        equal_runs=0 if absent else len(chosen) - len(of_runs),
        models=len(models),
        versions=sum(len(model.versions) for model in models if isinstance(model, SourceModel)),
        registry_equal=not of_models,
        differences=cut([*absent, *of_runs, *of_models]),
        drilled_at=datetime.now(UTC),
    )
