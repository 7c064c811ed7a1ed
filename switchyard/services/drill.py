"""A restore drill: what an MLflow server answers over a restored database, held against the export."""

from datetime import UTC, datetime

from switchyard.core.decommission.drilling import Drilled, choose_runs, compare_models, compare_runs, cut
from switchyard.core.ports import RegistrySource, Tracking
from switchyard.core.registry.importing import SourceModel


def drill(
    export_uri: str,
    *,
    schema: str,
    server: str,
    exported: tuple[Tracking, RegistrySource],
    answered: tuple[Tracking, RegistrySource],
    runs: int,
) -> Drilled:
    """Compares `runs` runs whole, and all registered models. Reads both, changes neither; a second call compares again.

    Raises: TryAgain, BadSetup: as the ports."""
    (export, export_models), (mlflow, mlflow_models) = exported, answered
    ids = [run.run_id for run in export.list_runs()]
    chosen = choose_runs(ids, runs)
    of_runs = compare_runs(chosen, list(export.read_runs(chosen)), list(mlflow.read_runs(chosen)))
    here = len(list(mlflow.list_runs()))
    absent = [f"the export holds {len(ids)} runs, and the server tells of {here}"] if here != len(ids) else []
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
