"""`switchyard convert`: makes a safe file of a pickled model.

A pickle is a program. It runs once, here, where the kernel leaves it nothing to reach. After that only the safe file is
needed.
"""

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

import msgspec

from serving.convert.wire import Made, Wanted
from serving.predictions.loader_process import GIB, RowLoader, start_process
from switchyard.clients.settings import read_settings
from switchyard.core.errors import BadRecord, BadRequest, BadSetup, SwitchyardError, TryAgain
from switchyard.core.predictions.pickles import (
    MAX_ROWS,
    Kind,
    choose_kind,
    find_largest_difference,
    say_names,
    to_printable,
)
from switchyard.core.predictions.tokenizer import read_tokenizer, to_numbers
from switchyard.core.registry.manifest import Manifest, ModelFile
from switchyard.core.runs.flags import FlagParser

FAILED, BAD_FLAGS = 1, 2
MODULE: Final = "serving.convert.child"
SECONDS: Final = 300.0
MAX_BYTES: Final = GIB
FOLDER_PREFIX: Final = "switchyard-convert-"
_TAIL: Final = 300


def main(arguments: Sequence[str] | None = None, *, prog: str = "python -m serving.convert.command") -> int:
    """Returns the exit status: 0 made; 1 refused, and stderr says why; 2 wrong flags.

    A second call makes nothing: it says that the file is there.
    """
    parser = FlagParser(
        prog=prog,
        description="Make a safe file of a pickled model, offline: XGBoost (.ubj), scikit-learn (.skops), Keras' text "
        "tokenizer (.json). A pickle is a program, and making the file runs it: in a process of its own, without "
        "network, programs or other files, as far as this system can. The file is kept only if it answers as the "
        "pickle does.",
    )
    parser.add_argument("pickle", metavar="PICKLE", help="the pickle; of scikit-learn also a file of joblib's")
    parser.add_argument("--to", required=True, metavar="FILE", help="the new file; its ending says what is made")
    parser.add_argument("--rows", default="", metavar="FILE.csv", help="rows to compare with, in place of made-up ones")
    parser.add_argument("--count", type=int, default=200, help="made-up rows to compare with (200)")
    parser.add_argument("--run-its-code", action="store_true", help="do not ask whether its code may be run")
    given = parser.parse_args(sys.argv[1:] if arguments is None else list(arguments))
    if not 0 < given.count <= MAX_ROWS:
        parser.error(f"--count must be 1 to {MAX_ROWS:,}; got {given.count}")
    try:
        kind = choose_kind(given.to)
    except BadRequest as err:
        parser.error(str(err))
    source, target = Path(given.pickle), Path(given.to)
    try:
        data = _read(source)
        _check_target(target)
        rows = None if not given.rows else _read_text(Path(given.rows))
        # Of a tokenizer's pickle nothing is called but Keras' one class.
        if kind.name != "tokenizer" and not given.run_its_code:
            _ask(source, data, kind)
        with _ended_in_order():
            said = convert(data, kind, target, rows, given.count, read_settings().model_loader_python)
    except (OSError, SwitchyardError) as err:
        sys.stderr.write(to_printable(f"{prog}: {err}\n"))  # a pickle chooses what its errors say
        return FAILED
    sys.stdout.write(to_printable(f"{said}\n"))
    return 0


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Turns SIGTERM and SIGHUP into an exit, so that the process reading the pickle ends too, and its folder goes."""

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _make_folder() -> Iterator[Path]:
    """Makes a folder and removes it in the end. Folders of killed calls go first. A folder in use is locked."""
    with suppress(OSError):
        for left in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
            _remove_if_left(left)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
        try:
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue  # another call took it for one that was left, before it was locked
        fcntl.flock(held, fcntl.LOCK_EX)
        if folder.exists():
            break
        os.close(held)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def _remove_if_left(folder: Path) -> None:
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        return
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        with suppress(BlockingIOError):
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(held)


def convert(data: bytes, kind: Kind, target: Path, rows: str | None, count: int, python: str) -> str:
    """Makes `target`, and answers what is to be said of it. On an error there is no file, and no part of one.

    Raises: BadRecord: it is no such model, or old and new do not answer alike. BadSetup: a library, the interpreter or
    the target's folder is not there. TryAgain: the process ended, or was late.
    """
    with _make_folder() as folder:
        scratch = folder / "scratch"
        scratch.mkdir()
        (scratch / "given").write_bytes(data)
        made = _run(data, kind, scratch, rows, count, python)
        if made.problems:
            raise BadRecord("the pickle", made.problems)
        file = scratch / f"model{kind.suffix}"
        new = _number_texts(file, made) if kind.name == "tokenizer" else _ask_new(file, folder, made, python)
        difference = find_largest_difference(made.answers, new)
        if difference:
            raise BadRecord("the new file", [f"its answers differ by up to {difference:g} from the pickle's; not kept"])
        digest = _put_in_place(file, target)
    confined = "; ".join(made.unconfined) or "it had no network, no other files and no programs"
    return (
        f"{target}: {made.class_name} ({made.library}), {target.stat().st_size:,} bytes, sha256:{digest}\n"
        f"{len(made.rows):,} {'made-up rows' if rows is None else 'rows of yours'}: old and new answer alike, max "
        f"difference {difference:g}.\nThe process that read the pickle: {confined}."
    )


def _read(source: Path) -> bytes:
    if source.stat().st_size > MAX_BYTES:
        raise BadRequest(f"{source} has {source.stat().st_size:,} bytes; at most {MAX_BYTES:,} are read")
    return source.read_bytes()


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as err:
        raise BadRequest(f"{path} must be text in UTF-8: {err}") from err


def _check_target(target: Path) -> None:
    if os.path.lexists(target):
        raise BadRequest(
            f"{target} is there already, and nothing was changed. Name another file, or remove it: rm {target}"
        )
    if not target.parent.is_dir():
        raise BadSetup(f"there is no folder {target.parent}. Make it: mkdir -p {target.parent}")


def _ask(source: Path, data: bytes, kind: Kind) -> None:
    """Asks for consent on the terminal. Raises: BadRequest: there was none."""
    said = (
        f"{source} is a pickle, and a pickle is a program: reading it runs its code. Go on only if you know who made "
        "it. It runs in a process of its own without network, programs or other files, as far as this system can.\n"
        f"Besides its library and plain values it names: {say_names(data, kind)}\n"
    )
    sys.stderr.write(to_printable(said))
    if not sys.stdin.isatty():
        raise BadRequest("nothing was run. To agree: --run-its-code")
    sys.stderr.write("Run its code? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise BadRequest("nothing was run")


def _run(data: bytes, kind: Kind, scratch: Path, rows: str | None, count: int, python: str) -> Made:
    wanted = Wanted(
        parent=os.getpid(),
        scratch=str(scratch),
        pickle=str(scratch / "given"),
        target=str(scratch / f"model{kind.suffix}"),
        kind=kind.name,
        rows_csv=rows,
        count=count,
        memory_bytes=2 * GIB + 8 * len(data),
        file_bytes=32 * len(data) + 64 * 1024 * 1024,
        seconds=SECONDS,
    )
    process = start_process(python or sys.executable, MODULE)
    try:
        out, printed = process.communicate(msgspec.json.encode(wanted), SECONDS)
    except subprocess.TimeoutExpired:
        raise TryAgain(f"the process that read the pickle took longer than {SECONDS:g} s, and was ended") from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # with all that it may have started
            process.communicate()
    try:
        return msgspec.json.decode(out, type=Made)
    except msgspec.MsgspecError as err:
        last = printed.decode(errors="replace").strip()[-_TAIL:]
        problem = f"the process that read it ended with {process.returncode} and no answer; it printed last: {last}"
        raise BadRecord("the pickle", [problem]) from err


def _number_texts(file: Path, made: Made) -> list[list[int]]:
    """Returns the numbers that the server makes of the texts by the new file, with its own code and not with Keras'.

    Raises: BadRecord: it does not read it."""
    try:
        tokenizer = read_tokenizer(file.read_bytes())
        return [to_numbers(str(text), tokenizer) for (text,) in made.rows]
    except (ValueError, OSError) as err:
        raise BadRecord("the new file", [f"the server does not read it: {err}"]) from err


def _ask_new(file: Path, folder: Path, made: Made, python: str) -> list[object]:
    """Returns what the new file answers, read as the server reads it."""
    served = folder / "served" / "model"
    served.mkdir(parents=True)
    shutil.copyfile(file, served / file.name)
    listed = ModelFile(path=f"model/{file.name}", size_bytes=file.stat().st_size, sha256="0" * 64)
    model = RowLoader(python)(folder / "served", Manifest((listed,)), "the new file")
    try:
        return model.answer(made.rows)
    finally:
        model.close()


def _put_in_place(file: Path, target: Path) -> str:
    """Puts the whole file under its name at once, and returns its SHA-256."""
    descriptor, part = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    try:
        data = file.read_bytes()
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
        Path(part).chmod(0o644)
        os.link(part, target)  # fails where another call was first
    finally:
        Path(part).unlink()
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
