"""Makes a work pool and all deployments of prefect.yaml in it, on the Prefect server that PREFECT_API_URL names.

``python -m deployments.deploy cloud-run``: the pool is deployments/work_pools/cloud-run.yaml. The ``$NAMES`` in that
file are read from the environment; prefect.yaml stays as it is. A variable that needs a ``$NAME?`` is left out if the
name is not set. A second call brings both up to date.
"""

import argparse
import asyncio
import copy
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from switchyard.clients.prefect.analytics import switch_off_analytics
from switchyard.core.errors import BadSetup, SwitchyardError

ROOT = Path(__file__).resolve().parent.parent
POOLS = ROOT / "deployments" / "work_pools"
_NAME = re.compile(r"\$([A-Z_]+)(\??)")
_USED = re.compile(r": \$([A-Z_]+)$", re.MULTILINE)
_IMAGE = re.compile(r"[^\s@]+/[^\s@:/]+(:[\w.-]+|(:[\w.-]+)?@sha256:[0-9a-f]{64})")
"""Source: https://pkg.go.dev/github.com/distribution/reference#pkg-overview (tag, digest)"""


class WorkPool(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A work pool as a file of deployments/work_pools/ describes it."""

    name: str
    type: str
    variables: dict[str, Any]
    directory: str = ""  # where the flows are; empty: where the deployments are made from
    job_configuration: dict[str, Any] = {}


def list_pools() -> list[str]:
    """Lists the names that can be deployed to."""
    return sorted(path.stem for path in POOLS.glob("*.yaml"))


def read_pool(name: str, environ: Mapping[str, str]) -> WorkPool:
    """Reads the pool, with every ``$NAME`` from `environ`.

    Raises:
        BadSetup: names that are not set, or images that are not images; all at once.
    """
    missing: set[str] = set()
    read = yaml.safe_load((POOLS / f"{name}.yaml").read_text(encoding="utf-8"))
    read["variables"] = {
        variable: _fill(value, environ, missing)
        for variable, value in read["variables"].items()
        if all(environ.get(optional) for optional in _find_optional(value))
    }
    if missing:
        named = ", ".join(sorted(missing))
        raise BadSetup(f"the work pool {name} needs {named}; set them in the environment (deployments/work_pools/)")
    used = {match[1] for match in _USED.finditer((POOLS / f"{name}.yaml").read_text(encoding="utf-8"))}
    wrong = [
        f"{variable} must be an image by tag or by digest (<registry>/<name>:<tag>, "
        f"<registry>/<name>@sha256:<64 hex digits>); got {environ[variable]!r}"
        for variable in sorted(used)
        if variable.endswith("_IMAGE") and not _IMAGE.fullmatch(environ[variable])
    ]
    if wrong:
        raise BadSetup("; ".join(wrong))
    return msgspec.convert(read, WorkPool)


def _fill(value: Any, environ: Mapping[str, str], missing: set[str]) -> Any:
    if isinstance(value, dict):
        return {key: _fill(item, environ, missing) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, environ, missing) for item in value]
    if isinstance(value, str) and (match := _NAME.fullmatch(value)):
        if not environ.get(match[1]):
            missing.add(match[1])
        return environ.get(match[1], "")
    return value


def _find_optional(value: Any) -> list[str]:
    """Finds the names that `value` can do without, because they are left out."""
    if isinstance(value, dict | list):
        return [
            name for item in (value.values() if isinstance(value, dict) else value) for name in _find_optional(item)
        ]
    match = _NAME.fullmatch(value) if isinstance(value, str) else None
    return [match[1]] if match and match[2] else []


def to_template(default: Mapping[str, Any], pool: WorkPool) -> dict[str, Any]:
    """Returns the pool's base job template: `default` with the pool's own defaults.

    Raises: BadSetup: a variable that this kind of pool does not have.
    """
    template = copy.deepcopy(dict(default))
    properties = template["variables"]["properties"]
    unknown = sorted(set(pool.variables) - set(properties))
    if unknown:
        raise BadSetup(f"the work pool {pool.name} has no variable {', '.join(unknown)}; it has {sorted(properties)}")
    for name, value in pool.variables.items():
        properties[name]["default"] = value
    template["job_configuration"] = _lay_over(template["job_configuration"], pool.job_configuration)
    return template


def _lay_over(below: Any, above: Any) -> Any:
    if isinstance(below, dict) and isinstance(above, dict):
        return below | {key: _lay_over(below.get(key), item) for key, item in above.items()}
    if isinstance(below, list) and isinstance(above, list):
        longer = above[len(below) :]
        return [_lay_over(*pair) for pair in zip(below, above, strict=False)] + below[len(above) :] + longer
    return above


def to_prefect_file(prefect_yaml: Mapping[str, Any], pool: WorkPool) -> dict[str, Any]:
    """Returns prefect.yaml with all deployments in `pool`; its workers find the flows in its `directory`."""
    deployed = copy.deepcopy(dict(prefect_yaml))
    deployed.pop("definitions", None)
    for deployment in deployed["deployments"]:
        deployment["work_pool"] = {"name": pool.name}
    if pool.directory:
        deployed["pull"] = [{"prefect.deployments.steps.set_working_directory": {"directory": pool.directory}}]
    return deployed


def read_default_template(type_: str) -> dict[str, Any]:
    """Reads Prefect's own template of a kind of pool. Raises: BadSetup: no such kind."""
    from prefect.workers.utilities import get_default_base_job_template_for_infrastructure_type

    template = asyncio.run(get_default_base_job_template_for_infrastructure_type(type_))
    if template is None:
        raise BadSetup(
            f"Prefect knows no work pool of type {type_!r}; install its worker, or check the server's address"
        )
    return template


def deploy(pool: WorkPool) -> None:
    """Makes the pool and the deployments. Raises: BadSetup: Prefect refused; it has said why."""
    prefect_yaml = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    template = to_template(read_default_template(pool.type), pool)
    # Prefect reads the file's folder as the project's: it must be the repository's root.
    with (
        tempfile.NamedTemporaryFile("w", suffix=".json", prefix=".template-", dir=ROOT) as job_template,
        tempfile.NamedTemporaryFile("w", suffix=".yaml", prefix=".prefect-", dir=ROOT) as prefect_file,
    ):
        job_template.write(msgspec.json.encode(template).decode())
        yaml.safe_dump(to_prefect_file(prefect_yaml, pool), prefect_file, sort_keys=False)
        for file in (job_template, prefect_file):
            file.flush()
        _prefect("work-pool", "create", pool.name, "--type", pool.type, "--base-job-template", job_template.name)
        _prefect("--no-prompt", "deploy", "--all", "--prefect-file", prefect_file.name)
    if subprocess.run([sys.executable, "-m", "deployments.limits"], cwd=ROOT, check=False).returncode:
        raise BadSetup(
            "the limit of submissions to Vertex AI was not made, see above. Try again: python -m deployments.limits"
        )


def _prefect(*arguments: str) -> None:
    overwrite = ["--overwrite"] if arguments[0] == "work-pool" else []
    command = [sys.executable, "-m", "prefect", *arguments, *overwrite]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise BadSetup(f"`prefect {' '.join(arguments)}` failed, see above")


def main() -> int:
    """Returns the exit status: 0 done, 1 not."""
    parser = argparse.ArgumentParser(prog="python -m deployments.deploy", description=__doc__.split("\n\n")[0])
    parser.add_argument("pool", choices=list_pools())
    arguments = parser.parse_args()
    switch_off_analytics()  # here, and in all that is started
    try:
        pool = read_pool(arguments.pool, os.environ)
        if not os.environ.get("PREFECT_API_URL"):
            raise BadSetup(
                "PREFECT_API_URL is not set. Name the Prefect server to deploy to: "
                "export PREFECT_API_URL=https://<host>/api"
            )
        deploy(pool)
    except SwitchyardError as err:
        sys.stderr.write(f"deploy failed: {err}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
