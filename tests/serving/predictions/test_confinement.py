"""What the kernel keeps a loader's process from: tried in a true one; and the filter's program, step by step."""

import ctypes
import errno
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from serving.predictions.loaders import confinement
from serving.predictions.loaders.confinement import make_filter
from tests.root import ROOT
from tests.serving.predictions.planting import open_planted

X86_64, ARM64 = (0, 0xC000003E), (1, 0xC00000B7)
ALLOWED, REFUSED, KILLED, NO_CALL = 0x7FFF0000, 0x50000 | errno.EPERM, 0x80000000, 0x50000 | errno.ENOSYS
PID = 4711


def _find_landlock() -> int:
    """Its ABI version; 0 or less: there is none."""
    return int(ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1)) if sys.platform == "linux" else 0


@pytest.mark.skipif(_find_landlock() < 1, reason="this kernel has no Landlock, or it is off")
def test_a_model_reaches_nothing_but_its_own_files(tmp_path: Path) -> None:
    """No other file, connection, program or process; what it needs goes on working."""
    (tmp_path / "beside").write_text("another model's")
    model = open_planted(tmp_path, answer="escape", on=2.0)
    (tried,) = model.answer([[1.0, 1]])
    outcomes = dict(each.rsplit(": ", 1) for each in tried)
    assert {name for name, outcome in outcomes.items() if outcome == "done"} == {
        *("read the model", "thread", "empty file of its own", "niceness of its own", "processors of its own")
    }
    assert set(outcomes.values()) <= {"done", "EACCES", "EPERM", "EFBIG"}
    assert model.unconfined == []
    assert model.is_alive
    before = set(Path(tempfile.gettempdir()).glob("switchyard-loader-*"))
    model.close()
    assert len(before - set(Path(tempfile.gettempdir()).glob("switchyard-loader-*"))) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux's calls")
