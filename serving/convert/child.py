"""The process that reads a pickle: bounded, confined by the kernel, and told by what names it may be made of.

No pickle is read before the process is confined, and none that names anything else than its library's classes is read
to its end. That is no promise that its code is harmless: it is why it is run here, once, and never in a server.
"""

import ctypes
import importlib
import os
import signal
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any, Final

import msgspec

from serving.convert.wire import Made, Wanted
from serving.predictions.loaders.__main__ import bound, with_deadline
from serving.predictions.loaders.confinement import confine, list_python_paths
from serving.predictions.loaders.loading import NotLoaded
from serving.predictions.loaders.pickle_files import (
    Unpickler,
    read_sklearn_pickle,
    read_xgboost_pickle,
    refuse,
    say_class,
)
from switchyard.core.errors import BadRequest
from switchyard.core.predictions.pickles import KINDS, make_rows, may_name, read_csv

TOKENIZER: Final = "keras.src.legacy.preprocessing.text"
_SET_PDEATHSIG: Final = 1


def main() -> int:
    """Writes what came of the conversion on the standard output, and returns the exit status 0."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that a library prints is taken for the reply
    wanted = msgspec.json.decode(sys.stdin.buffer.read(), type=Wanted)
    _end_with(wanted.parent)
    bound(wanted.memory_bytes, wanted.file_bytes)
    tempfile.tempdir = os.environ["HOME"] = os.environ["TMPDIR"] = wanted.scratch
    os.chdir(wanted.scratch)
    unconfined = confine([wanted.scratch, *list_python_paths()], wanted.scratch)
    with_deadline(wanted.seconds)
    made = msgspec.structs.replace(_convert(wanted), unconfined=unconfined)
    replies.write(msgspec.json.encode(made))
    replies.close()
    return 0


def _end_with(parent: int) -> None:
    """Has Linux end this process when the command has ended in any way. Elsewhere its deadline does.

    Source: `man 2 PR_SET_PDEATHSIG`, linux/prctl.h."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it had ended before
        sys.exit(1)


def _convert(wanted: Wanted) -> Made:
    kind = next(kind for kind in KINDS if kind.name == wanted.kind)
    make = {"xgboost": _make_xgboost, "sklearn": _make_sklearn, "tokenizer": _make_tokenizer}[kind.name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return make(wanted)
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


def _make_xgboost(wanted: Wanted) -> Made:
    old, model = read_xgboost_pickle(Path(wanted.pickle))
    rows = _choose_rows(wanted, model, {})
    answers = model.answer(rows)
    old.save_model(wanted.target)
    return Made(problems=[], class_name=say_class(old), library=model.library, rows=rows, answers=answers)


def _make_sklearn(wanted: Wanted) -> Made:
    import skops.io

    from serving.predictions.loaders.sklearn_files import SklearnModel

    old = read_sklearn_pickle(Path(wanted.pickle))
    model = SklearnModel(old)
    rows = _choose_rows(wanted, model, model.known)
    answers = model.answer(rows)
    skops.io.dump(old, wanted.target)
    return Made(problems=[], class_name=say_class(old), library=model.library, rows=rows, answers=answers)


def _make_tokenizer(wanted: Wanted) -> Made:
    old = _TokenizerReader(KINDS[2], Path(wanted.pickle)).load()
    if type(old).__name__ != "Tokenizer":
        raise refuse(old, KINDS[2])
    import keras

    text = old.to_json()
    words = list(old.word_counts)
    made_up = [" ".join([*words[number::7][:40], "not-a-known-word"]) for number in range(min(wanted.count, 200))]
    texts = made_up if wanted.rows_csv is None else [line for line in wanted.rows_csv.splitlines()[1:] if line]
    Path(wanted.target).write_text(text)
    return Made(
        problems=[],
        class_name=f"{TOKENIZER}.Tokenizer",
        library=f"keras {keras.__version__}",
        rows=[[line] for line in texts],
        answers=old.texts_to_sequences(texts),
    )


class _TokenizerReader(Unpickler):
    """Keras' one class, wherever a version of Keras has had it, and plain values."""

    def find_class(self, module: str, name: str) -> Any:
        if name == "Tokenizer" and may_name(KINDS[2], module, name):
            return importlib.import_module(TOKENIZER).Tokenizer
        return super().find_class(module, name)


def _choose_rows(wanted: Wanted, model: Any, known: dict[str, list[Any]]) -> list[list[Any]]:
    if wanted.rows_csv is not None:
        return read_csv(wanted.rows_csv, model.signature)
    return make_rows(model.signature, known, wanted.count)


if __name__ == "__main__":
    sys.exit(main())
