"""What is particular to objects on a local disk: their URIs, the disk's errors, killed writers, other processes."""

import io
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from switchyard.clients.objects.file_uris import to_path, to_uri
from switchyard.clients.objects.files import FileObjects
from switchyard.clients.objects.folders import PART_NAME, locked_folder
from switchyard.core.errors import BadRequest, BadSetup, NotFound, StaleWrite, SwitchyardError, TryAgain
from switchyard.core.ports import ABSENT, ANY

OBJECTS = FileObjects()


def run_python(code: str, *arguments: str, **options: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize(
    "path",
    ["/a", "/a b/c", "/größe/日本", "/100%", "/a#b?c", "/a%20b", "/..a/.b", "/[x]{y}|\\z", "/line\nbreak", "/\udcff"],
)
def test_every_path_survives_its_uri(path: str) -> None:
    """A URI holds ASCII only and leads back to the same path; a name that is no UTF-8 does, too."""
    uri = to_uri(Path(path))
    assert uri.isascii()
    assert uri.startswith("file:///")
    assert not set(" ?#\n") & set(uri)
    assert to_path(uri) == Path(path)


def test_uri_is_read_leniently_where_it_is_clear() -> None:
    """A space or an umlaut that someone typed means itself."""
    assert to_path("file:///a b/größe.json") == Path("/a b/größe.json")


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("file://host/a", "host"),
        ("file://localhost/a", "host"),
        ("file:a", "absolute path"),
        ("file://./a", "absolute path"),
        ("a/b", "absolute path"),
        ("", "absolute path"),
        ("FILE:///a", "absolute path"),
        ("gs://bucket/a", "absolute path"),
        ("file:///", "empty"),
        ("file:///a/", "ends with a slash"),
        ("file:///a//b", "between two slashes"),
        ("file:////a", "between two slashes"),
        ("file:///a/../b", "contains . or .."),
        ("file:///a/%2e%2E/b", "contains . or .."),
        ("file:///a/./b", "contains . or .."),
        ("file:///a%2Fb", "slash"),
        ("file:///a%00b", "zero byte"),
        ("file:///a?b", "%3F"),
        ("file:///a#b", "%23"),
        ("file:///100%", "%25"),
        ("file:///a%zzb", "%25"),
        (f"file:///a/{PART_NAME}", "being written"),
        (f"file:///{PART_NAME}/a", "being written"),
    ],
)
def test_uri_that_names_no_file_is_refused(uri: str, problem: str) -> None:
    """Each with what is wrong with it, before the disk is touched."""
    for act in (OBJECTS.stat, OBJECTS.read):
        with pytest.raises(BadRequest, match=problem.replace(".", r"\.")):
            act(uri)
    with pytest.raises(BadRequest):
        OBJECTS.write(uri, b"x", if_generation=ANY)
    with pytest.raises(BadRequest):
        OBJECTS.delete(uri, if_generation=ANY)


@pytest.mark.parametrize(
    "prefix", ["file:///a/../b", "file:///a/./", "file://host/a", "file:///a//b", "a", "file:///%"]
)
def test_prefix_that_leads_elsewhere_is_refused(prefix: str) -> None:
    """A prefix may end in the middle of a name, but its folders are as strict as an object's."""
    with pytest.raises(BadRequest):
        OBJECTS.list(prefix)


def test_listed_uris_are_encoded(tmp_path: Path) -> None:
    """What list returns, read takes; the prefix may be encoded or not."""
    names = ["a b.json", "größe.json", "100%#?.json", "..hidden"]
    for name in names:
        (tmp_path / name).write_text(name)
    uris = OBJECTS.list(tmp_path.as_uri() + "/")
    assert uris == sorted(to_uri(tmp_path / name) for name in names)
    assert [OBJECTS.read(uri)[0].decode() for uri in uris] == [to_path(uri).name for uri in uris]
    assert OBJECTS.list(f"file://{tmp_path}/a b") == OBJECTS.list(f"{tmp_path.as_uri()}/a%20b") == [uris[2]]
    assert OBJECTS.list(f"{tmp_path.as_uri()}/..") == [to_uri(tmp_path / "..hidden")]


