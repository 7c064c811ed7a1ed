"""What a list of this machine's jobs costs."""

import subprocess
import sys
from pathlib import Path

import msgspec

from switchyard.clients.launchers.local.job_folder import Exit
from switchyard.core.runs.jobs import JobState, Reason
from tests.clients.launchers.local.jobs_here import LONG_AGO


def test_thousand_ended_jobs_cost_one_read_each_and_then_none(tmp_path: Path) -> None:
    """An ended job's record holds all that a list needs, and does not change any more."""
    end = Exit(
        state=JobState.SUCCEEDED,
        reason=Reason.NONE,
        message="",
        labels={"a": "b"},
        created_at=LONG_AGO,
        started_at=LONG_AGO,
        ended_at=LONG_AGO,
    )
    for number in range(1_000):
        folder = tmp_path / "jobs" / f"key-{number}"
        folder.mkdir(parents=True)
        (folder / "exit.json").write_bytes(msgspec.json.encode(end))
    code = """if True:
        import sys
        from datetime import UTC, datetime
        from switchyard.clients.launchers.local.launcher import LocalLauncher
        opened = 0
        def watch(event, arguments):
            global opened
            opened += event == "open" and "jobs" in str(arguments[0])
        sys.addaudithook(watch)
        launcher = LocalLauncher(sys.argv[1])
        for _ in range(2):
            found = len(launcher.list({"a": "b"}, datetime(2020, 1, 1, tzinfo=UTC)))
            print(found, opened)
    """
    listed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert listed.stdout.split() == ["1000", "1000", "1000", "1000"]
