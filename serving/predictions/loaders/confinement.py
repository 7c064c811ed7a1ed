"""Confines a loader's process by the kernel, whatever a model makes it do: no other files, connections or programs.

It uses two parts of Linux that need no privileges: Landlock (which files may be opened) and a seccomp filter (which
calls fail). Each needs only a few numbers and structures of the kernel, so no library is used. Neither can be undone.
They hold for the thread that asks for them and for all that it starts, so this runs before any library is imported.

Source: https://docs.kernel.org/userspace-api/landlock.html and linux/landlock.h (access rights by ABI version);
https://docs.kernel.org/userspace-api/seccomp_filter.html, linux/filter.h, linux/seccomp.h; the calls' numbers from
asm/unistd_64.h (x86-64) and asm-generic/unistd.h (arm64), Linux 6.18.
"""

import ctypes
import errno
import os
import stat
import struct
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

SYSTEM: Final = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache"),
    *("/proc/cpuinfo", "/proc/meminfo", "/proc/stat"),  # how many threads, how much memory
    *("/sys/devices/system", "/sys/fs/cgroup"),
    "/proc/self",  # the process's own; TensorFlow ends the process if it cannot read it
    *("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"),
)
"""The paths that Python and the model libraries read besides their own files."""

_READ_FILE, _READ_DIR, _WRITE_FILE, _TRUNCATE = 1 << 2, 1 << 3, 1 << 1, 1 << 14
_REMOVE_AND_MAKE: Final = 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8  # folders and plain files
_FILE_RIGHTS: Final = ((1, 13), (2, 14), (3, 15), (5, 16))
"""Pairs of an ABI version and the number of file rights from that version on; each right is a bit."""
_NO_TCP: Final = 0b11  # bind, connect; ABI 4
_NO_OUTSIDE: Final = 0b11  # abstract Unix sockets and signals to processes outside; ABI 6
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PATH_BENEATH: Final = 1

_CAPABILITY_VERSION: Final = 0x20080522
_SET_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2

