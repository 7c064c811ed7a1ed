"""The files that make an MLflow server: image, pins, compose. No image is built and nothing is composed here."""

import re
from typing import Any

import pytest
import yaml
from docker.utils.build import exclude_paths

from deployments.mlflow.entrypoint import FIXED, FRONTS, REFUSED
from tests.deployments.image import Image, read_commands, read_image
from tests.root import ROOT

FOLDER = ROOT / "deployments" / "mlflow"
PINS = sorted(FOLDER.glob("constraints-*.txt"))
ENTRY = (FOLDER / "entrypoint.py").read_text()


class _Loader(yaml.SafeLoader):
    """Compose's own tags replace what they stand before."""


_LOAD: Any = yaml.SafeLoader.construct_mapping
_Loader.add_constructor("!override", lambda loader, node: _LOAD(loader, node, deep=True))


def read_compose(name: str) -> dict[str, Any]:
    read = yaml.load((FOLDER / name).read_text(), _Loader)  # noqa: S506  (a safe loader with one more tag)
    assert isinstance(read, dict)
    return read


@pytest.fixture
def image() -> Image:
    return read_image("mlflow", FOLDER)


def test_the_image_runs_the_entrypoint_as_nobody(image: Image) -> None:
    """By number; a list, so that SIGTERM reaches it; its own port, on every interface."""
    uid, _, gid = image.user.partition(":")
    assert min(int(uid), int(gid)) >= 10000
    assert (image.entrypoint, image.command) == (("python", "entrypoint.py"), ("serve",))
    assert (image.environ["HOST"], image.environ["PORT"]) == ("0.0.0.0", "8080")  # noqa: S104
    assert "8080/health" in image.healthcheck[-1]
    assert {"org.opencontainers.image.title", "org.opencontainers.image.description"} <= set(image.labels)


def test_the_image_holds_no_secret_and_no_front(image: Image) -> None:
    """What checks callers is said where it is deployed: the image cannot know."""
    assert [name for name in image.environ if name.startswith(("MLFLOW_", "AWS_"))] == []
    assert image.arguments == {"MLFLOW": "current"}


def test_everything_in_the_image_is_pinned() -> None:
    """One install, by a file of pins that is there for each version."""
    (install,) = [c.value[0] for c in read_commands("mlflow") if c.name == "RUN" and "pip install" in c.value[0]]
    assert 'pip install --constraint "constraints-$MLFLOW.txt"' in install
    assert [path.name for path in PINS] == ["constraints-2.9.2.txt", "constraints-current.txt"]
    wanted = re.split(r"\s+", install.split('constraints-$MLFLOW.txt"')[1].split("&&")[0].replace("\\", " ").strip())
    for path in PINS:
        pins = {line.partition("==")[0].lower() for line in path.read_text().splitlines()}
        assert set(wanted) <= pins


@pytest.mark.parametrize("path", PINS, ids=lambda path: path.name)
def test_pins_name_no_index(path: Any) -> None:
    """Plain pins below one comment, so that any index serves them."""
    comment, *lines = path.read_text().splitlines()
    assert comment.startswith("#")
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)] == []


def test_pins_are_of_versions_that_work() -> None:
    """The newest without the advisories up to 3.16.0; 2.9.2 with the SQLAlchemy that does not break it."""
    current, old = ((FOLDER / f"constraints-{name}.txt").read_text() for name in ("current", "2.9.2"))
    (found,) = re.findall(r"^mlflow==(.+)$", current, re.MULTILINE)
    assert tuple(map(int, found.split("."))) >= (3, 16, 1)
    assert re.search(r"^mlflow==2\.9\.2$", old, re.MULTILINE)
    assert re.search(r"^SQLAlchemy==2\.0\.", old, re.MULTILINE)


def test_composed_services_run_the_entrypoint() -> None:
    """The database is upgraded before it is served; both know all that the entrypoint asks for."""
    services = read_compose("compose.yaml")["services"]
    assert (services["upgrade"]["command"], services["mlflow"]["command"]) == (["upgrade"], ["serve"])
    assert services["mlflow"]["depends_on"] == {
        name: {"condition": "service_completed_successfully"} for name in ("bucket", "upgrade")
    }
    for name in ("upgrade", "mlflow"):
        given = services[name]["environment"]
        needed = {"MLFLOW_BACKEND_STORE_URI", "MLFLOW_ARTIFACTS_DESTINATION", "MLFLOW_SERVER_ALLOWED_HOSTS"}
        assert needed | {"MLFLOW_BEHIND"} <= set(given)
        assert not set(given) & (set(REFUSED) | set(FIXED))
        assert all(known in ENTRY or known.startswith("AWS_") for known in given)


def test_what_is_composed_is_open_to_this_machine_alone() -> None:
    """One port, on the loopback address; the front that it names is the one that says so."""
    services = read_compose("compose.yaml")["services"]
    assert [(name, ports) for name, one in services.items() if (ports := one.get("ports"))] == [
        ("mlflow", ["127.0.0.1:5000:8080"])
    ]
    front = services["mlflow"]["environment"]["MLFLOW_BEHIND"]
    assert re.fullmatch(r"\$\{MLFLOW_BEHIND:-(\w+)\}", front)[1] in FRONTS  # type: ignore[index]


def test_no_password_is_written_in_compose() -> None:
    """Each is asked for, and named in the example of the file that has them."""
    text = (FOLDER / "compose.yaml").read_text() + (FOLDER / "compose.gcs.yaml").read_text()
    example = (FOLDER / "env.example").read_text()
    for name in set(re.findall(r"\$\{(\w*(?:PASSWORD|BUCKET|KEY_FILE)\w*)", text)):
        assert f"{name}:?" in text
        assert re.search(rf"^{name}=$", example, re.MULTILINE)
    for name in re.findall(r"^(\w+)=", example, re.MULTILINE):
        assert f"${{{name}:" in text


def test_with_a_bucket_of_google_cloud_there_is_no_minio() -> None:
    """The server waits for the upgrade alone, and has no other store's address."""
    server = read_compose("compose.gcs.yaml")["services"]["mlflow"]
    assert set(server["depends_on"]) == {"upgrade"}
    assert server["environment"]["MLFLOW_ARTIFACTS_DESTINATION"].startswith("gs://")
    assert server["environment"]["MLFLOW_S3_ENDPOINT_URL"] == ""


def test_passwords_are_no_part_of_a_build() -> None:
    """What the Dockerfile copies is sent to the engine, and nothing else of the folder."""
    patterns = [line for line in (FOLDER / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    sent = {name for name in exclude_paths(str(FOLDER), patterns) if (FOLDER / name).is_file()}
    copied = {word for command in read_commands("mlflow") if command.name == "COPY" for word in command.value[:-1]}
    assert sent - {"Dockerfile", ".dockerignore"} == copied  # those two are read by the engine, and copied nowhere
