"""The process of a loader: reads one model, then answers rows until its input ends.

It is started with an empty environment (`serving.predictions.loader_process`), and restricts itself before any library
is imported: its memory is limited, and the kernel refuses it other files, connections and programs. It reads no
settings.
"""

import faulthandler
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from serving.predictions.loaders.confinement import confine, list_python_paths
from serving.predictions.loaders.loading import LoadedRows, NotLoaded, OtherLibrary, load
from serving.predictions.loaders.wire import Answers, Ask, Load, Ready, Refused, Reply, encode_reply, read_order, refuse
from switchyard.core.predictions.signature import find_bad_answers, find_problems

MAX_SAID: Final = 500
_EXTRAS: Final = dict.fromkeys(("sklearn", "skops", "joblib", "pandas"), "sklearn") | {
    "xgboost": "xgboost",
    "keras": "keras",
    "h5py": "keras",
    "tensorflow": "tensorflow",
}
_SPARE_S: Final = 5.0
"""The server ends a process that is late. If the server is gone, the process ends itself this much later."""


def main() -> int:
    """Runs the process. Exit status: 0 the input ended, 1 the model was refused."""
    orders, replies = _take_pipes()
    order = read_order(orders)
    if not isinstance(order, Load):
        return 1
    bound(order.memory_bytes)
    # Libraries look for both when they are imported; TensorFlow ends the process if it cannot make a file.
    tempfile.tempdir = os.environ["HOME"] = os.environ["TMPDIR"] = order.scratch
    unconfined = confine([order.folder, *list_python_paths()], order.scratch)
    model = _load(order)
    if isinstance(model, Refused):
        _send(replies, model)
        return 1
    _send(replies, Ready(signature=model.signature, library=model.library, unconfined=unconfined))
    while isinstance(asked := read_order(orders), Ask):
        with_deadline(order.answer_s)
        reply = _answer(model, asked)
        faulthandler.cancel_dump_traceback_later()
        _send(replies, reply)
    return 0


def bound(memory_bytes: int, file_bytes: int = 0) -> None:
    """Takes from this process what a loader does not need; its memory is limited only on Linux."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # if the machine runs out of memory, the kernel ends this process, not the server
        Path("/proc/self/oom_score_adj").write_text("1000")
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    if sys.platform == "linux":
        # It limits allocated memory, including thread stacks, but not what a library only reserves or maps from files.
        # Source: `man 2 getrlimit`, RLIMIT_DATA, since Linux 4.7.
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))


def with_deadline(seconds: float) -> None:
    """Ends this process when the time is over, whatever it is doing: the timer is a thread that needs no Python."""
    faulthandler.dump_traceback_later(seconds + _SPARE_S, exit=True)


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Returns input and output; from now on no library reads from them or prints to them."""
    orders = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return orders, replies


def _send(replies: BinaryIO, message: Reply) -> None:
    try:
        data = encode_reply(message)
    except MemoryError:
        data = encode_reply(refuse(["it needs more memory for the answer than it may have; send fewer rows"]))
    replies.write(data)
    replies.flush()


def _load(order: Load) -> LoadedRows | Refused:
    with_deadline(order.load_s)
    try:
        model = load(Path(order.folder), order.flavor, order.paths, order.pickles, order.tokenizer)
        problems = find_problems(model.signature)
        return refuse(problems) if problems else model
    except NotLoaded as err:
        return refuse(err.problems, is_setup=isinstance(err, OtherLibrary))
    except ModuleNotFoundError as err:
        extra = _EXTRAS.get(str(err.name), order.flavor)
        said = (
            f"a model of the flavor {order.flavor} needs {err.name}, which is not installed for {sys.executable}. "
            f"Install it (pip install -e '.[{extra}]' in the checkout), or name another interpreter: "
            "MODEL_LOADER_PYTHON"
        )
        return refuse([said], is_setup=True)
    except MemoryError:
        return refuse([f"it needs more than the {order.memory_bytes:,} bytes of memory that it may have"])
    except Exception as err:  # noqa: BLE001 - a damaged file makes a library fail in any way
        return refuse([f"the loader failed: {_say(err)}"])
    finally:
        faulthandler.cancel_dump_traceback_later()


def _answer(model: LoadedRows, asked: Ask) -> Reply:
    try:
        values = model.answer(asked.rows)
    except MemoryError:
        return refuse(["it needs more memory for these rows than it may have"])
    except Exception as err:  # noqa: BLE001 - as above
        return refuse([f"the model failed: {_say(err)}"])
    problems = find_bad_answers(values, count=len(asked.rows))
    return refuse(problems) if problems else Answers(values)


def _say(err: Exception) -> str:
    """Returns the error without the stack trace that XGBoost appends: it has addresses and folders of this machine."""
    said = str(err).partition("\nStack trace:")[0].rstrip()
    return f"{type(err).__name__}: {said}"[:MAX_SAID]


if __name__ == "__main__":
    sys.exit(main())
