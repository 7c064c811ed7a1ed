"""Who may push: the subscription's own token alone, checked with Google's certificates."""

import base64
import json
import time

import pytest
from starlette.responses import Response

from serving.push import PATH
from tests.emulators.tokens import make_key
from tests.serving.push.log import read_log
from tests.serving.push_world import (
    ACCOUNT,
    AUDIENCE,
    World,
    to_logged,
)


def make_bad_tokens(world: World) -> dict[str, tuple[str, int]]:
    """Tokens that must not be taken, with the status that answers each."""
    good = world.make_token()
    head, claims, signature = good.split(".")
    changed = json.loads(base64.urlsafe_b64decode(claims + "==")) | {"email": ACCOUNT, "aud": AUDIENCE, "x": 1}
    other_claims = base64.urlsafe_b64encode(json.dumps(changed).encode()).decode().rstrip("=")
    unsigned = base64.urlsafe_b64encode(b'{"alg": "none", "typ": "JWT"}').decode().rstrip("=")
    with_hmac = base64.urlsafe_b64encode(b'{"alg": "HS256", "typ": "JWT"}').decode().rstrip("=")
    deep = base64.urlsafe_b64encode(b'{"a": ' + b"[" * 5_000 + b"]" * 5_000 + b"}").decode().rstrip("=")
    now = int(time.time())
    forged = {
        "iss": "https://accounts.google.com",
        "aud": AUDIENCE,
        "email": ACCOUNT,
        "email_verified": True,
        "iat": now,
        "exp": now + 3600,
    }
    return {
        "none": ("", 401),
        "no JWT": ("hello", 401),
        "no JSON in it": ("a.b.c", 401),
        "deep header": (f"{deep}.{claims}.{signature}", 401),
        "deep claims": (f"{head}.{deep}.{signature}", 401),
        "another key": (make_key("somebody").sign(forged), 401),
        "changed claims": (f"{head}.{other_claims}.{signature}", 401),
        "signature removed": (f"{head}.{claims}.SIGNATURE_REMOVED_BY_GOOGLE", 401),
        "no signature": (f"{head}.{claims}.", 401),
        "algorithm none": (f"{unsigned}.{claims}.", 401),
        "algorithm HS256": (f"{with_hmac}.{claims}.{signature}", 401),
        "expired": (world.make_token(iat=now - 7200, exp=now - 3600), 401),
        "not yet": (world.make_token(iat=now + 3600, exp=now + 7200), 401),
        "no times": (world.make_token(iat="soon", exp="never"), 401),
        "another audience": (world.make_token(audience="https://other.example"), 401),
        "no audience": (world.make_token(aud=None), 401),
        "another issuer": (world.make_token(iss="https://accounts.example"), 401),
        "no address": (world.issuer.make_id_token(AUDIENCE, ACCOUNT, with_email=False), 401),
        "address not verified": (world.make_token(email_verified=False), 401),
        "address verified, in words": (world.make_token(email_verified="true"), 401),
        "another account": (world.make_token(account="trainer@demo-project.iam.gserviceaccount.com"), 403),
        "a longer account": (world.make_token(account=ACCOUNT + ".example"), 403),
    }


def test_no_token_but_the_subscriptions_own_is_taken(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """401, or 403 for a good token of another account; nothing is done, and the log says why without the token."""
    job = world.submit()
    world.end(job)
    for name, (token, status) in make_bad_tokens(world).items():
        caplog.clear()
        assert world.push(to_logged(job), token=token) == status, name
        [line] = read_log(caplog)
        assert (line["severity"], line["message"]) == ("WARNING", "push: a push was refused"), name
        assert len(token) < 20 or token not in json.dumps(line), name
    assert world.read_job(job) == job
    assert world.prefect.events == []


def test_a_scheme_other_than_bearer_is_refused(world: World) -> None:
    """And the answer says what is expected, as RFC 6750 has it."""
    answer = world.client.post(PATH, json={}, headers={"Authorization": f"Basic {world.make_token()}"})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer error="invalid_token"')


def test_certificates_are_fetched_once(world: World) -> None:
    """They are kept as long as Google's own header says."""
    job = world.submit()
    assert {world.push(to_logged(job)) for _ in range(5)} == {204}
    assert world.certificates.asked == 1


@pytest.mark.parametrize(
    "broken", [Response(status_code=500), Response("<html>", media_type="text/html")], ids=["500", "not JSON"]
)
def test_without_certificates_nothing_is_decided(world: World, broken: Response) -> None:
    """The token may be good: Pub/Sub sends it again, and it is taken then."""
    job = world.submit()
    world.end(job)
    world.certificates.broken = broken
    assert world.push(to_logged(job)) == 503
    world.certificates.broken = None
    assert world.push(to_logged(job)) == 204
    assert len(world.prefect.events) == 1
