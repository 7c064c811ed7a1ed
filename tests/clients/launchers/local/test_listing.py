"""What a list of this machine's jobs costs, and which folders are removed."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from switchyard.clients.launchers.local.job_folder import Exit
from switchyard.clients.launchers.local.launcher import LocalLauncher
from switchyard.core.runs.jobs import JobState, Reason
from tests.clients.launchers.local.jobs_here import LONG_AGO, age, claim, open_launcher, start, wait_for_end

NOW = datetime.now(UTC)


def keep_ended(state: Path, key: str, *, ended_at: datetime = LONG_AGO, age_s: float = 0) -> Path:
    """The folder of an ended job, as the first release left it; changed `age_s` seconds ago."""
    end = Exit(
        state=JobState.SUCCEEDED,
        reason=Reason.NONE,
        message="",
        labels={"a": "b"},
        created_at=ended_at,
        started_at=ended_at,
        ended_at=ended_at,
    )
    folder = state / "jobs" / key
    folder.mkdir(parents=True)
    (folder / "exit.json").write_bytes(msgspec.json.encode(end))
    (folder / "log.txt").write_text("trained")
    age(folder, seconds=age_s)
    return folder


def test_thousand_ended_jobs_cost_one_read_each_and_then_none(tmp_path: Path) -> None:
    """An ended job's record holds all that a list needs, and does not change any more."""
    for number in range(1_000):
        keep_ended(tmp_path, f"key-{number}")
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


def test_list_opens_no_folder_that_has_not_changed_since(tmp_path: Path) -> None:
    """So that a turn of reconcile costs what is new, however many jobs have ended; who asks further back finds all."""
    for number in range(2_000):
        keep_ended(tmp_path, f"old-{number}", ended_at=NOW - timedelta(days=9), age_s=9 * 86_400)
    for number in range(3):
        keep_ended(tmp_path, f"new-{number}", ended_at=NOW - timedelta(hours=1), age_s=3_600)
    code = """if True:
        import sys
        from datetime import UTC, datetime, timedelta
        from switchyard.clients.launchers.local.launcher import LocalLauncher
        opened = 0
        def watch(event, arguments):
            global opened
            opened += event in ("open", "os.listdir") and "jobs/" in str(arguments[0])
        sys.addaudithook(watch)
        launcher = LocalLauncher(sys.argv[1])
        print(len(launcher.list({"a": "b"}, datetime.now(UTC) - timedelta(days=1))), opened)
        print(len(launcher.list({"a": "b"}, datetime.now(UTC) - timedelta(days=10))), opened)
    """
    listed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert listed.stdout.split() == ["3", "3", "2003", "2003"]


def test_running_job_is_listed_however_old_its_folder_is(launcher: LocalLauncher) -> None:
    """It was created before the last thing that came into its folder, and that is what is compared."""
    job, _ = start(launcher)
    assert [found.key for found in launcher.list({"a": "b"}, job.created_at)] == ["key-1"]
    launcher.cancel(job.job_name)
    wait_for_end(launcher, job.job_name)


def test_old_jobs_are_those_that_ended_before(state: Path, launcher: LocalLauncher) -> None:
    """Of the labels asked for; not one that is open, or damaged, or whose folder alone is old."""
    old = keep_ended(state, "old", age_s=9 * 86_400)
    keep_ended(state, "young", ended_at=NOW, age_s=9 * 86_400)
    (keep_ended(state, "damaged", age_s=9 * 86_400) / "exit.json").write_bytes(b"{")
    age(Path(claim(state)), seconds=9 * 86_400)
    before = NOW - timedelta(days=5)
    assert [job.job_name for job in launcher.list_old({"a": "b"}, before, 10)] == [str(old)]
    assert launcher.list_old({"a": "c"}, before, 10) == []
    assert launcher.list_old({}, before, 0) == []


def test_pruned_job_is_unknown(state: Path, launcher: LocalLauncher) -> None:
    """Nothing of it is left; a second call does nothing; what is no ended job stays."""
    old, other = keep_ended(state, "old"), keep_ended(state, "other")
    job, _ = start(launcher)
    outside = state / "artifacts"
    outside.mkdir()
    names = [str(old), job.job_name, str(outside), str(state / "jobs" / ".."), "", claim_of(state)]
    assert launcher.prune(names) == 1
    assert launcher.prune(names) == 0
    assert sorted(path.name for path in (state / "jobs").iterdir()) == ["key-1", "key-2", "other"]
    assert [path.name for path in state.iterdir() if path.name == "artifacts"] == ["artifacts"]
    assert list((state / "pruned").iterdir()) == []
    assert launcher.report([str(old), str(other)]).keys() == {str(other)}
    launcher.cancel(job.job_name)
    wait_for_end(launcher, job.job_name)


def claim_of(state: Path) -> str:
    """A claim without an order."""
    folder = state / "jobs" / "key-2"
    folder.mkdir()
    return str(folder)


def test_prune_killed_at_any_moment_leaves_a_job_whole_or_none(tmp_path: Path) -> None:
    """Half a folder would be taken for a job that has not begun, and train again; the next call removes the rest."""
    code = """if True:
        import os, signal, sys
        from switchyard.clients.launchers.local.launcher import LocalLauncher
        effects = 0
        def watch(event, arguments):
            global effects
            if event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "fcntl.flock"):
                effects += 1
                if effects == int(sys.argv[3]):
                    os.kill(os.getpid(), signal.SIGKILL)
        launcher = LocalLauncher(sys.argv[1])
        sys.addaudithook(watch)
        launcher.prune([sys.argv[2]])
    """
    whole = gone = 0
    for effect in range(1, 50):
        state = tmp_path / str(effect)
        old = keep_ended(state, "old")
        killed = subprocess.run([sys.executable, "-c", code, str(state), str(old), str(effect)], check=False)
        launcher = open_launcher(state)
        report = launcher.report([str(old)])
        if report:
            assert report[str(old)].state is JobState.SUCCEEDED
            assert (old / "log.txt").read_text() == "trained"
            whole += 1
        else:
            gone += 1
        launcher.prune([str(old)])
        assert list((state / "jobs").iterdir()) == list((state / "pruned").iterdir()) == []
        if killed.returncode == 0:
            break
        assert killed.returncode == -signal.SIGKILL
    assert whole > 1
    assert gone > 3


def test_link_in_a_jobs_place_is_removed_itself_alone(state: Path, tmp_path: Path, launcher: LocalLauncher) -> None:
    """What it leads to is not ours."""
    real = keep_ended(tmp_path / "elsewhere", "old")
    (state / "jobs").mkdir(parents=True)
    (state / "jobs" / "old").symlink_to(real)
    assert launcher.prune([str(state / "jobs" / "old")]) == 1
    assert not os.path.lexists(state / "jobs" / "old")
    assert (real / "exit.json").exists()
