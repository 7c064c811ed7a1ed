"""A version's files become a model in memory: through the one door, then read, then tried."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from switchyard.clients.scoring.open import open_recommender
from switchyard.core.errors import BadRecord, NotFound
from switchyard.core.ports import Objects, Recommender
from switchyard.core.predictions.trying import find_problems
from switchyard.core.registry.manifest import Manifest
from switchyard.core.registry.rows import ModelVersion
from switchyard.services.private_copy import take_copy

TRIED_K: Final = 20
TRIED_BUYERS: Final = 3
_STRANGER: Final = "\x00 no buyer has this id"


def load_model(
    version: ModelVersion, manifest: Manifest, open_objects: Callable[[str], Objects], cache: Path
) -> Recommender:
    """The model, warm, and tried with buyers whom it knows and with one whom it does not. A second call reads the
    files again, from `cache` where they are there and whole.

    Raises:
        BadRecord: the files are not those that were registered, or no model that answers; all that is wrong.
        BadRequest: a flavor that cannot be read. TryAgain, BadSetup: the files cannot be reached, or not by us.
    """
    where = f"version {version.version} of model {version.name} ({version.source_uri})"
    try:
        folder = take_copy(manifest, open_objects(version.source_uri), version.source_uri, cache)
    except NotFound as err:  # the version is there, so what is missing are its files
        raise BadRecord(where, [f"its files are gone: {err}"]) from err
    model = open_recommender(folder)
    try_model(model, where)
    return model


def try_model(model: Recommender, where: str) -> None:
    """The first answers are the slowest, so this also warms it. Raises: BadRecord: what it answers is no answer."""
    problems = []
    for buyer in (*model.list_buyers(TRIED_BUYERS), _STRANGER):
        answer = model.recommend(buyer, TRIED_K)
        problems += find_problems(answer, k=TRIED_K, products=model.products)
        if answer.known != (buyer != _STRANGER):
            problems.append(f"a buyer is {'known' if answer.known else 'unknown'}, and must not be")
    if problems:
        raise BadRecord(where, [f"it was tried, and not taken: {problem}" for problem in dict.fromkeys(problems)])
