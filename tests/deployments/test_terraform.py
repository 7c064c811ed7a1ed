"""The Terraform files: formatted, parsed, and consistent among themselves and with the product.

No plan was made: that needs Google's provider, which cannot be had here.
"""

import json
import re
import shutil
import subprocess
from typing import Any

import hcl2
import pytest

from serving.push import PATH
from switchyard.clients.settings import Settings
from tests.deployments.image import NAMES
from tests.root import ROOT

FOLDER = ROOT / "deployments" / "terraform"
FILES = sorted(FOLDER.glob("*.tf"))
TEXT = "\n".join(path.read_text() for path in FILES)


def read_blocks(kind: str) -> list[dict[str, Any]]:
    """All blocks of a kind, of all files."""
    found = []
    for path in FILES:
        with path.open() as file:
            found += hcl2.load(file).get(kind, [])
    return found


def list_resources() -> set[str]:
    """As `type.name`."""
    return {
        f"{type_}.{name}".replace('"', "")
        for block in read_blocks("resource")
        for type_, named in block.items()
        for name in named
        if not name.startswith("__")
    }


def test_files_are_parsed() -> None:
    """Each by a parser of the language; together they hold what the document speaks of."""
    kinds = {name.partition(".")[0] for name in list_resources()}
    assert {
        "google_project_service",
        "google_storage_bucket",
        "google_service_account",
        "google_artifact_registry_repository",
        "google_cloud_run_v2_service",
        "google_secret_manager_secret",
        "google_logging_project_sink",
        "google_storage_notification",
        "google_pubsub_subscription",
        "google_billing_budget",
    } <= kinds