def test_folder_is_not_overwritten_nor_deleted(tmp_path: Path) -> None:
    """A folder where a file is expected is the caller's mistake."""
    (tmp_path / "folder").mkdir()
    for act in (
        lambda uri: OBJECTS.write(uri, b"x", if_generation=ANY),
        lambda uri: OBJECTS.delete(uri, if_generation=ANY),
    ):
        with pytest.raises(BadRequest, match="folder"):
            act(to_uri(tmp_path / "folder"))
    assert (tmp_path / "folder").is_dir()


def test_object_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    """A bucket would allow it, a disk does not."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadRequest, match="not a folder"):
        OBJECTS.write(to_uri(tmp_path / "file" / "deep" / "below"), b"x", if_generation=ANY)


def test_pipes_and_devices_are_no_objects(tmp_path: Path) -> None:
    """Reading one would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    uri = to_uri(tmp_path / "pipe")
    with pytest.raises(NotFound, match="pipe"):
        OBJECTS.read(uri)
    with pytest.raises(BadRequest, match="pipe"):
        OBJECTS.write(uri, b"x", if_generation=ANY)
    assert OBJECTS.list(tmp_path.as_uri()) == []


def test_links_are_followed_and_loops_are_left(tmp_path: Path) -> None:
    """An artifacts folder may lie on another disk."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(tmp_path / "here")
    (elsewhere / "broken").symlink_to(tmp_path / "none")
    uri = to_uri(tmp_path / "here" / "link" / "a.json")
    OBJECTS.write(uri, b"x", if_generation=ABSENT)
    assert (elsewhere / "a.json").read_bytes() == b"x"
    assert OBJECTS.list(to_uri(tmp_path / "here")) == [uri]


@pytest.mark.parametrize("modified_s", [0, 4_000_000_000], ids=["in-1970", "in-2096"])
def test_generation_grows_whatever_the_clock_said(tmp_path: Path, modified_s: int) -> None:
    """A file from an archive, or written while the clock was wrong, is replaced in order all the same."""
    path = tmp_path / "a.json"
    path.write_bytes(b"first")
    os.utime(path, (modified_s, modified_s))
    first = OBJECTS.stat(to_uri(path)).generation
    assert first > 0
    with pytest.raises(StaleWrite):
        OBJECTS.write(to_uri(path), b"second", if_generation=ABSENT)
    assert OBJECTS.write(to_uri(path), b"second", if_generation=first) > first


def test_full_disk_asks_to_try_again_and_loses_nothing(small_disk: Path) -> None:
    """What was there stays, nothing half-written is left, and the same call succeeds once there is room."""
    uri = to_uri(small_disk / "run" / "a.json")
    first = OBJECTS.write(uri, b"first", if_generation=ABSENT)
    large = to_uri(small_disk / "large")
    OBJECTS.write(large, b"x" * 40_000, if_generation=ABSENT)
    with pytest.raises(TryAgain, match=r"disk is full: make room.*nothing was changed"):
        OBJECTS.write(uri, b"y" * 40_000, if_generation=first)
    assert OBJECTS.read(uri) == (b"first", first)
    assert [path.name for path in (small_disk / "run").iterdir()] == ["a.json"]
    OBJECTS.delete(large, if_generation=ANY)
    assert OBJECTS.write(uri, b"y" * 40_000, if_generation=first) > first


def test_upload_to_a_full_disk_leaves_whole_files_only(small_disk: Path, tmp_path: Path) -> None:
    """Those that fitted are there whole; the one that did not is not there."""
    source = tmp_path / "source"
    source.mkdir()
    for name in "abc":
        (source / name).write_bytes(name.encode() * 40_000)
    with pytest.raises(TryAgain, match="disk is full"):
        OBJECTS.upload_folder(source, to_uri(small_disk / "model"))
    assert {path.name: path.stat().st_size for path in (small_disk / "model").iterdir()} == {"a": 40_000}


def test_read_only_disk_is_bad_setup(small_disk: Path) -> None:
    """Trying again would not help."""
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(BadSetup, match="read-only"):
        OBJECTS.write(to_uri(small_disk / "a.json"), b"x", if_generation=ANY)


def test_file_above_the_process_limit_is_bad_setup(tmp_path: Path) -> None:
    """`ulimit -f` is someone's decision: the message names it, and what was there stays."""
    OBJECTS.write(to_uri(tmp_path / "a.json"), b"first", if_generation=ABSENT)
    code = """if True:
        import resource, sys
        from switchyard.clients.objects.files import FileObjects
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        FileObjects().write(sys.argv[1], b"x" * 20_000, if_generation=-1)
    """
    ended = run_python(code, to_uri(tmp_path / "a.json"))
    assert "switchyard.core.errors.BadSetup" in ended.stderr
    assert "ulimit -f" in ended.stderr
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.json", b"first")]


