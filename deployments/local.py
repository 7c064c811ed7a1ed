"""Makes the deployments of prefect.yaml on the Prefect server of `make up`, with its schedules paused at first.

A laptop that someone tries Switchyard on must not train every night. Reconcile goes on every minute: nothing else
publishes what a lost event left. ``python -m deployments.local``; a second call keeps what a person resumed or paused.
"""

import copy
import os
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from switchyard.clients.prefect.analytics import switch_off_analytics

ROOT = Path(__file__).resolve().parent.parent
ALWAYS = ("reconcile/every-minute",)
"""Deployments with schedules as prefect.yaml has them."""


def to_name(deployment: Mapping[str, Any]) -> str:
    """Returns a deployment's name with its flow's, as Prefect shows it: ``train/nightly``.

    Our flows are named like their functions, with hyphens, which is Prefect's own default.

    >>> to_name({"entrypoint": "flows/import_models.py:import_models", "name": "manual"})
    'import-models/manual'
    """
    return f"{deployment['entrypoint'].rpartition(':')[2].replace('_', '-')}/{deployment['name']}"


def find_pausable(prefect_yaml: Mapping[str, Any]) -> list[str]:
    """Finds the deployments with schedules that a person resumes."""
    return [
        to_name(deployment)
        for deployment in prefect_yaml["deployments"]
        if deployment.get("schedules") and to_name(deployment) not in ALWAYS
    ]


def to_local(prefect_yaml: Mapping[str, Any], resumed: Collection[str]) -> dict[str, Any]:
    """Returns `prefect.yaml` with its schedules paused, except those of `ALWAYS` and of the ones in `resumed`."""
    local = copy.deepcopy(dict(prefect_yaml))
    pausable = find_pausable(prefect_yaml)
    for deployment in local["deployments"]:
        if to_name(deployment) in pausable:
            for schedule in deployment["schedules"]:
                schedule["active"] = to_name(deployment) in resumed
    return local


def to_lines(prefect_yaml: Mapping[str, Any], resumed: Collection[str]) -> list[str]:
    """Returns what `make up` says of the deployments."""
    names = [to_name(deployment) for deployment in prefect_yaml["deployments"]]
    paused = [name for name in find_pausable(prefect_yaml) if name not in resumed]
    lines = [f"deployed: {', '.join(names)}"]
    if paused:
        lines.append(
            f"paused: the schedules of {', '.join(paused)}. To resume one, switch it on on its page in Prefect"
        )
    return lines


def read_resumed(names: Collection[str]) -> set[str]:
    """Reads which of `names` the server has with a schedule at work."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    resumed = set()
    with get_client(sync_client=True) as client:
        for name in names:
            try:
                deployment = client.read_deployment_by_name(name)
            except ObjectNotFound:
                continue
            if any(schedule.active for schedule in deployment.schedules):
                resumed.add(name)
    return resumed


def main() -> int:
    """Deploys, and says what; returns Prefect's exit status."""
    switch_off_analytics()  # before Prefect is imported, and in what is started
    prefect_yaml = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    resumed = read_resumed(find_pausable(prefect_yaml))
    # Not deployed as it is and paused afterwards: at the wrong second, a run would start in between. Prefect reads the
    # file's folder as the project's: it must be the repository's root.
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", prefix=".prefect-", dir=ROOT) as file:
        yaml.safe_dump(to_local(prefect_yaml, resumed), file, sort_keys=False)
        file.flush()
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", file.name],
            cwd=ROOT,
            env=os.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    lines = to_lines(prefect_yaml, resumed) if done.returncode == 0 else [done.stdout]
    sys.stdout.write("\n".join(lines) + "\n")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
