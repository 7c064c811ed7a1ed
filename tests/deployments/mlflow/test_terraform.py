"""The Terraform files of the MLflow server: formatted, parsed, and consistent with the entrypoint.

No plan is made: that needs Google's provider, which cannot be had here.
"""

import re
import shutil
import subprocess
from typing import Any

import hcl2
import pytest

from deployments.mlflow.entrypoint import FRONTS, REFUSED, to_environment
from tests.root import ROOT

FOLDER = ROOT / "deployments" / "mlflow" / "terraform"
FILES = sorted(FOLDER.glob("*.tf"))
TEXT = "\n".join(path.read_text() for path in FILES)


def read_blocks(kind: str) -> list[dict[str, Any]]:
    """All blocks of a kind, of all files."""
    found = []
    for path in FILES:
        with path.open() as file:
            found += hcl2.load(file).get(kind, [])
    return found


def read_resource(kind: str, name: str) -> dict[str, Any]:
    (found,) = [
        block[f'"{kind}"'][f'"{name}"']
        for block in read_blocks("resource")
        if f'"{name}"' in block.get(f'"{kind}"', {})
    ]
    assert isinstance(found, dict)
    return found


def read_locals() -> dict[str, Any]:
    return {name: value for block in read_blocks("locals") for name, value in block.items()}