@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("_CREATE_RULESET", "it can read the files that its user can read: Landlock is not in this kernel, or off"),
        ("_SET_SECCOMP", "it can open connections and start programs: Invalid argument"),
    ],
)
def test_what_the_kernel_cannot_be_asked_for_is_said_and_the_rest_holds(broken: str, said: str) -> None:
    """A kernel without one of the two."""
    program = (
        "import sys; from serving.predictions.loaders import confinement\n"
        f"confinement.{broken} = 9999\n"
        "print(confinement.confine(confinement.list_python_paths()))\n"
        "for act in (lambda: open('/etc/passwd'), lambda: __import__('socket').socket()):\n"
        "    try: act(); print('done')\n"
        "    except OSError as err: print(err.errno)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    missing, *outcomes = done.stdout.splitlines()
    assert said in missing
    assert missing.count("it ") == 1
    if _find_landlock() >= 1:
        assert outcomes.count("done") == 1


def test_a_process_with_threads_is_not_confined_by_halves() -> None:
    """The other threads would go on as before; no loader starts one so early."""
    program = (
        "import threading; from serving.predictions.loaders import confinement\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "confinement.confine([])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == (1 if sys.platform == "linux" else 0)
    assert sys.platform != "linux" or "before it starts a thread" in done.stderr


def _run(program: bytes, arch: int, number: int, argument: int = 0, second: int = 0) -> int:
    """What the filter says of a call. Source: linux/bpf_common.h, for the five instructions that it uses."""
    steps = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    data: dict[int, int] = {0: number, 4: arch, 16: argument, 24: second}
    at = value = 0
    while True:
        code, if_true, if_false, operand = steps[at]
        if code == 0x06:
            return int(operand)
        if code == 0x20:
            value = data[operand]
        else:
            holds = {0x15: value == operand, 0x45: bool(value & operand), 0x35: value >= operand}[code]
            at += if_true if holds else if_false
        at += 1


@pytest.mark.parametrize(
    ("machine", "number", "argument", "said"),
    [
        (X86_64, 0, 0, ALLOWED),  # read
        (X86_64, 41, 2, REFUSED),  # socket
        (X86_64, 0x40000000 | 41, 2, REFUSED),  # the same by its second number
        (X86_64, 59, 0, REFUSED),  # execve
        (X86_64, 56, 0x00010F00, ALLOWED),  # clone, of a thread
        (X86_64, 56, 17, REFUSED),  # clone, of a process
        (X86_64, 435, 0, NO_CALL),  # clone3
        (X86_64, 234, PID, ALLOWED),  # tgkill, of a thread of its own
        (X86_64, 234, PID + 1, REFUSED),
        (X86_64, 302, 0, ALLOWED),  # prlimit64, of itself
        (X86_64, 302, 1, REFUSED),
        (ARM64, 63, 0, ALLOWED),  # read
        (ARM64, 41, 0, ALLOWED),  # another call there
        (ARM64, 198, 2, REFUSED),
        (ARM64, 220, 0x00010F00, ALLOWED),
        (ARM64, 220, 17, REFUSED),
        (ARM64, 131, PID, ALLOWED),
        (ARM64, 131, 1, REFUSED),
        (ARM64, 261, 1, REFUSED),
    ],
)
def test_the_filter_refuses_calls_by_their_numbers(
    machine: tuple[int, int], number: int, argument: int, said: int
) -> None:
    """And lets all others pass."""
    assert _run(make_filter(*machine, pid=PID), machine[1], number, argument) == said


@pytest.mark.parametrize(
    ("machine", "number", "first", "second", "said"),
    [
        (X86_64, 141, 0, 0, ALLOWED),  # setpriority, of itself
        (X86_64, 141, 0, PID, ALLOWED),
        (X86_64, 141, 0, PID + 1, REFUSED),
        (X86_64, 141, 2, 0, REFUSED),  # of a user
        (X86_64, 251, 1, PID, ALLOWED),  # ioprio_set
        (X86_64, 251, 1, 1, REFUSED),
        (X86_64, 251, 3, 0, REFUSED),
        (X86_64, 203, PID, 0, ALLOWED),  # sched_setaffinity
        (X86_64, 203, PID + 1, 0, REFUSED),
        (X86_64, 72, 3, 4, ALLOWED),  # fcntl, F_SETFL
        (X86_64, 72, 3, 8, REFUSED),
        (X86_64, 72, 3, 10, REFUSED),
        (X86_64, 72, 3, 15, REFUSED),
        (X86_64, 257, 3, 8, ALLOWED),  # openat
        (X86_64, 29, 0, 0, REFUSED),  # shmget
        (ARM64, 140, 0, PID + 1, REFUSED),
        (ARM64, 25, 3, 8, REFUSED),
        (ARM64, 25, 3, 3, ALLOWED),
        (ARM64, 194, 0, 0, REFUSED),
    ],
)
def test_the_filter_knows_whose_a_call_is(
    machine: tuple[int, int], number: int, first: int, second: int, said: int
) -> None:
    """What a process may do to itself it may not do to another one."""
    assert _run(make_filter(*machine, pid=PID), machine[1], number, first, second) == said


def test_calls_of_another_architecture_end_the_process() -> None:
    """Their numbers mean other calls."""
    assert _run(make_filter(*X86_64, pid=PID), 0x40000003, 41) == KILLED


@pytest.mark.parametrize(
    ("column", "header"),
    [(0, "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), (1, "/usr/include/asm-generic/unistd.h")],
)
def test_the_numbers_are_those_of_the_kernels_own_headers(column: int, header: str) -> None:
    """Of the calls that these headers know already."""
    if not Path(header).exists():
        pytest.skip(f"no headers of the kernel: {header}")
    known = {
        name: int(number)
        for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)\n", Path(header).read_text())
    }
    special = {
        "clone": confinement._CLONE,
        "clone3": confinement._CLONE3,
        "tgkill": confinement._TGKILL,
        "fcntl": confinement._FCNTL,
        **confinement._OF_A_PROCESS,
        **{name: numbers[:2] for name, numbers in confinement._OF_SOME_PROCESSES.items()},
    }
    listed = {name: numbers[column] for name, numbers in {**confinement._REFUSED, **special}.items()}
    assert {name: number for name, number in listed.items() if known.get(name, number) != number} == {}
    assert sum(name in known for name in listed) > 35
