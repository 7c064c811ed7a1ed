"""Jobs of this machine on a disk that is full."""

from pathlib import Path

import pytest

from switchyard.core.errors import TryAgain
from switchyard.core.runs.jobs import JobState
from tests.clients.launchers.local.jobs_here import SLEEP, open_launcher, order, start, wait_for_end, wait_until


def fill(disk: Path) -> None:
    with pytest.raises(OSError, match="No space left"), (disk / "ballast").open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass


def test_submit_on_a_full_disk_can_be_tried_again(small_disk: Path) -> None:
    """Nothing half-written is in the way of the next one."""
    fill(small_disk)
    launcher = open_launcher(small_disk)
    with pytest.raises(TryAgain, match="disk is full"):
        launcher.submit("key-1", order(""))
    (small_disk / "ballast").unlink()
    assert wait_for_end(launcher, launcher.submit("key-1", order("")).job_name).state is JobState.SUCCEEDED


def test_end_of_a_training_waits_for_room_on_the_disk(small_disk: Path, tmp_path: Path) -> None:
    """A training of hours is not lost because the disk was full at its last moment."""
    go_on = tmp_path / "go-on"
    code = (
        f"{SLEEP.partition('; time.sleep')[0]}\nimport os\nwhile not os.path.exists({str(go_on)!r}): time.sleep(0.02)"
    )
    launcher = open_launcher(small_disk)
    job, running = start(launcher, code)
    fill(small_disk)
    go_on.touch()
    wait_until(lambda: running.training.find() is None)
    assert launcher.report([job.job_name])[job.job_name].state is JobState.RUNNING
    (small_disk / "ballast").unlink()
    assert wait_for_end(launcher, job.job_name).state is JobState.SUCCEEDED
