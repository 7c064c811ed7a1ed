"""Import models: makes an MLflow registry's models ours, with their numbers, stages, aliases, tags and files."""

from functools import partial

from prefect import flow, get_run_logger

from flows.answers.imported import ImportFailed, ImportModelsResult
from flows.registry_parameters import ImportModelsParameters
from flows.signatures import takes
from switchyard.core.errors import BadRequest, catch, to_message
from switchyard.core.registry.importing import LostModel, SourceModel, choose, read_pairs, read_productions
from tasks.importing import begin_model, finish_model, import_version, read_registry, verify_model
from tasks.show import name_flow_run
from tasks.starter import with_starter


@flow(name="import-models")
@takes(ImportModelsParameters)
def import_models(wanted: ImportModelsParameters) -> ImportModelsResult:
    """Imports all models, or those named. Run again, it goes on where it was, and brings what is new.

    It only reads MLflow's registry.

    It imports all others before it fails, and names the models that could not be imported, and what differs.
    """
    wanted = with_starter(wanted)
    name_flow_run("import-models")
    names, productions = read_pairs(wanted.name), read_productions(wanted.production)
    where, found = read_registry(wanted.export_uri, wanted.workspace)
    models = [model for model in found if not wanted.only or model.name in wanted.only]
    known = {model.name for model in models}
    if missing := sorted({*names, *productions, *wanted.only} - known):
        raise BadRequest(f"MLflow has no model {', '.join(missing)}. It has {', '.join(sorted(known))}")
    result = ImportModelsResult(source=where)
    for at, model in enumerate(models, 1):
        name = names.get(model.name, model.name)
        get_run_logger().info("model %s (%d of %d)", model.name, at, len(models))
        err = catch(partial(_import, model, name, productions.get(model.name), wanted, result))
        if err is not None:
            result.failed[model.name] = to_message(err)
            get_run_logger().error("model %s is not imported: %s", model.name, result.failed[model.name])
    if result.failed or result.differs:
        raise ImportFailed(result)
    return result


def _import(
    model: SourceModel | LostModel,
    name: str,
    production: int | None,
    wanted: ImportModelsParameters,
    result: ImportModelsResult,
) -> None:
    result.models += 1
    if isinstance(model, LostModel):
        raise model.error
    if not wanted.verify_only:
        _bring(model, name, production, wanted, result)
    result.add_verified(name, verify_model(name, model))


def _bring(
    model: SourceModel, name: str, production: int | None, wanted: ImportModelsParameters, result: ImportModelsResult
) -> None:
    where, by = result.source, wanted.by
    chosen = choose(model, production)
    begin_model(name, model)
    for at, version in enumerate(model.versions, 1):
        done = import_version(
            name, model, version.number, chosen, where, wanted.artifacts_destination, by, wanted.artifacts_roots
        )
        result.add(name, done)
        get_run_logger().info("model %s: version %d (%d of %d)", name, version.number, at, len(model.versions))
        if done.no_files:
            get_run_logger().warning("model %s: version %d has no files: %s", name, version.number, done.no_files)
    for said in [*chosen.listed, *finish_model(name, model, chosen, production, where, by)]:
        result.listed.setdefault(name, []).append(said)
        get_run_logger().warning("model %s: %s", name, said)