def test_folder_without_rights_is_bad_setup(tmp_path: Path) -> None:
    """For each of reading, writing and listing; a list that skips what it may not see would be a lie."""
    locked = tmp_path / "locked"
    locked.mkdir()
    (locked / "a.json").write_bytes(b"x")
    code = """if True:
        import os, sys
        from pathlib import Path
        from switchyard.clients.objects.files import FileObjects
        from switchyard.core.errors import BadSetup
        folder, uri = Path(sys.argv[1]), Path(sys.argv[1]).as_uri() + "/a.json"
        folder.chmod(0)
        if os.getuid() == 0:
            os.setuid(65534)
        objects = FileObjects()
        for act in (
            lambda: objects.read(uri),
            lambda: objects.write(uri, b"x", if_generation=-1),
            lambda: objects.delete(uri, if_generation=-1),
            lambda: objects.list(folder.as_uri()),
        ):
            try:
                act()
            except BadSetup as err:
                print(err)
    """
    for parent in [tmp_path, *tmp_path.parents]:  # pytest keeps its folders to their owner
        if parent.stat().st_uid == os.getuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    ended = run_python(code, str(locked))
    locked.chmod(0o700)
    assert ended.stdout.count("give this user the right") == 4, ended.stderr


def test_too_many_open_files_asks_to_try_again(tmp_path: Path) -> None:
    """It passes when other work of this process ends."""
    uri = to_uri(tmp_path / "a.json")
    OBJECTS.write(uri, b"x", if_generation=ABSENT)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(os.dup(0), 64), hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                held.append(os.dup(0))
        with pytest.raises(TryAgain, match="too many files open"):
            OBJECTS.read(uri)
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_name_too_long_is_refused(tmp_path: Path) -> None:
    """The longest name that the disk takes can be written; one more character cannot."""
    OBJECTS.write(to_uri(tmp_path / ("n" * 255)), b"x", if_generation=ABSENT)
    with pytest.raises(BadRequest, match="too long"):
        OBJECTS.write(to_uri(tmp_path / ("n" * 256)), b"x", if_generation=ABSENT)


