"""Which of several files is the model, or its tokenizer if an operator says so.

The settings are `MODEL_FILENAME` and `TOKENIZER_FILENAME`.
"""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final

from switchyard.core.errors import BadRequest
from switchyard.core.registry.flavors import TWO_TOWER, choose_flavor, is_tokenizer, list_candidates, list_model_files

FOLDER: Final = "model"
SHOWN: Final = 5


def leave_out_others(paths: Sequence[str], filename: str) -> list[str]:
    """Returns the paths without all model files in ``model/`` but ``model/<filename>``.

    A two-tower model has no such file, and none of its paths is left out.

    >>> leave_out_others(["model/a.ubj", "model/b.skops", "model/notes.txt"], "b.skops")
    ['model/b.skops', 'model/notes.txt']

    Raises: BadRequest: there is no file of that name.
    """
    if not filename or choose_flavor(paths) == TWO_TOWER:
        return list(paths)
    chosen, others = str(PurePosixPath(FOLDER, filename)), list_model_files(paths)
    if chosen not in paths:
        raise BadRequest(
            f"MODEL_FILENAME={filename[:80]} is not one of the model's files. It has {_show(others)}: name one of "
            "these, or leave the setting out"
        )
    return [path for path in paths if path == chosen or path not in others]


def leave_out_pickled_tokenizers(paths: Sequence[str], filename: str) -> list[str]:
    """Returns the paths without pickles of tokenizers if an operator names the JSON to read (`TOKENIZER_FILENAME`).

    >>> leave_out_pickled_tokenizers(["model/mood.h5", "model/tokenizer.pkl", "model/words.json"], "words.json")
    ['model/mood.h5', 'model/words.json']
    >>> leave_out_pickled_tokenizers(["model/mood.h5", "model/tokenizer.pkl"], "")
    ['model/mood.h5', 'model/tokenizer.pkl']
    """
    return [path for path in paths if not (filename and is_tokenizer(path))]


def say_several(paths: Sequence[str]) -> str:
    """Says that there are several models, and how to name one; empty: there are not.

    >>> say_several(["model/a.ubj", "model/b.skops", "model/notes.txt"])
    'there are several model files: model/a.ubj, model/b.skops. Name the one to serve: MODEL_FILENAME=a.ubj'
    """
    found = list_candidates(paths)
    if len(found) < 2 or choose_flavor(paths):
        return ""
    first = PurePosixPath(found[0]).name
    return f"there are several model files: {_show(found)}. Name the one to serve: MODEL_FILENAME={first}"


def _show(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - SHOWN:,} more" if len(paths) > SHOWN else ""
    return (", ".join(path[:80] for path in paths[:SHOWN]) or "no model file in model/") + more
