"""Turns a version's files into a model that answers: through the one door, then read, then tried."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from switchyard.clients.scoring.open import open_recommender
from switchyard.core.errors import BadRecord, NotFound, TryAgain
from switchyard.core.ports import Objects, Recommender, RowModel
from switchyard.core.predictions.signature import find_bad_answers, make_example
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
    """Returns the model, warm, and tried with buyers that it knows and with one that it does not.

    A second call reads the files again, from `cache` where they are there and whole.

    Raises:
        BadRecord: the files are not those that were registered, or are not a model that answers. It names all that is
            wrong. BadRequest: the flavor cannot be read. TryAgain, BadSetup: the files cannot be reached, or not by us.
    """
    model = open_recommender(_take_files(version, manifest, open_objects, cache))
    try_model(model, _say_which(version))
    return model


OpenRows = Callable[[Path, Manifest, str], RowModel]
"""Opens a model of rows in the folder that holds the manifest's files. The text names their owner in messages.
Raises: BadRecord: they are not a model; BadSetup: what reads it is not installed."""


def load_rows(
    version: ModelVersion,
    manifest: Manifest,
    open_objects: Callable[[str], Objects],
    cache: Path,
    open_rows: OpenRows,
) -> RowModel:
    """Loads a model of rows, tried with one row. A second call starts another process, and reads the files again.

    Raises: as `load_model`, and what `open_rows` raises."""
    folder = _take_files(version, manifest, open_objects, cache)
    where = _say_which(version)
    model = open_rows(folder, manifest, where)
    try:
        try_rows(model, where)
    except BaseException:
        model.close()
        raise
    return model


def try_rows(model: RowModel, where: str) -> None:
    """Tries a model as `try_model` does, with a row of zeros and empty texts."""
    try:
        values = model.answer([make_example(model.signature)])
    except TryAgain as err:  # the first request would fail in the same way
        raise BadRecord(where, [f"it failed when it was tried, and was not taken: {err}"]) from err
    if problems := find_bad_answers(values, count=1):
        raise BadRecord(where, [f"it failed when it was tried, and was not taken: {problem}" for problem in problems])


def _take_files(version: ModelVersion, manifest: Manifest, open_objects: Callable[[str], Objects], cache: Path) -> Path:
    try:
        return take_copy(manifest, open_objects(version.source_uri), version.source_uri, cache)
    except NotFound as err:  # the version is there, so its files are missing
        raise BadRecord(_say_which(version), [f"its files are gone: {err}"]) from err


def _say_which(version: ModelVersion) -> str:
    return f"version {version.version} of model {version.name} ({version.source_uri})"


def try_model(model: Recommender, where: str) -> None:
    """Tries the model, which also warms it: first answers are the slowest. Raises: BadRecord: an answer is wrong."""
    problems = []
    for buyer in (*model.list_buyers(TRIED_BUYERS), _STRANGER):
        answer = model.recommend(buyer, TRIED_K)
        problems += find_problems(answer, k=TRIED_K, products=model.products)
        if answer.known != (buyer != _STRANGER):
            problems.append(f"a buyer is {'known' if answer.known else 'unknown'}, and must not be")
    if problems:
        raise BadRecord(where, [f"it was tried, and not taken: {problem}" for problem in dict.fromkeys(problems)])
