"""The process that reads a pickle: bounded, confined by the kernel, and told by what names it may be made of.

No pickle is read before the process is confined, and none that names anything else than its library's classes is read
to its end. That is no promise that its code is harmless: it is why it is run here, once, and never in a server.
"""

import importlib
import io
import os
import pickle
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from serving.convert.wire import Made, Wanted
from serving.predictions.loaders.__main__ import bound, with_deadline
from serving.predictions.loaders.confinement import confine, list_python_paths
from serving.predictions.loaders.loading import NotLoaded
from switchyard.core.errors import BadRequest
from switchyard.core.predictions.pickles import (
    FUNCTIONS,
    KINDS,
    PREFIX_OF_FUNCTIONS,
    SUFFIXES_OF_FUNCTIONS,
    Kind,
    make_rows,
    may_name,
    read_csv,
)


def main() -> int:
    """The exit status: 0, and what came of it on the standard output."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that a library prints is taken for the reply
    wanted = msgspec.json.decode(sys.stdin.buffer.read(), type=Wanted)
    bound(wanted.memory_bytes, wanted.file_bytes)
    tempfile.tempdir = os.environ["HOME"] = os.environ["TMPDIR"] = wanted.scratch
    os.chdir(wanted.scratch)
    unconfined = confine([wanted.scratch, *list_python_paths()], wanted.scratch)
    with_deadline(wanted.seconds)
    made = msgspec.structs.replace(_convert(wanted), unconfined=unconfined)
    replies.write(msgspec.json.encode(made))
    replies.close()
    return 0


def _convert(wanted: Wanted) -> Made:
    kind = next(kind for kind in KINDS if kind.name == wanted.kind)
    make = {"xgboost": _make_xgboost, "sklearn": _make_sklearn, "tokenizer": _make_tokenizer}[kind.name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return make(wanted, kind)
        except NotLoaded as err:
            return Made(problems=list(err.problems))
        except BadRequest as err:
            return Made(problems=[str(err)])
        except ModuleNotFoundError as err:
            said = (
                f"a {kind.title} needs {err.name}, which is not installed for {sys.executable}. Install it, or name "
                "another interpreter: MODEL_LOADER_PYTHON"
            )
            return Made(problems=[said])
        except MemoryError:
            return Made(problems=[f"it needs more than the {wanted.memory_bytes:,} bytes of memory that it may have"])
        except Exception as err:  # noqa: BLE001 - a pickle fails in any way
            said = next((line for line in str(err).splitlines() if line.strip()), "no reason given")
            return Made(problems=[f"it cannot be read: {type(err).__name__}: {said[:300]}"])


def _make_xgboost(wanted: Wanted, kind: Kind) -> Made:
    from serving.predictions.loaders.xgboost_files import XGBoostModel

    old = _Unpickler(kind, Path(wanted.pickle).read_bytes()).load()
    booster = old.get_booster() if hasattr(old, "get_booster") else old
    if not hasattr(old, "save_model") or not hasattr(booster, "num_boosted_rounds"):
        raise _refuse(old, kind)
    # The scikit-learn classes leave out the trees after the best one; a Booster does not.
    best = booster.attr("best_iteration") if old is not booster else None
    model = XGBoostModel(booster, None, trees=(0, 0 if best is None else int(best) + 1))
    rows = _choose_rows(wanted, model, {})
    answers = model.answer(rows)
    old.save_model(wanted.target)
    return Made(problems=[], class_name=_name(old), library=model.library, rows=rows, answers=answers)


def _make_sklearn(wanted: Wanted, kind: Kind) -> Made:
    import skops.io
    from joblib.numpy_pickle import NumpyUnpickler
    from joblib.numpy_pickle_utils import _validate_fileobject_and_memmap

    from serving.predictions.loaders.sklearn_files import SklearnModel, find_other_version, warned_of_versions

    class Reader(NumpyUnpickler):  # type: ignore[misc]  # joblib has no types
        """Reads joblib's files too, whose arrays stand between a pickle's parts."""

        def find_class(self, module: str, name: str) -> Any:
            return _find(kind, module, name, super().find_class)

    path = wanted.pickle
    with (
        warned_of_versions() as warned,
        Path(path).open("rb") as raw,
        _validate_fileobject_and_memmap(raw, path, None) as (file, _),  # one that is compressed, too
    ):
        old = Reader(path, file, ensure_native_byte_order=True).load()
    if other := find_other_version(warned):
        raise NotLoaded(other)
    if not hasattr(old, "get_params") or not hasattr(old, "predict"):
        raise _refuse(old, kind)
    model = SklearnModel(old)
    rows = _choose_rows(wanted, model, model.known)
    answers = model.answer(rows)
    skops.io.dump(old, wanted.target)
    return Made(problems=[], class_name=_name(old), library=model.library, rows=rows, answers=answers)


def _make_tokenizer(wanted: Wanted, kind: Kind) -> Made:
    old = _Unpickler(kind, Path(wanted.pickle).read_bytes()).load()
    if type(old).__name__ != "Tokenizer":
        raise _refuse(old, kind)
    import keras
    from keras.src.legacy.preprocessing.text import tokenizer_from_json

    text = old.to_json()
    words = list(old.word_counts)
    made_up = [" ".join([*words[number::7][:40], "not-a-known-word"]) for number in range(min(wanted.count, 200))]
    texts = made_up if wanted.rows_csv is None else [line for line in wanted.rows_csv.splitlines()[1:] if line]
    Path(wanted.target).write_text(text)
    new = tokenizer_from_json(Path(wanted.target).read_text())
    return Made(
        problems=[],
        class_name=f"{TOKENIZER}.Tokenizer",
        library=f"keras {keras.__version__}",
        rows=[[line] for line in texts],
        answers=old.texts_to_sequences(texts),
        read_back=new.texts_to_sequences(texts),
    )


TOKENIZER = "keras.src.legacy.preprocessing.text"


class _Unpickler(pickle.Unpickler):
    def __init__(self, kind: Kind, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self._kind = kind

    def find_class(self, module: str, name: str) -> Any:
        return _find(self._kind, module, name, super().find_class)


def _find(kind: Kind, module: str, name: str, find: Callable[[str, str], Any]) -> Any:
    """What a pickle names. Raises: NotLoaded: it is nothing that such a model is made of."""
    refused = NotLoaded(
        f"it names {module[:80]}.{name[:80]}. No {kind.title} has a use for that. It was not called, and "
        "nothing was made"
    )
    if not may_name(kind, module, name):
        raise refused
    if kind.name == "tokenizer" and name == "Tokenizer":
        return importlib.import_module(TOKENIZER).Tokenizer
    found = find(module, name)
    if f"{module}.{name}" in FUNCTIONS or name.startswith(PREFIX_OF_FUNCTIONS) or name in SUFFIXES_OF_FUNCTIONS:
        return found
    is_of_package = str(getattr(found, "__module__", "")).partition(".")[0] in kind.packages
    if (isinstance(found, type) and is_of_package) or type(found).__name__ == "ufunc":
        return found
    raise refused


def _choose_rows(wanted: Wanted, model: Any, known: dict[str, list[Any]]) -> list[list[Any]]:
    if wanted.rows_csv is not None:
        return read_csv(wanted.rows_csv, model.signature)
    return make_rows(model.signature, known, wanted.count)


def _refuse(old: Any, kind: Kind) -> NotLoaded:
    return NotLoaded(f"it holds a {_name(old)}, which is no {kind.title}")


def _name(old: Any) -> str:
    return f"{type(old).__module__}.{type(old).__qualname__}"


if __name__ == "__main__":
    sys.exit(main())