def test_writer_killed_half_way_leaves_the_old_version(tmp_path: Path) -> None:
    """What it left is no object, holds no lock, and goes with the next write or delete there."""
    uri = to_uri(tmp_path / "a.json")
    first = OBJECTS.write(uri, b"first", if_generation=ABSENT)
    code = """if True:
        import os, signal, sys
        from pathlib import Path
        from switchyard.clients.objects.folders import locked_folder, replace_file
        def write(file):
            file.write(b"half of the seco")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        with locked_folder(Path(sys.argv[1])) as folder:
            replace_file(folder, "a.json", write)
    """
    assert run_python(code, str(tmp_path)).returncode == -9
    assert (tmp_path / PART_NAME).exists()
    assert OBJECTS.read(uri) == (b"first", first)
    assert OBJECTS.list(tmp_path.as_uri()) == [uri]
    OBJECTS.write(uri, b"second", if_generation=first)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_part_left_behind_is_not_uploaded(tmp_path: Path) -> None:
    """An export that was killed may be uploaded by the next one."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / PART_NAME).write_bytes(b"half")
    (tmp_path / "model" / "a").write_bytes(b"whole")
    assert OBJECTS.upload_folder(tmp_path / "model", to_uri(tmp_path / "uploaded")) == 1


def test_writer_killed_before_any_effect_loses_nothing(tmp_path: Path) -> None:
    """Each time the object is whole, the old one or the new one, and the next writer goes on."""
    uri = to_uri(tmp_path / "a.json")
    code = """if True:
        import os, signal, sys
        from switchyard.clients.objects.files import FileObjects
        effects, names = 0, ("open", "write", "flush", "fsync", "utime", "replace", "rename", "unlink", "flock")
        def watch(frame, event, function):
            global effects
            if event == "c_call" and function.__name__ in names:
                effects += 1
                if effects == int(sys.argv[2]):
                    os.kill(os.getpid(), signal.SIGKILL)
        objects = FileObjects()
        sys.setprofile(watch)
        objects.write(sys.argv[1], b"new" * 500_000, if_generation=-1)
    """
    last, seen = 0, set()
    for effect in range(1, 99):
        last = OBJECTS.write(uri, b"old" * 500_000, if_generation=ANY)
        killed = run_python(code, uri, str(effect))
        data, generation = OBJECTS.read(uri)
        assert data in (b"old" * 500_000, b"new" * 500_000)
        assert (generation > last) == data.startswith(b"new")
        seen.add((killed.returncode, data[:3]))
        if killed.returncode == 0:
            break
    assert effect > 6, "the hook saw no effects to be killed at"
    assert {(-9, b"old"), (0, b"new")} <= seen <= {(-9, b"old"), (-9, b"new"), (0, b"new")}


def test_one_of_many_processes_wins(tmp_path: Path) -> None:
    """Eight processes create the same 30 objects: each object has one creator, the others get StaleWrite."""
    code = """if True:
        import sys
        from switchyard.clients.objects.files import FileObjects
        from switchyard.core.errors import StaleWrite
        sys.stdin.readline()
        for number in range(30):
            try:
                FileObjects().write(f"{sys.argv[1]}/{number}", sys.argv[2].encode(), if_generation=0)
                print(number)
            except StaleWrite:
                pass
    """
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", code, tmp_path.as_uri(), str(writer)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for writer in range(8)
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    won = {
        number: str(name)
        for name, writer in enumerate(writers)
        for number in writer.communicate(timeout=60)[0].splitlines()
    }
    assert all(writer.returncode == 0 for writer in writers)
    assert won == {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert len(won) == 30


def test_waiting_for_a_lock_has_an_end(tmp_path: Path) -> None:
    """A writer that was stopped while it held the lock does not stop the others for ever."""
    with (
        locked_folder(tmp_path),
        pytest.raises(TryAgain, match="locked by another process"),
        locked_folder(tmp_path, wait_s=0.05),
    ):
        pass
    with locked_folder(tmp_path, wait_s=0.05):  # given up at the end
        pass


def test_every_error_of_the_disk_is_ours(tmp_path: Path) -> None:
    """No vendor's exception crosses the border, whatever path is asked for."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").write_text("x")
    for name in ("loop", "loop/a", "file/a", "n" * 300, "none/a"):
        for act in (OBJECTS.stat, OBJECTS.read):
            with pytest.raises(SwitchyardError, match=r"loop|file|nnn|none"):
                act(to_uri(tmp_path / name))


def test_file_that_is_written_into_while_it_is_streamed_is_told(tmp_path: Path) -> None:
    """Programs other than ours do not replace a file, but write into it: what was read of it is no version of it."""
    path = tmp_path / "a.bin"
    path.write_bytes(b"a" * 3_000_000)

    class Slow(io.BytesIO):
        def write(self, part: Any) -> int:
            with path.open("ab") as file:
                file.write(b"more")
            return super().write(part)

    with pytest.raises(StaleWrite, match="changed while it was read"):
        FileObjects().read_into(path.as_uri(), Slow())


def test_full_temporary_disk_is_not_the_objects_fault(tmp_path: Path) -> None:
    """It may pass, and the message names what to mend."""
    path = tmp_path / "a.bin"
    path.write_bytes(b"a")
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(TryAgain, match="TMPDIR"):
        FileObjects().read_into(path.as_uri(), full)


def test_links_are_left_out_where_that_is_asked(tmp_path: Path) -> None:
    """A link may lead anywhere on the disk: behind it nothing is looked at."""
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "a").write_text("a")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b").write_text("b")
    (tmp_path / "place" / "folder").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "place" / "file").symlink_to(tmp_path / "elsewhere" / "b")
    prefix = (tmp_path / "place").as_uri() + "/"
    assert [uri for uri, _ in OBJECTS.list_stats(prefix, follow_links=False)] == [f"{prefix}a"]
    assert len(list(OBJECTS.list_stats(prefix))) == 3
