"""An image's digest, read from a registry on this machine that answers as Google's do."""

from collections.abc import Iterator

import pytest
import requests
from google.auth.credentials import Credentials
from google.auth.transport.requests import AuthorizedSession
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from switchyard.clients.google.image_digests import is_resolvable, read_digest
from switchyard.core.errors import BadSetup, NotFound, SwitchyardError, TryAgain
from tests.emulators.server import serve_in_thread

HOST = "us-docker.pkg.dev"
DIGEST = "sha256:" + "ab" * 32


async def answer_manifest(request: Request) -> Response:
    """By the tag: what a registry says of it.

    Source: https://docs.docker.com/registry/spec/api/#existing-manifests
    """
    assert request.headers["authorization"] == "Bearer an-access-token"
    assert "application/vnd.oci.image.index.v1+json" in request.headers["accept"]
    tag = request.path_params["tag"]
    if tag.isdigit():
        return Response(status_code=int(tag))
    headers = {} if tag == "silent" else {"Docker-Content-Digest": DIGEST}
    return Response(status_code=200, headers=headers)


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    app = Starlette(routes=[Route("/v2/demo/switchyard/trainer/manifests/{tag}", answer_manifest, methods=["HEAD"])])
    with serve_in_thread(app) as url:
        yield url


class Known(Credentials):
    """Credentials that always have a token."""

    def refresh(self, request: object) -> None:
        self.token = "an-access-token"


def make_session() -> requests.Session:
    return AuthorizedSession(Known())  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("tag", [":2026-01", ""])
def test_a_tag_becomes_its_digest(registry: str, tag: str) -> None:
    """Without a tag it is the latest, as everywhere."""
    image = f"{HOST}/demo/switchyard/trainer{tag}"
    found = read_digest(image, make_session(), endpoint=registry)
    assert found == f"{HOST}/demo/switchyard/trainer@{DIGEST}"
    assert not is_resolvable(found)


@pytest.mark.parametrize(
    ("tag", "error", "said"),
    [
        ("404", NotFound, "no such image"),
        ("401", BadSetup, "roles/artifactregistry.reader"),
        ("403", BadSetup, "roles/artifactregistry.reader"),
        ("503", TryAgain, "503"),
        ("302", TryAgain, "302"),  # never followed: the token is for this host
        ("silent", TryAgain, "names none"),
    ],
)
def test_what_goes_wrong_is_said(registry: str, tag: str, error: type[SwitchyardError], said: str) -> None:
    """Each names the image, and what to do."""
    with pytest.raises(error, match=said):
        read_digest(f"{HOST}/demo/switchyard/trainer:{tag}", make_session(), endpoint=registry)


def test_a_registry_that_is_away_may_come_back() -> None:
    """Nothing listens there."""
    with pytest.raises(TryAgain, match="was not read"):
        read_digest(f"{HOST}/demo/a:b", make_session(), endpoint="http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("us-docker.pkg.dev/demo/a:1", True),
        ("europe-west4-docker.pkg.dev/demo/a/b", True),
        ("eu.gcr.io/demo/a:1", True),
        ("gcr.io/demo/a", True),
        (f"gcr.io/demo/a@{DIGEST}", False),
        ("docker.io/library/python:3", False),
        ("pkg.dev.example.com/demo/a:1", False),
        ("example.com/gcr.io/a:1", False),
        ("notgcr.io/a:1", False),
    ],
)
def test_a_token_goes_to_google_s_registries_alone(image: str, expected: bool) -> None:
    """Another host would get an identity that it could use."""
    assert is_resolvable(image) is expected
