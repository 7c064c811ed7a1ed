"""Compares the models that were imported with MLflow's registry, one after the other."""

from functools import partial

from switchyard.core.errors import SwitchyardError, catch, to_message
from switchyard.core.registry.importing import LostModel, SourceModel
from switchyard.core.verify.models import VerifiedModel, VerifiedModels, to_absent, to_verified
from tasks.importing import list_imported, read_registry, verify_model


def verify_models(export_uri: str) -> VerifiedModels:
    """Says what of the registry is here, and equal.

    Trouble with the registry, or with one model, is said in its place: the others, and the runs, are still compared.
    """
    read = catch(lambda: read_registry(export_uri, ""))
    if isinstance(read, Exception):
        return VerifiedModels(unread=_say(read))
    where, models = read
    names = list_imported()
    found: list[VerifiedModel] = []
    for model in models:
        if isinstance(model, LostModel):
            found.append(VerifiedModel(name=model.name, unread=to_message(model.error)))
            continue
        here = names.get((model.origin.workspace, model.name), [])
        found += [_verify(model, name) for name in here] or [to_absent(model)]
    return VerifiedModels(compared_with=where, models=found)


def _verify(model: SourceModel, name: str) -> VerifiedModel:
    compared = catch(partial(verify_model, name, model))
    if isinstance(compared, Exception):
        return VerifiedModel(name=model.name, here=name, versions=len(model.versions), unread=_say(compared))
    return to_verified(model, name, compared)


def _say(err: Exception) -> str:
    if not isinstance(err, SwitchyardError):
        raise err
    return to_message(err)