def read_container(kind: str, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The template, and its one container."""
    (template,) = read_resource(kind, name)["template"]
    if "template" in template:
        (template,) = template["template"]
    (container,) = template["containers"]
    return template, container


SERVICE = ("google_cloud_run_v2_service", "mlflow")
JOB = ("google_cloud_run_v2_job", "upgrade")


def test_files_are_formatted() -> None:
    """As `terraform fmt` writes them."""
    terraform = shutil.which("terraform")
    if terraform is None:
        pytest.skip("needs the terraform command")
    done = subprocess.run([terraform, "fmt", "-check", "-diff", str(FOLDER)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_reference_leads_to_something() -> None:
    """What `terraform validate` would say first."""
    resources = {
        f"{kind}.{name}".replace('"', "")
        for block in read_blocks("resource")
        for kind, named in block.items()
        for name in named
        if not name.startswith("__")
    }
    named = set(re.findall(r"(?<![\w.\"/])(google_\w+\.\w+|random_\w+\.\w+)", re.sub(r"\bdata\.\S+", "", TEXT)))
    assert named - resources == set()
    variables = {name.strip('"') for block in read_blocks("variable") for name in block}
    assert set(re.findall(r"\bvar\.(\w+)", TEXT)) == variables
    assert set(re.findall(r"\blocal\.(\w+)", TEXT)) <= set(read_locals())
    example = (FOLDER / "terraform.tfvars.example").read_text()
    assert set(re.findall(r"^(\w+)\s+=", example, re.MULTILINE)) <= variables


@pytest.mark.parametrize(
    ("resource", "command", "tag"), [(SERVICE, "serve", "image_tag"), (JOB, "upgrade", "upgrade_image_tag")]
)
def test_service_and_job_run_the_entrypoint(resource: tuple[str, str], command: str, tag: str) -> None:
    """One image, by its subcommand; the job's has a tag of its own, because it runs before the server may start.

    The database's address is a secret, and its socket is there.
    """
    template, container = read_container(*resource)
    assert container["args"] == [f'"{command}"']
    assert container["image"] == f'"${{local.registry}}/mlflow:${{var.{tag}}}"'
    assert read_resource(*resource)["count"] == f'${{var.{tag} == "" ? 0 : 1}}'
    (secret,) = container["env"]
    assert secret["name"] == '"MLFLOW_BACKEND_STORE_URI"'
    assert "store_uri.secret_id" in secret["value_source"][0]["secret_key_ref"][0]["secret"]
    assert container["volume_mounts"][0]["mount_path"] == '"/cloudsql"'
    assert template["service_account"] == "${google_service_account.mlflow.email}"


def test_the_entrypoint_takes_what_the_service_is_given() -> None:
    """Every variable that it needs, none that it refuses, and the address as Cloud SQL's socket has it."""
    given = {name: str(value).strip('"') for name, value in read_locals()["settings"].items() if name[0] != "_"}
    assert not set(given) & set(REFUSED)
    assert given["MLFLOW_BEHIND"] in FRONTS
    written = read_resource("google_secret_manager_secret_version", "store_uri")["secret_data"].strip('"')
    values = given | {
        "HOST": "0.0.0.0",  # noqa: S104  (as the image has it)
        "PORT": "8080",
        "MLFLOW_BACKEND_STORE_URI": re.sub(r"\$\{[^}]+\}", "x", written),
        "MLFLOW_SERVER_ALLOWED_HOSTS": re.sub(r"\$\{[^}]+\}", "x", read_locals()["host"].strip('"')),
        "MLFLOW_ARTIFACTS_DESTINATION": re.sub(r"\$\{[^}]+\}", "x", given["MLFLOW_ARTIFACTS_DESTINATION"]),
    }
    environ, _, port = to_environment(values)
    assert (port, environ["MLFLOW_BACKEND_STORE_URI"].partition("?")[2]) == (8080, "host=/cloudsql/x")
    assert environ["MLFLOW_SERVER_ALLOWED_HOSTS"].startswith("switchyard-mlflow-x.x.run.app,")


def test_no_one_calls_it_unnamed() -> None:
    """Cloud Run checks invokers, and may not be told to let everyone in."""
    assert read_resource(*SERVICE)["invoker_iam_disabled"] is False
    assert read_resource("google_cloud_run_v2_service_iam_member", "callers")["member"] == "${each.value}"
    (callers,) = [block['"callers"'] for block in read_blocks("variable") if '"callers"' in block]
    (validation,) = callers["validation"]
    assert '["allUsers", "allAuthenticatedUsers"]' in validation["condition"]
    assert TEXT.count("allUsers") == 1


def test_it_has_the_room_and_the_time_that_it_needs() -> None:
    """More memory than the 1 GiB that a start with job execution did not fit; 120 s for a start."""
    _, container = read_container(*SERVICE)
    assert container["resources"][0]["limits"]["memory"] == '"2Gi"'
    (probe,) = container["startup_probe"]
    assert probe["period_seconds"] * probe["failure_threshold"] == 120
    assert probe["http_get"][0]["path"] == '"/health"'


def test_instances_do_not_open_more_connections_than_there_are() -> None:
    """The defaults fit the smallest database, and others are refused before anything is made.

    What an instance opens is what was counted on a real server (docs/mlflow-server.md).
    """
    values = {
        name.strip('"'): variable["default"]
        for block in read_blocks("variable")
        for name, variable in block.items()
        if isinstance(variable, dict) and isinstance(variable.get("default"), int)
    }
    assert read_locals()["connections_of_an_instance"] == "${2 * (var.pool_size + 1) + 2}"
    of_one = 2 * (values["pool_size"] + 1) + 2
    assert of_one == 8
    assert values["max_instances"] * of_one <= values["database_connections"] - 3
    (lifecycle,) = read_resource("google_sql_database_instance", "mlflow")["lifecycle"]
    (precondition,) = lifecycle["precondition"]
    wanted = "var.max_instances * local.connections_of_an_instance <= var.database_connections - 3"
    assert wanted in precondition["condition"]
    settings = read_locals()["settings"]
    assert settings["MLFLOW_SQLALCHEMYSTORE_POOL_SIZE"] == "${tostring(var.pool_size)}"
    assert settings["MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW"] == '"1"'


def test_a_deleted_database_leaves_its_backups() -> None:
    """The database is protected against every deletion: twice, backed up daily, and once more at the end."""
    database = read_resource("google_sql_database_instance", "mlflow")
    assert database["deletion_protection"] is True
    (settings,) = database["settings"]
    assert settings["deletion_protection_enabled"] is True
    assert settings["retain_backups_on_delete"] is True
    assert settings["final_backup_config"][0] == {
        "enabled": True,
        "retention_days": "${var.final_backup_days}",
        "__is_block__": True,
    }
    (backup,) = settings["backup_configuration"]
    assert (backup["enabled"], backup["point_in_time_recovery_enabled"]) == (True, True)


def test_its_identity_may_do_what_it_needs() -> None:
    """The bucket's objects, the database, one secret; no basic role, no administrator."""
    roles = set(re.findall(r'role\s+= "(roles/[\w.]+)"', TEXT))
    assert roles == {
        "roles/storage.objectUser",
        "roles/cloudsql.client",
        "roles/secretmanager.secretAccessor",
        "roles/run.invoker",
    }


def test_no_secret_is_written() -> None:
    """The password is made, and in a secret; no variable has one."""
    variables = [name.strip('"') for block in read_blocks("variable") for name in block]
    assert [name for name in variables if re.search("password|key|secret|token", name)] == []
    assert re.findall(r'secret_data\s*=\s*"(?!postgresql://mlflow:\$\{random_password)', TEXT) == []
