"""What the last release offered is offered still: flags, fields, defaults, variables, deployments, images."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.releases.release import Release
from tests.root import ROOT

SCRIPT = Path(__file__).with_name("interface.py")
CHANGED = {
    "parameters": ["/TrainParameters/embedding_dim/default was 64; it is 128"],
    "trainer": ["/embedding_dim/default was 64; it is 128"],
}
"""Defaults that 0.2.0 changes; `switchyard.core.runs.spec.UNSAID` has the old ones."""
PARTS = ("parameters", "trainer", "trainer flags", "flows flags", "serving flags", "variables")

# Of prefect.yaml and of the Dockerfiles, which no wheel holds, as they are in the commit of the last release.
DEPLOYMENTS = {
    ("train/manual", "flows/train.py:train"),
    ("train/nightly", "flows/train.py:train"),
    ("ingest/on-job-ended", "flows/ingest.py:ingest"),
    ("reconcile/every-minute", "flows/reconcile.py:reconcile"),
    ("backfill/manual", "flows/backfill.py:backfill"),
    ("verify/manual", "flows/verify.py:verify"),
    ("verify/weekly", "flows/verify.py:verify"),
    ("export/manual", "flows/export.py:export"),
}
ENTRIES = {
    "trainer": ['ENTRYPOINT ["python", "-m", "trainer"]'],
    "serving": ['ENTRYPOINT ["python", "-m", "serving"]', 'CMD ["--host", "0.0.0.0", "--port", "8080"]'],
    "worker": ['CMD ["python", "-m", "prefect", "worker", "start", "--pool", "switchyard", "--with-healthcheck"]'],
}


@pytest.fixture(scope="module")
def before(release: Release) -> dict[str, Any]:
    """What the last release says of itself."""
    places = {"settings": "clients.settings", "spec": "history.spec"}
    found: dict[str, Any] = release.answer(SCRIPT.read_text(), json.dumps(places))
    return found


@pytest.fixture(scope="module")
def now() -> dict[str, Any]:
    """What this checkout says of itself."""
    places = {"settings": "switchyard.clients.settings", "spec": "switchyard.core.runs.spec"}
    code = SCRIPT.read_text()
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(places)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("part", PARTS)
def test_all_that_the_last_release_took_is_taken_and_no_default_changes_unnamed(
    before: dict[str, Any], now: dict[str, Any], part: str
) -> None:
    """Name, type, limits and default of each stay the same, or are named as changed.

    A default that changes results changes in one named release:
    docs/decisions/0014-a-trainer-is-told-what-differs.md.
    """
    assert before[part]
    assert list(list_losses(before[part], now[part])) == CHANGED.get(part, [])


def list_losses(before: Any, now: Any, where: str = "") -> Any:
    """What is gone, or another; what has been added is no loss."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name, part in before.items():
            if name not in now:
                yield f"{where}/{name} is gone"
            else:
                yield from list_losses(part, now[name], f"{where}/{name}")
    elif isinstance(before, list) and isinstance(now, list) and where.endswith(("/enum", "/choices")):
        yield from (f"{where} has no {choice!r} any more" for choice in before if choice not in now)
    elif before != now:
        yield f"{where} was {before!r}; it is {now!r}"


def test_a_flag_that_is_gone_or_has_another_default_is_found() -> None:
    """The comparison above sees what it is for."""
    before = {"a": {"default": 1}, "b": {"enum": ["x", "y"]}, "c": {}}
    now = {"a": {"default": 2}, "b": {"enum": ["y", "z"]}, "d": {}}
    assert list(list_losses(before, now)) == [
        "/a/default was 1; it is 2",
        "/b/enum has no 'x' any more",
        "/c is gone",
    ]


def test_the_deployments_keep_their_names() -> None:
    """Schedules, automations and scripts call them by these."""
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    found = {(f"{one['entrypoint'].rpartition(':')[2]}/{one['name']}", one["entrypoint"]) for one in deployments}
    assert found >= DEPLOYMENTS


@pytest.mark.parametrize("image", ENTRIES)
def test_the_images_keep_their_entry_lines(image: str) -> None:
    """Work pools, services and jobs that exist pass their arguments to these."""
    text = (ROOT / "deployments" / f"{image}.Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r"^(?:ENTRYPOINT|CMD) .*", text, flags=re.MULTILINE) == ENTRIES[image]
