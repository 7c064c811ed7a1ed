"""Which of several files of one format is the model, where an operator says so (`MODEL_FILENAME`)."""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final

FOLDER: Final = "model"


def leave_out_others(paths: Sequence[str], filename: str) -> list[str]:
    """The paths without the files beside ``model/<filename>`` that end as it does; all of them where it is not there.

    >>> leave_out_others(["model/a.ubj", "model/b.ubj", "model/notes.txt"], "b.ubj")
    ['model/b.ubj', 'model/notes.txt']
    >>> leave_out_others(["model/a.ubj", "model/b.ubj"], "c.ubj")
    ['model/a.ubj', 'model/b.ubj']
    """
    chosen = PurePosixPath(FOLDER, filename)
    if not filename or str(chosen) not in paths:
        return list(paths)
    return [path for path in paths if path == str(chosen) or not _is_beside(PurePosixPath(path), chosen)]


def _is_beside(path: PurePosixPath, chosen: PurePosixPath) -> bool:
    return (path.parent, path.suffix) == (chosen.parent, chosen.suffix)
