"""A version's files become a model that answers: through the one door, then read, then tried."""

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
    """The model, warm, and tried with buyers whom it knows and with one whom it does not. A second call reads the
    files again, from `cache` where they are there and whole.

    Raises:
        BadRecord: the files are not those that were registered, or no model that answers; all that is wrong.
        BadRequest: a flavor that cannot be read. TryAgain, BadSetup: the files cannot be reached, or not by us.
    """
    model = open_recommender(_take_files(version, manifest, open_objects, cache))
    try_model(model, _say_which(version))
    return model


OpenRows = Callable[[Path, Manifest, str], RowModel]
"""What opens a model of rows: in the folder that holds the manifest's files; the text says in a message whose they are.
Raises: BadRecord: they are no model; BadSetup: what reads it is not installed."""


def load_rows(
    version: ModelVersion,
    manifest: Manifest,
    open_objects: Callable[[str], Objects],
    cache: Path,
    open_rows: OpenRows,
) -> RowModel:
    """The same of a model of rows, tried with one row. A second call starts another process, and reads the files again.

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
    """As `try_model`, with a row of zeros and empty texts."""
    try:
        values = model.answer([make_example(model.signature)])
    except TryAgain as err:  # it would end at the first request in the same way
        raise BadRecord(where, [f"it was tried, and not taken: {err}"]) from err
    if problems := find_bad_answers(values, count=1):
        raise BadRecord(where, [f"it was tried, and not taken: {problem}" for problem in problems])


def _take_files(version: ModelVersion, manifest: Manifest, open_objects: Callable[[str], Objects], cache: Path) -> Path:
    try:
        return take_copy(manifest, open_objects(version.source_uri), version.source_uri, cache)
    except NotFound as err:  # the version is there, so what is missing are its files
        raise BadRecord(_say_which(version), [f"its files are gone: {err}"]) from err


def _say_which(version: ModelVersion) -> str:
    return f"version {version.version} of model {version.name} ({version.source_uri})"


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
