"""What the Dockerfiles must say, wherever they are built. tests/deployments/test_images_run.py runs their lines."""

import re
from pathlib import Path

import pytest

from deployments.requirements import read_requirements
from tests.deployments.image import NAMES, Image, make_context, read_commands, read_image
from tests.root import ROOT


@pytest.fixture(scope="session")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a build sees."""
    return make_context(tmp_path_factory.mktemp("context"))


@pytest.fixture(params=NAMES)
def image(request: pytest.FixtureRequest, context: Path) -> Image:
    """Each image as its Dockerfile says it."""
    return read_image(request.param, context)


def test_images_do_not_run_as_root(image: Image) -> None:
    """By number, as Kubernetes' runAsNonRoot asks."""
    uid, _, gid = image.user.partition(":")
    assert uid.isdigit() and gid.isdigit()
    assert int(uid) >= 10000


def test_images_say_what_they_are(image: Image) -> None:
    """In the labels that registries show."""
    assert {"org.opencontainers.image.title", "org.opencontainers.image.description"} <= set(image.labels)


def test_the_serving_image_says_that_something_stands_in_front(context: Path) -> None:
    """It listens for others, as Cloud Run needs it, and would not start otherwise; a file of tokens counts besides."""
    image = read_image("serving", context)
    assert image.environ["SERVING_BEHIND"] == "iam"
    assert image.command[:2] == ("--host", "0.0.0.0")  # noqa: S104  (what is tested)


def test_images_start_without_a_shell(image: Image) -> None:
    """A shell would keep SIGTERM from the process that must write its last snapshot."""
    assert image.entrypoint or image.command


@pytest.mark.parametrize("name", NAMES)
def test_what_listens_has_a_health_check(name: str, context: Path) -> None:
    """Serving and the worker; the trainer is a job, which ends."""
    assert bool(read_image(name, context).healthcheck) is (name != "trainer")


@pytest.mark.parametrize("name", NAMES)
def test_everything_installed_is_pinned(name: str) -> None:
    """Each `pip install` is held to constraints.txt, or takes nothing from an index at all."""
    lines = [command.value[0] for command in read_commands(name) if command.name == "RUN"]
    installs = [part for line in lines for part in line.split("&&") if "pip install" in part]
    assert len(installs) == 2
    assert all("--constraint constraints.txt" in part or "--no-deps --no-build-isolation" in part for part in installs)


def test_the_trainer_for_gpus_differs_in_its_tensorflow_alone() -> None:
    """Two lists of one image: what one has the other has, but for TensorFlow with CUDA."""
    trainer, gpu = (set(read_requirements(ROOT / "pyproject.toml", [name])) for name in ("trainer", "trainer-gpu"))
    assert all(requirement.startswith("tensorflow") for requirement in trainer ^ gpu)
    [tensorflow] = gpu - trainer
    assert tensorflow.startswith("tensorflow[and-cuda]==")
    assert "ARG EXTRA=trainer\n" in (ROOT / "deployments" / "trainer.Dockerfile").read_text()


@pytest.mark.parametrize(
    "extras",
    [
        ["trainer"],
        ["trainer-gpu"],
        ["worker", "kubernetes", "mlflow", "mysql"],
        ["serving", "push"],
        ["xgboost"],
        ["sklearn"],
        ["keras"],
        ["tensorflow"],
    ],
)
def test_every_requirement_of_an_image_has_a_pin(extras: list[str]) -> None:
    """constraints.txt knows each by name; what builds the package, too."""
    pins = {
        re.split("==", line)[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().split()
    }
    needed = read_requirements(ROOT / "pyproject.toml", extras)
    names = {re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-") for requirement in needed}  # type: ignore[index]
    assert names - pins == set()


def test_a_build_sees_no_more_than_it_needs(context: Path) -> None:
    """No results, keys, settings or history of the repository; and no tests."""
    seen = {path.relative_to(context).parts[0] for path in context.rglob("*")} - {".dockerignore"}
    rooms = {"flows", "serving", "switchyard", "tasks", "trainer"}
    files = {"constraints.txt", "deployments", "LICENSE", "prefect.yaml", "pyproject.toml", "README.md"}
    assert seen == rooms | files
    assert [path.name for path in (context / "deployments").iterdir()] == ["requirements.py"]


def test_the_worker_has_what_checks_signed_approvals(context: Path) -> None:
    """`ssh-keygen -Y verify` runs where the flow runs; the other images need nothing of Debian's."""
    found = {name: read_image(name, context).packages for name in NAMES}
    assert found == {"trainer": (), "worker": ("openssh-client",), "serving": ()}


def test_images_hold_no_secret(image: Image) -> None:
    """Settings come from outside, when a container starts."""
    assert [name for name in image.environ if re.search("KEY|SECRET|PASSWORD|TOKEN|_URL", name)] == []