_REFUSED: Final[Mapping[str, tuple[int, int]]] = {
    # connections of any kind; io_uring makes some without these calls
    **{"socket": (41, 198), "io_uring_setup": (425, 425)},
    # other programs and processes; a thread is `clone`, below
    **{"execve": (59, 221), "execveat": (322, 281), "fork": (57, -1), "vfork": (58, -1)},
    **{"setsid": (112, 157), "setpgid": (109, 154), "unshare": (272, 97), "setns": (308, 268)},
    # what affects other processes of the same user
    **{"kill": (62, 129), "tkill": (200, 130), "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438)},
    **{"rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "ptrace": (101, 117)},
    **{"process_vm_readv": (310, 270), "process_vm_writev": (311, 271)},
    **{"process_madvise": (440, 440), "process_mrelease": (448, 448), "kcmp": (312, 272)},
    # what outlives the process: shared memory, queues and semaphores
    **{"shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180)},
    # the kernel's own programs and keys
    **{"bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282)},
    **{"add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219)},
    # what Landlock does not cover: modes, owners, attributes and times of files
    **{"chmod": (90, -1), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452)},
    **{"chown": (92, -1), "fchown": (93, 55), "lchown": (94, -1), "fchownat": (260, 54)},
    **{"setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "setxattrat": (463, 463)},
    **{"removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "removexattrat": (466, 466)},
    **{"utime": (132, -1), "utimes": (235, -1), "futimesat": (261, -1), "utimensat": (280, 88)},
    "file_setattr": (469, 469),
}
"""Calls that fail with EPERM, and their numbers on x86-64 and arm64; -1: there is no such call."""
_OF_A_PROCESS: Final[Mapping[str, tuple[int, int]]] = {
    **{"prlimit64": (302, 261), "migrate_pages": (256, 238), "move_pages": (279, 239)},
    **{"sched_setaffinity": (203, 122), "sched_setscheduler": (144, 119)},
    **{"sched_setparam": (142, 118), "sched_setattr": (314, 274)},
}
"""Calls with a process as first argument; allowed only for this process, as 0 or its id."""
_OF_SOME_PROCESSES: Final[Mapping[str, tuple[int, int, int]]] = {
    "setpriority": (141, 140, 0),
    "ioprio_set": (251, 30, 1),
}
"""The same for the second argument; the first must be the last number here: a process, not a group or user."""
_FCNTL: Final = (72, 25)
_SIGNALLING: Final = (8, 10, 15)
"""F_SETOWN, F_SETSIG, F_SETOWN_EX: the process that a file or pipe signals, and the signal.

Before Landlock 6 this could kill another process."""
_CLONE, _CLONE3, _TGKILL = (56, 220), (435, 435), (234, 131)
_CLONE_THREAD: Final = 0x00010000
_X86_64: Final = 0xC000003E
_MACHINES: Final[Mapping[str, tuple[int, int]]] = {"x86_64": (0, _X86_64), "aarch64": (1, 0xC00000B7)}
"""For each machine, the column of its call numbers, and its AUDIT_ARCH_... of linux/audit.h."""
_X32_BIT: Final = 0x40000000  # x86-64 has every call a second time, with other numbers

_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _IS, _HAS, _IS_AT_LEAST, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
_STEP_BYTES: Final = 8
_NUMBER_AT, _ARCH_AT, _FIRST_AT, _SECOND_AT = 0, 4, 16, 24  # in struct seccomp_data; the lower halves of arguments


def confine(readable: Iterable[Path | str], scratch: str = "") -> list[str]:
    """Lets this process read only below `readable` and write only below `scratch` and to /dev/null.

    It can open no connection and start no program. Returns in words what the kernel could not restrict; empty: nothing.
    A second call takes more away.
    """
    if sys.platform != "linux":
        return [f"it is confined only by limits: {sys.platform} has neither Landlock nor seccomp"]
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        raise RuntimeError("a process must be confined before it starts a thread")
    missing = []
    for restrict, said in (
        (_drop_rights, "it has the rights of its user"),
        (partial(_restrict_files, list(readable), scratch), "it can read the files that its user can read"),
        (_refuse_calls, "it can open connections and start programs"),
    ):
        try:
            restrict(ctypes.CDLL(None, use_errno=True))
        except OSError as err:
            missing.append(f"{said}: {err.strerror}")
    return missing


def list_python_paths() -> list[str]:
    """Returns where this interpreter and its packages are.

    A checkout is not listed, because it holds more than packages; only its packages that are already imported are."""
    prefixes = {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}
    installed = [f"{prefix}/{lib}" for prefix in prefixes for lib in ("lib", "lib64")]
    installed += [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    installed += filter(os.path.isabs, os.environ.get("LD_LIBRARY_PATH", "").split(":"))
    packages = {name.partition(".")[0] for name in sys.modules}
    files = [getattr(sys.modules.get(package), "__file__", None) for package in packages]
    imported = [str(Path(file).parent) if Path(file).name.startswith("__init__.") else file for file in files if file]
    return sorted({*installed, *imported, os.path.realpath(sys.executable)})


def _drop_rights(libc: ctypes.CDLL) -> None:
    """Drops the rights of root, and makes sure that no program that has more rights can give any back."""
    _call(libc.prctl, _SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _call(libc.capset, struct.pack("=Ii", _CAPABILITY_VERSION, 0), bytes(24))


def _restrict_files(readable: Iterable[Path | str], scratch: str, libc: ctypes.CDLL) -> None:
    """Restricts files by Landlock, and TCP too where it is newer. Raises: OSError: Landlock is missing or off."""
    try:
        version = _call(libc.syscall, _CREATE_RULESET, None, 0, 1)
    except OSError as err:
        raise OSError(err.errno, f"Landlock is not in this kernel, or off ({err.strerror})") from err
    rights = next(count for since, count in reversed(_FILE_RIGHTS) if version >= since)
    handled = ((1 << rights) - 1, _NO_TCP if version >= 4 else 0, _NO_OUTSIDE if version >= 6 else 0)
    attributes = struct.pack("=QQQ", *handled)
    rules = _call(libc.syscall, _CREATE_RULESET, attributes, len(attributes), 0)
    try:
        for path in (*SYSTEM, *readable):
            _allow_path(libc, rules, path, _WRITE_FILE if path == os.devnull else 0)
        if scratch:
            _allow_path(libc, rules, scratch, handled[0] & (_WRITE_FILE | _TRUNCATE | _REMOVE_AND_MAKE))
        _call(libc.syscall, _RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)


def _allow_path(libc: ctypes.CDLL, rules: int, path: Path | str, more: int) -> None:
    """Allows reading `path` and what is below it, and `more`; does nothing if it does not exist."""
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        rights = _READ_FILE | more | (_READ_DIR if stat.S_ISDIR(os.fstat(opened).st_mode) else 0)
        _call(libc.syscall, _ADD_RULE, rules, _PATH_BENEATH, struct.pack("=Qi", rights, opened), 0)
    finally:
        os.close(opened)


def _refuse_calls(libc: ctypes.CDLL) -> None:
    """Refuses calls by a seccomp filter. Raises: OSError: there is none for this machine, or the kernel takes none."""
    machine = os.uname().machine
    if machine not in _MACHINES or struct.calcsize("P") != 8:
        raise OSError(errno.ENOSYS, f"the numbers of calls on {machine} are not known here")
    program = make_filter(*_MACHINES[machine], pid=os.getpid())
    buffer = ctypes.create_string_buffer(program, len(program))
    given = struct.pack("@HP", len(program) // _STEP_BYTES, ctypes.addressof(buffer))
    _call(libc.prctl, _SET_SECCOMP, _FILTER, given, 0, 0)


def make_filter(column: int, arch: int, *, pid: int) -> bytes:
    """Returns the filter's program; a call of another architecture ends the process."""
    refuse = _ERRNO | errno.EPERM
    steps = [(_LOAD, 0, 0, _ARCH_AT), (_IS, 1, 0, arch), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, _NUMBER_AT)]
    if arch == _X86_64:
        steps += [(_IS_AT_LEAST, 0, 1, _X32_BIT), (_RETURN, 0, 0, refuse)]
    for numbers in _REFUSED.values():
        if numbers[column] >= 0:
            steps += [(_IS, 0, 1, numbers[column]), (_RETURN, 0, 0, refuse)]
    # A filter cannot see the flags of clone3. Where there is no clone3, glibc asks for `clone`.
    steps += [(_IS, 0, 1, _CLONE3[column]), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
    own = (0, pid)
    bodies = {
        _CLONE[column]: _require(_FIRST_AT, _HAS, (_CLONE_THREAD,)),
        _TGKILL[column]: _require(_FIRST_AT, _IS, (pid,)),  # abort() signals its own thread
        **{numbers[column]: _require(_FIRST_AT, _IS, own) for numbers in _OF_A_PROCESS.values()},
        **{
            numbers[column]: _require(_FIRST_AT, _IS, (numbers[2],)) + _require(_SECOND_AT, _IS, own)
            for numbers in _OF_SOME_PROCESSES.values()
        },
    }
    for number, body in bodies.items():
        steps += [(_IS, 0, len(body) + 1, number), *body, (_RETURN, 0, 0, _ALLOW)]
    body = [(_LOAD, 0, 0, _SECOND_AT)]
    for command in _SIGNALLING:
        body += [(_IS, 0, 1, command), (_RETURN, 0, 0, refuse)]
    steps += [(_IS, 0, len(body), _FCNTL[column]), *body, (_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _require(place: int, test: int, values: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """Returns steps that refuse the call, unless the argument at `place` passes the test with one of the values."""
    tests = [(test, len(values) - number, 0, value) for number, value in enumerate(values)]
    return [(_LOAD, 0, 0, place), *tests, (_RETURN, 0, 0, _ERRNO | errno.EPERM)]


def _call(function: Any, *given: int | bytes | None) -> int:
    """Calls a function of libc, with numbers as wide as the kernel reads them. Raises: OSError: the call failed."""
    result: int = function(*(ctypes.c_ulong(each) if isinstance(each, int) else each for each in given))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
