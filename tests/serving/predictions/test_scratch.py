"""The folder of a loader's process: whose server was killed is found by the next one."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from serving.predictions.scratch import PREFIX, make_scratch, sweep_scratch
from tests.root import ROOT


def test_only_folders_of_servers_that_are_no_more_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the empty files in them; neither those in use, nor what is no folder of ours."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    other = tmp_path / "other"
    other.mkdir()
    (tmp_path / f"{PREFIX}link").symlink_to(other)
    (tmp_path / f"{PREFIX}file").touch()
    own = make_scratch()
    program = (
        "import sys; from serving.predictions.scratch import make_scratch\n"
        "print(make_scratch().path, flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        left = Path(server.stdout.readline().strip())
        (left / "empty").touch()
        sweep_scratch()
        assert (left / "empty").exists()
        server.kill()
    sweep_scratch()
    sweep_scratch()
    assert not left.exists()
    assert {path.name for path in tmp_path.iterdir()} == {
        *("other", f"{PREFIX}link", f"{PREFIX}file", Path(own.path).name)
    }
    own.remove()
    assert not Path(own.path).exists()
