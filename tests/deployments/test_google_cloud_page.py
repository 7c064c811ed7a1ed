"""docs/google-cloud.md against what it speaks of: messages, commands, flags, settings, variables, pools."""

import ast
import re
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import google.auth.jwt
import pytest

from deployments.deploy import list_pools
from switchyard.clients.settings import Settings
from tests.deployments.image import NAMES
from tests.deployments.test_terraform import TEXT as TERRAFORM
from tests.root import ROOT

PAGE = (ROOT / "docs" / "google-cloud.md").read_text()
NOT_RUN = "*(not run here)*"
ROOMS = ("deployments", "flows", "serving", "switchyard", "tasks", "tests/emulators")


@lru_cache
def read_messages() -> str:
    """Every text in the sources, in one; what an f-string fills in is `...`."""
    sources = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    found = []
    for path in [*sources, Path(google.auth.jwt.__file__)]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                found.append(
                    "".join(str(part.value) if isinstance(part, ast.Constant) else "..." for part in node.values)
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found).replace("`", "")


def list_rows(title: str) -> list[str]:
    """The first cells of the table below a heading."""
    section = PAGE.split(f"\n## {title}")[1].split("\n## ")[0]
    return [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("| ") and "---" not in line][
        1:
    ]


@pytest.mark.parametrize("cell", list_rows("8. When something goes wrong"))
def test_every_message_that_is_explained_is_said_somewhere(cell: str) -> None:
    """A person searches the page for the words on the screen."""
    quoted = re.findall(r"`([^`]+)`", cell)
    assert quoted
    for message in quoted:
        for part in filter(None, (part.strip(" ;") for part in message.split("..."))):
            start = part.removeprefix("serving cannot start: ").removeprefix("push:")
            filled = re.sub(
                r"\b(PUSH_SERVICE_ACCOUNT|TRAINING_BACKEND=vertex|137|1)\b|run: switchyard migrate", "...", start
            )
            said = start.strip() in read_messages() or filled.strip() in read_messages()
            assert said, part


def list_commands() -> list[str]:
    """The shell lines of the page, with what continues them."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    return [command for block in blocks for command in re.split(r"^\$ ", block, flags=re.MULTILINE) if command.strip()]


def test_commands_of_others_are_marked_as_not_run() -> None:
    """Whatever needs an account or a tool that tests do not have stands in a part that says so."""
    for part in re.split(r"\n(?=## |\*\*)", PAGE):
        foreign = re.search(r"^\$ .*\b(gcloud|docker|terraform|kubectl|helm)\b", part, re.MULTILINE)
        asks_for_secret = 'RESULTS_URL="$(gcloud' in part
        assert not foreign or NOT_RUN in part or asks_for_secret, part[:80]


def test_flags_of_our_commands_exist() -> None:
    """As the commands' own --help lists them."""
    ours = [command for command in list_commands() if command.startswith(".venv/bin/switchyard train")]
    assert ours
    for module, flags in (
        (["flows", "train"], set(re.findall(r"--[a-z-]+", " ".join(ours))) | {"--no-wait"}),
        (["serving"], {"--only-events"}),
    ):
        done = subprocess.run([sys.executable, "-m", *module, "--help"], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0
        assert flags <= set(re.findall(r"--[a-z-]+", done.stdout))


def test_names_of_ours_exist() -> None:
    """Settings, Terraform's variables and outputs, images, pools, accounts."""
    settings = {field.upper() for field in Settings.__struct_fields__}
    exported = set(re.findall(r"([A-Z][A-Z_]+)=", PAGE)) - {"REGISTRY", "TAG", "POOL", "PYTHON_IMAGE", "EXTRA"}
    pools = "\n".join(path.read_text() for path in (ROOT / "deployments" / "work_pools").glob("*.yaml"))
    deployed = set(re.findall(r"\$([A-Z_]+)", pools)) | {"PREFECT_API_URL"}
    assert exported <= settings | deployed
    assert set(re.findall(r"POOL=([a-z-]+)", PAGE)) <= set(list_pools())
    assert re.search(r"for image in ([a-z ]+);", PAGE)[1].split() == list(NAMES)  # type: ignore[index]
    for name in ("image_tag", "prefect_auth", "database", "noncurrent_days", "billing_account", "monthly_budget"):
        assert f'variable "{name}"' in TERRAFORM
    for name in ("registry", "settings", "serving_url"):
        assert f'output "{name}"' in TERRAFORM
    for account in set(re.findall(r"switchyard-(trainer|worker|serving|events|push)`", PAGE)):
        assert re.search(rf"^    {account}\s+= ", TERRAFORM, re.MULTILINE), account
    for name in set(re.findall(r"switchyard-(?:results-url|prefect-auth|migrate|results)\b", PAGE)):
        assert f'"{name}"' in TERRAFORM, name