def test_files_are_formatted() -> None:
    """As `terraform fmt` writes them."""
    terraform = shutil.which("terraform")
    if terraform is None:
        pytest.skip("needs the terraform command")
    done = subprocess.run([terraform, "fmt", "-check", "-diff", str(FOLDER)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_reference_leads_to_something() -> None:
    """What `terraform validate` would say first: resources, variables and locals that are named are there."""
    resources = list_resources()
    named = set(re.findall(r"(?<![\w.\"/])(google_\w+\.\w+|random_\w+\.\w+)", re.sub(r"\bdata\.\S+", "", TEXT)))
    assert named - resources == set()
    variables = {name.strip('"') for block in read_blocks("variable") for name in block}
    assert set(re.findall(r"\bvar\.(\w+)", TEXT)) == variables
    locals_ = {name for block in read_blocks("locals") for name in block if not name.startswith("__")}
    assert set(re.findall(r"\blocal\.(\w+)", TEXT)) <= locals_


def test_services_get_settings_that_exist() -> None:
    """A variable that no one reads would be a misspelt one; Prefect's own are its business."""
    given = set(re.findall(r"^\s*([A-Z][A-Z_]+)\s*=", TEXT, re.MULTILINE))
    deploying = {"WORKER_IMAGE", "WORKER_SERVICE_ACCOUNT", "CLOUDSQL_INSTANCE"}
    settings = {name for name in given if not name.startswith("PREFECT_")} - deploying
    assert settings <= {field.upper() for field in Settings.__struct_fields__}
    assert {"PUSH_AUDIENCE", "PUSH_SERVICE_ACCOUNT", "TRAINER_IMAGE"} <= settings


def test_cloud_run_stands_in_front_of_what_people_read() -> None:
    """The service whose invokers it checks says so; the one that checks no invokers does not."""
    assert re.search(r'serving = \{[^}]*SERVING_BEHIND = "iam"', TEXT)
    assert TEXT.count("SERVING_BEHIND") == 1
    assert 'invoker_iam_disabled = each.key == "events"' in TEXT


def test_tokens_are_a_file_of_what_people_read() -> None:
    """Where they are asked for: from the secret, in the folder that API_TOKENS_FILE names, into that service alone.

    Its account may read the secret and no other account may.
    """
    [service] = [
        found
        for block in read_blocks("resource")
        for name, found in block.get('"google_cloud_run_v2_service"', {}).items()
        if name == '"web"'
    ]
    [template] = service["template"]
    only_serving = '${each.key == "serving" && local.has_tokens ? ["api-tokens"] : []}'
    [volume] = [one['"volumes"'] for one in template["dynamic"] if "api-tokens" in str(one)]
    [secret] = volume["content"][0]["secret"]
    assert volume["for_each"] == only_serving
    assert secret["secret"] == "${google_secret_manager_secret.api_tokens.secret_id}"
    assert secret["items"][0]["path"] == "${basename(local.tokens_file)}"
    [mount] = [one['"volume_mounts"'] for one in template["containers"][0]["dynamic"] if "api-tokens" in str(one)]
    assert (mount["for_each"], mount["content"][0]["mount_path"]) == (only_serving, "${local.tokens_folder}")
    locals_ = {name: value for block in read_blocks("locals") for name, value in block.items()}
    assert locals_["tokens_file"] == '"${local.tokens_folder}/tokens.json"'
    assert "API_TOKENS_FILE = local.tokens_file" in locals_["web"]["serving"]["settings"]
    assert "API_TOKENS_FILE" not in str(locals_["web"]["events"])
    readers = [
        grant["member"]
        for block in read_blocks("resource")
        for grant in block.get('"google_secret_manager_secret_iam_member"', {}).values()
        if isinstance(grant, dict) and "api_tokens" in str(grant["secret_id"])
    ]
    assert readers == ['${google_service_account.role["serving"].member}']


def test_pushes_go_where_serving_takes_them() -> None:
    """To its one path, as the account it is told to believe, for the audience it expects."""
    assert f'push_endpoint = "${{local.events_url}}{PATH}"' in TEXT
    assert TEXT.count('google_service_account.role["push"].email') == 2
    assert re.search(r"audience\s+= local.events_url", TEXT)
    assert re.search(r"PUSH_AUDIENCE\s+= local.events_url", TEXT)


def test_only_checkpoints_are_deleted_while_they_are_live() -> None:
    """By the ends of their names, as the trainer writes them, and in the runs' folders alone.

    Nothing else that a run leaves, or that someone else keeps in the bucket, ends so in them.
    """
    from trainer.output.checkpoints import POINTER_NAME, RECORD_NAME

    [listed] = re.findall(r"checkpoint_files = (\[.*\])", TEXT)
    ends = tuple(json.loads(listed))
    for name in ("checkpoint.json", "epoch-000012-1f0c9a3b/record.json", "epoch-000012-1f0c9a3b/0003.npy"):
        assert f"runs/quick_tests/7/checkpoints/attempt-1/{name}".endswith(ends)
    assert {f"/{POINTER_NAME}", f"/{RECORD_NAME}"} <= set(ends)
    left = (
        "training_metrics.json",
        "ended.json",
        "mlflow_info.json",
        "model/saved_model.pb",
        "embeddings/products.parquet",
    )
    assert not any(f"runs/quick_tests/7/{name}".endswith(ends) for name in left)
    assert 'run_folders      = ["${var.artifacts_prefix}/quick_tests/"]' in TEXT
    [bucket] = [block for block in read_blocks("resource") if '"google_storage_bucket"' in block]
    for rule in bucket['"google_storage_bucket"']['"artifacts"']["lifecycle_rule"]:
        [condition] = rule["condition"]
        if "age" in condition and rule["action"][0]["type"] == '"Delete"':
            assert "run_folders" in str(condition["matches_prefix"])
            assert "checkpoint_files" in str(condition["matches_suffix"])


def test_flows_may_write_below_the_artifacts_folder_alone() -> None:
    """Verify, export and backfill write there; all of the bucket is the trainer's only."""
    roles = {
        name.strip('"'): block['"google_storage_bucket_iam_member"'][name]
        for block in read_blocks("resource")
        if '"google_storage_bucket_iam_member"' in block
        for name in block['"google_storage_bucket_iam_member"']
    }
    assert set(roles) == {"trainer", "worker", "worker_writes", "serving"}
    assert roles["worker"]["role"] == '"roles/storage.objectViewer"'
    copies = "objects/${var.artifacts_prefix}/mlflow-artifacts/"
    assert roles["serving"]["role"] == '"roles/storage.objectViewer"'
    assert copies in roles["serving"]["condition"][0]["expression"]
    assert roles["worker_writes"]["role"] == '"roles/storage.objectUser"'
    [condition] = roles["worker_writes"]["condition"]
    folder = "projects/_/buckets/${google_storage_bucket.artifacts.name}/objects/${var.artifacts_prefix}/"
    assert condition["expression"] == f"\"resource.name.startsWith('{folder}')\""
    assert re.search(r'artifacts += "gs://\$\{google_storage_bucket.artifacts.name\}/\$\{var.artifacts_prefix\}"', TEXT)


def test_every_image_has_a_dockerfile() -> None:
    """And is named by its Dockerfile's name."""
    assert set(re.findall(r"\$\{local\.registry\}/(\w+):", TEXT)) == set(NAMES)


def test_images_may_be_named_by_digest() -> None:
    """Each by its own, which must be one; nothing names an image by its tag past that."""
    for name in NAMES:
        assert f"${{local.registry}}/{name}@${{lookup(var.image_digests" in TEXT
        assert TEXT.count(f"/{name}:${{var.image_tag}}") == 1
        assert f"local.images.{name}" in TEXT
    [condition] = re.findall(r'can\(regex\("(.*)", digest\)\)', TEXT)
    assert re.match(condition, "sha256:" + "0a" * 32)
    for wrong in ("latest", "sha256:0a", "sha512:" + "0a" * 32, "sha256:" + "0A" * 32):
        assert not re.match(condition, wrong)


def test_flows_are_started_without_a_right_to_the_services() -> None:
    """A role for all of Cloud Run could replace what people read, and what takes pushes."""
    assert "roles/run.developer" not in {*re.findall(r'role\s+= "(roles/[\w.]+)"', TEXT)}
    [role] = [
        found['"google_project_iam_custom_role"']['"flow_starter"']
        for found in read_blocks("resource")
        if '"flow_starter"' in found.get('"google_project_iam_custom_role"', {})
    ]
    permissions = {permission.strip('"') for permission in role["permissions"]}
    assert {"run.jobs.create", "run.jobs.run", "run.executions.get"} <= permissions
    assert not [permission for permission in permissions if "services" in permission or "Iam" in permission]


def test_flows_may_read_the_digest_of_the_trainer_s_image() -> None:
    """In the one repository that has the images: else a run's row names a tag, which may move."""
    granted = [
        grant
        for block in read_blocks("resource")
        for grant in block.get('"google_artifact_registry_repository_iam_member"', {}).values()
        if isinstance(grant, dict)
    ]
    assert [(grant["role"], grant["member"]) for grant in granted] == [
        ('"roles/artifactregistry.reader"', '${google_service_account.role["worker"].member}')
    ]
    assert "google_artifact_registry_repository.images" in granted[0]["repository"]


def test_no_account_may_do_everything() -> None:
    """One role a need: none of the basic roles, and no administrator."""
    roles = set(re.findall(r'"(roles/[\w.]+)"', TEXT))
    assert roles
    assert [role for role in roles if role in ("roles/owner", "roles/editor", "roles/viewer") or "dmin" in role] == []


def test_no_secret_is_written() -> None:
    """Values of secrets are made, or put in by hand; none is a variable, whose value lands in a file."""
    variables = [name.strip('"') for block in read_blocks("variable") for name in block]
    assert [name for name in variables if re.search("password|key|secret|token", name)] == []
    assert re.findall(r'secret_data\s*=\s*"(?!postgresql\+psycopg://switchyard:\$\{random_password)', TEXT) == []
