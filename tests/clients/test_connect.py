"""What the wiring connects, and what it leaves unloaded."""

import subprocess
import sys
from pathlib import Path

import pytest

from switchyard.clients.connect import connect
from switchyard.clients.launchers.local.launcher import LocalLauncher
from switchyard.clients.objects.files import FileObjects
from switchyard.core.errors import BadRequest


def test_local_run_loads_no_vendor(tmp_path: Path) -> None:
    """After objects, a job and its end, no module of Google's, MLflow's, gRPC's or TensorFlow's is loaded."""
    code = """if True:
        import sys, time
        before = set(sys.modules)  # a .pth file of Google's makes empty `google` modules at every start
        from datetime import UTC, datetime
        from switchyard.clients.connect import connect
        from switchyard.core.runs.jobs import JobOrder
        outside = connect()
        objects = outside.objects(outside.settings.artifacts_uri)
        uri = outside.settings.artifacts_uri + "/a.json"
        objects.delete(uri, if_generation=objects.write(uri, b"{}", if_generation=0))
        order = JobOrder(display_name="", arguments=["--help"], labels={}, timeout_s=60)
        job = outside.launcher.submit("key-1", order)
        outside.launcher.cancel(job.job_name)
        deadline = time.monotonic() + 30
        while not job.state.ended and time.monotonic() < deadline:
            time.sleep(0.05)
            [job] = outside.launcher.list({}, datetime(2020, 1, 1, tzinfo=UTC))
        assert job.state.ended, job
        print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
    """
    environ = {"STATE_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    ended = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    loaded = set(ended.stdout.split())
    assert {"switchyard", "msgspec"} <= loaded
    assert not {
        name for name in loaded if name.startswith(("google", "grpc", "mlflow", "tensorflow", "keras", "prefect"))
    }
    assert "sqlalchemy" not in loaded  # no one asked for results


def test_uri_scheme_picks_the_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheme that nothing serves is refused with the URI."""
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    assert isinstance(connect().objects("file:///a"), FileObjects)
    for uri in ("s3://bucket/a", "/a", "", "FILE:///a"):
        with pytest.raises(BadRequest, match="must start with file://"):
            connect().objects(uri)


def test_second_connect_shares_the_first_ones_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same settings, the same launcher; other settings, another one."""
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "first"))
    launcher = connect().launcher
    assert isinstance(launcher, LocalLauncher)
    assert connect().launcher is launcher
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "second"))
    assert connect().launcher is not launcher
