"""`switchyard convert` that is ended from outside leaves no process, and its folder goes."""

import os
import pickle
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.convert.command import FOLDER_PREFIX, main
from tests.root import ROOT

WAITS = """
import os, signal, sys
told = os.open(sys.argv[1], os.O_WRONLY)
from serving.convert import child
def wait(_wanted):
    os.write(told, b"reads the pickle")
    signal.pause()
child._convert = wait
child.main()
"""
"""The true process, whose pickle does not end; that it has ended closes the pipe."""
LONGEST_S = 60.0


@pytest.fixture
def begun(tmp_path: Path) -> "Iterator[tuple[subprocess.Popen[bytes], int]]":
    """A command whose process has begun with the pickle, and the pipe that this process holds open."""
    (tmp_path / "temporary").mkdir()
    (tmp_path / "waits.py").write_text(WAITS)
    (tmp_path / "python").write_text(
        f"#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} {tmp_path / 'waits.py'} {tmp_path / 'pipe'}\n"
    )
    (tmp_path / "python").chmod(0o755)
    (tmp_path / "model.pkl").write_bytes(pickle.dumps([1]))
    os.mkfifo(tmp_path / "pipe")
    pipe = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    command = subprocess.Popen(
        [sys.executable, "-m", "serving.convert.command", "model.pkl", "--to", "model.ubj", "--run-its-code"],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(tmp_path / "temporary"),
            "MODEL_LOADER_PYTHON": str(tmp_path / "python"),
        },
    )
    try:
        assert read(pipe) == b"reads the pickle"
        yield command, pipe
    finally:
        command.kill()
        command.wait()
        os.close(pipe)


def read(pipe: int) -> bytes:
    """What comes next; empty: what held the other end is gone."""
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    assert poll.poll(1000 * LONGEST_S), "nothing was written, and the process lives"
    return os.read(pipe, 100)


@pytest.mark.skipif(sys.platform != "linux", reason="another system ends no process with its parent")
def test_a_command_that_is_killed_leaves_no_process(
    begun: "tuple[subprocess.Popen[bytes], int]", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the next call removes the copy of the pickle that it left."""
    command, pipe = begun
    command.kill()
    assert read(pipe) == b""
    command.wait()
    assert [path.name.startswith(FOLDER_PREFIX) for path in (tmp_path / "temporary").iterdir()] == [True]
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("MODEL_LOADER_PYTHON", "/nonexistent/python")
    assert main([str(tmp_path / "model.pkl"), "--to", str(tmp_path / "other.ubj"), "--run-its-code"]) == 1
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_ended_cleans_up(
    begun: "tuple[subprocess.Popen[bytes], int]", tmp_path: Path, number: signal.Signals
) -> None:
    """Its process ends, and the folder with the copy of the pickle is removed."""
    command, pipe = begun
    command.send_signal(number)
    assert command.wait(LONGEST_S) == 128 + number
    assert read(pipe) == b""
    assert list((tmp_path / "temporary").iterdir()) == []


def test_the_folder_of_a_call_that_goes_on_is_kept(
    begun: "tuple[subprocess.Popen[bytes], int]", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another call takes away only what no one holds."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("MODEL_LOADER_PYTHON", "/nonexistent/python")
    before = list((tmp_path / "temporary").iterdir())
    assert main([str(tmp_path / "model.pkl"), "--to", str(tmp_path / "other.ubj"), "--run-its-code"]) == 1
    assert list((tmp_path / "temporary").iterdir()) == before
