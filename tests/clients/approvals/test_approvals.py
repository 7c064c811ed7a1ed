"""Signatures by a real ssh-keygen, and tokens of an issuer that signs as Google does."""

import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from switchyard.clients.approvals.google_tokens import GoogleTokens
from switchyard.clients.approvals.reading import MAX_FILES, ApprovalFiles
from switchyard.clients.approvals.ssh import SshSignatures
from switchyard.clients.connect import Outside
from switchyard.clients.objects.open import open_objects
from switchyard.clients.settings import read_settings
from switchyard.core.decommission.approvals import (
    NAMESPACE,
    Approval,
    Statement,
    Unproved,
    Wanted,
    rule,
    to_audience,
    to_commands,
    to_statement_digest,
    to_text,
)
from switchyard.core.errors import BadRequest, BadSetup, TryAgain
from tests.emulators.server import serve_in_thread
from tests.emulators.tokens import Issuer
from tests.serving.push_world import Certificates

NOW = datetime.now(UTC).replace(microsecond=0)  # tokens are checked by the machine's clock
DIGEST = "ab" * 32
RULES = "12" * 32
CLIENT = "123-demo.apps.googleusercontent.com"


def make_statement(approver: str, **fields: str) -> Statement:
    values = {"digest": DIGEST, "rules": RULES, "state": "approved", **fields}
    return Statement(approver=approver, expires_at=NOW + timedelta(days=2), **values)


class Desk:
    """Where people hand approvals in, and their keys."""

    def __init__(self, folder: Path) -> None:
        self.keys, self.inbox, self.allow = folder / "keys", folder / "inbox", folder / "approvers"
        self.keys.mkdir()
        self.inbox.mkdir()

    def make_key(self, name: str) -> str:
        """The public key, as an allow-list has it."""
        file = self.keys / name
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(file)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        return " ".join(file.with_suffix(".pub").read_text().split()[:2])

    def hand_in(self, file: str, statement: Statement, *, key: str = "", namespace: str = NAMESPACE) -> Path:
        """The statement, signed where a key is named."""
        path = self.inbox / f"{file}.txt"
        path.write_text(to_text(statement))
        if key:
            command = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(self.keys / key), "-n", namespace, str(path)]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)
        return path

    def read(self, tokens: GoogleTokens | None = None, *, now: datetime = NOW) -> list[Approval | Unproved]:
        uri = f"{self.inbox.as_uri()}/"
        files = ApprovalFiles(signatures=SshSignatures(self.allow), tokens=tokens)
        return files.read(open_objects(uri), uri, now)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Alice and Bob may approve; Mallory has a key that is on no list."""
    made = Desk(tmp_path)
    alice, bob, _ = made.make_key("alice"), made.make_key("bob"), made.make_key("mallory")
    made.allow.write_text(
        f'# who may approve\nalice@example.com namespaces="{NAMESPACE}" {alice}\nbob@example.com {bob}\n'
    )
    return made


@pytest.fixture
def issuer() -> Issuer:
    """Google, here."""
    return Issuer()


@pytest.fixture
def tokens(issuer: Issuer) -> Iterator[GoogleTokens]:
    """Alice and Bob may approve with their accounts, too."""
    with serve_in_thread(Certificates(issuer).app) as url:
        yield GoogleTokens(["Alice@example.com", "bob@example.com"], audience=CLIENT, certs_url=f"{url}/certs")


def read_reason(found: list[Approval | Unproved]) -> str:
    """Why the only one proves nothing."""
    (one,) = found
    assert isinstance(one, Unproved), one
    return one.reason


def test_two_signed_statements_of_two_people_pass(desk: Desk) -> None:
    """The whole way, from keys to the ruling."""
    desk.hand_in("a", make_statement("alice@example.com"), key="alice")
    desk.hand_in("b", make_statement("bob@example.com"), key="bob")
    found = desk.read()
    ruling = rule(found, Wanted(digest=DIGEST, rules=RULES, state="approved", number=2, own_accounts=()), NOW)
    assert ruling.passed, ruling
    assert [one.proof[:7] for one in ruling.counted] == ["SHA256:", "SHA256:"]
    assert len({one.proof for one in ruling.counted}) == 2


def test_what_a_person_is_told_to_paste_makes_a_signature_that_counts(desk: Desk) -> None:
    """The commands that are printed work as they are."""
    statement = make_statement("alice@example.com")
    commands = to_commands(statement, "the folder", key=str(desk.keys / "alice"))
    subprocess.run(["bash", "-ec", commands], cwd=desk.inbox, check=True, capture_output=True)
    (found,) = desk.read()
    assert isinstance(found, Approval), found
    assert found.statement == statement


Plant = Callable[[Desk], object]


@pytest.mark.parametrize(
    ("plant", "why"),
    [
        pytest.param(
            lambda desk: desk.hand_in("a", make_statement("alice@example.com"), key="mallory"),
            "no signature of alice@example.com",
            id="a key that is on no list",
        ),
        pytest.param(
            lambda desk: desk.hand_in("a", make_statement("bob@example.com"), key="alice"),
            "no signature of bob@example.com",
            id="in another's name",
        ),
        pytest.param(
            lambda desk: desk.hand_in("a", make_statement("bob@example.com"), key="bob", namespace="file"),
            "namespace does not match",
            id="made for something else",
        ),
        pytest.param(
            lambda desk: desk.hand_in("a", make_statement("bob@example.com"), key="bob").write_text(
                to_text(make_statement("bob@example.com", digest="cd" * 32))
            ),
            "incorrect signature",
            id="another digest than was signed",
        ),
        pytest.param(
            lambda desk: desk.hand_in("a", make_statement("bob@example.com"), key="bob").write_text(
                to_text(make_statement("bob@example.com", state="deleting"))
            ),
            "incorrect signature",
            id="another state than was signed",
        ),
        pytest.param(
            lambda desk: (
                desk.hand_in("a", make_statement("bob@example.com")).with_suffix(".txt.sig").write_text("junk")
            ),
            "missing header",
            id="no signature at all",
        ),
        pytest.param(
            lambda desk: desk.hand_in("a", make_statement("bob@example.com")), "nothing beside it", id="unsigned"
        ),
        pytest.param(
            lambda desk: desk.hand_in("a", make_statement("bob@example.com"), key="bob").write_text("delete all\n"),
            "not a statement",
            id="another text",
        ),
        pytest.param(
            lambda desk: desk.hand_in("a", make_statement("bob@example.com"), key="bob").write_text("x" * 5_000),
            "at most 2,000 bytes",
            id="too long a text",
        ),
        pytest.param(
            lambda desk: (desk.inbox / "a.sig").write_text("x"), "neither a statement", id="a signature of nothing"
        ),
        pytest.param(
            lambda desk: (
                desk.hand_in("a", make_statement("bob@example.com")).with_suffix(".txt.token").write_text("eyJ")
            ),
            "APPROVERS names no accounts",
            id="a token where no accounts are set",
        ),
    ],
)
def test_what_proves_nothing_says_why(desk: Desk, plant: Plant, why: str) -> None:
    """Each forgery is named, and none is an approval."""
    plant(desk)
    assert why in read_reason(desk.read())


@pytest.mark.parametrize(
    ("options", "works"),
    [
        (f'namespaces="{NAMESPACE}"', True),
        ('namespaces="git"', False),
        ('namespaces="git,switchyard-*"', True),
        (f'valid-before="{NOW + timedelta(days=1):%Y%m%d}"', True),
        (f'valid-before="{NOW - timedelta(days=1):%Y%m%d}"', False),
        (f'valid-after="{NOW + timedelta(days=2):%Y%m%d}"', False),
        ("cert-authority", False),
    ],
)
def test_the_allow_lists_options_are_obeyed(desk: Desk, options: str, works: bool) -> None:
    """As OpenSSH documents them; times are UTC, and asked for the moment of the ruling."""
    desk.allow.write_text(f"carol@example.com {options} {desk.make_key('carol')}\n")
    desk.hand_in("c", make_statement("carol@example.com"), key="carol")
    (found,) = desk.read()
    assert isinstance(found, Approval) is works, found


def test_one_key_under_a_pattern_of_names_is_one_person(desk: Desk) -> None:
    """`*@example.com` lets one key sign as everybody; the ruling counts keys, too."""
    desk.allow.write_text(f"*@example.com {desk.make_key('carol')}\n")
    desk.hand_in("c", make_statement("carol@example.com"), key="carol")
    desk.hand_in("d", make_statement("dave@example.com"), key="carol")
    found = desk.read()
    assert all(isinstance(one, Approval) for one in found)
    ruling = rule(found, Wanted(digest=DIGEST, rules=RULES, state="approved", number=2, own_accounts=()), NOW)
    assert not ruling.passed
    assert "the same key" in ruling.refused[0].reason


def test_the_child_gets_none_of_our_environment(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords are in it. What stands first on the PATH is started, so that the test sees what it gets."""
    seen = tmp_path / "seen"
    spy = tmp_path / "bin" / "ssh-keygen"
    spy.parent.mkdir()
    spy.write_text(f"#!/bin/sh\nexec /usr/bin/env > {seen}\n")
    spy.chmod(spy.stat().st_mode | stat.S_IXUSR)
    desk.hand_in("b", make_statement("bob@example.com"), key="bob")
    monkeypatch.setenv("PATH", f"{spy.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
    assert "no signature" in read_reason(desk.read())
    names = {line.partition("=")[0] for line in seen.read_text().splitlines()}
    assert names <= {"LC_ALL", "TZ", "PWD", "SHLVL", "_", "OLDPWD"}


def test_without_ssh_keygen_the_setup_says_what_to_install(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is no verdict on the signature."""
    desk.hand_in("b", make_statement("bob@example.com"), key="bob")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BadSetup, match="apt-get install openssh-client"):
        desk.read()


@pytest.mark.parametrize(("text", "why"), [(None, "cannot be read"), ("# nobody yet\n\n", "names no approver")])
def test_an_allow_list_that_says_nothing_is_a_bad_setup(desk: Desk, text: str | None, why: str) -> None:
    """ssh-keygen answers the same to it as to a forged signature."""
    desk.hand_in("b", make_statement("bob@example.com"), key="bob")
    desk.allow.unlink() if text is None else desk.allow.write_text(text)
    with pytest.raises(BadSetup, match=why):
        desk.read()


def test_a_keygen_that_hangs_is_not_waited_for(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flow tries again, and says why."""
    slow = tmp_path / "bin" / "ssh-keygen"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    slow.chmod(slow.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{slow.parent}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(TryAgain, match="did not answer"):
        SshSignatures(desk.allow, timeout_s=0.2).read_fingerprint(b"x", b"y", "bob@example.com", NOW)


def test_a_folder_with_too_many_files_is_refused(desk: Desk) -> None:
    """It is someone's whole bucket, rather than approvals."""
    for number in range(MAX_FILES + 1):
        (desk.inbox / f"{number}.txt").touch()
    with pytest.raises(BadRequest, match="a folder of their own"):
        desk.read()


def hand_in_token(desk: Desk, statement: Statement, token: str) -> None:
    path = desk.hand_in("t", statement)
    path.with_suffix(".txt.token").write_text(token + "\n")


ALICE = make_statement("alice@example.com")


@pytest.mark.parametrize("way", ["audience", "nonce"])
def test_a_google_token_made_for_the_statement_counts_until_it_expires(
    desk: Desk, issuer: Issuer, tokens: GoogleTokens, way: str
) -> None:
    """Bound by its audience, or by its nonce; it lasts an hour, though the statement would last for days."""
    if way == "audience":
        token = issuer.make_id_token(to_audience(ALICE), "alice@example.com")
    else:
        token = issuer.make_id_token(CLIENT, "alice@example.com", nonce=to_statement_digest(ALICE))
    hand_in_token(desk, ALICE, token)
    (found,) = desk.read(tokens)
    assert isinstance(found, Approval), found
    assert (found.how, found.proof.partition("#")[0]) == ("google", "accounts.google.com")
    assert found.expires_at < NOW + timedelta(hours=2)


LATER = msgspec.structs.replace(ALICE, expires_at=NOW + timedelta(days=3))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda one: one.make_id_token(CLIENT, "alice@example.com"), "not made for this statement"),
        (
            lambda one: one.make_id_token(CLIENT, "alice@example.com", nonce=to_statement_digest(LATER)),
            "not made for this statement",
        ),
        (lambda one: one.make_id_token(to_audience(LATER), "alice@example.com"), "audience"),
        (lambda one: one.make_id_token("https://other.run.app", "alice@example.com"), "audience"),
        (lambda one: one.make_id_token(to_audience(ALICE), "bob@example.com"), "the token is bob@example.com's"),
        (lambda one: one.make_id_token(to_audience(ALICE), "alice@example.com", exp=1_700_000_000), "expired"),
        (
            lambda one: one.make_id_token(to_audience(ALICE), "alice@example.com", email_verified=False),
            "verified email",
        ),
        (lambda one: one.make_id_token(to_audience(ALICE), "alice@example.com", with_email=False), "verified email"),
        (lambda one: one.make_id_token(to_audience(ALICE), "alice@example.com", iss="https://evil"), "issuer"),
        (lambda one: one.make_id_token(to_audience(ALICE), "alice@example.com")[:-6] + "AAAAAA", "refused"),
        (lambda one: "not a token", "refused"),
    ],
)
def test_a_token_that_proves_nothing_says_why(
    desk: Desk, issuer: Issuer, tokens: GoogleTokens, make: Callable[[Issuer], str], why: str
) -> None:
    """Not bound, another statement's, another's, old, unverified, of another issuer, forged."""
    hand_in_token(desk, ALICE, make(issuer))
    reason = read_reason(desk.read(tokens))
    assert why in reason


def test_an_account_that_is_not_allowed_proves_nothing(desk: Desk, issuer: Issuer, tokens: GoogleTokens) -> None:
    """Anyone with a Google account can make a token for any audience."""
    statement = make_statement("eve@example.com")
    hand_in_token(desk, statement, issuer.make_id_token(to_audience(statement), "eve@example.com"))
    assert "eve@example.com is not in APPROVERS" in read_reason(desk.read(tokens))


def test_googles_certificates_that_cannot_be_fetched_are_asked_for_again(desk: Desk, issuer: Issuer) -> None:
    """It is no verdict on the token."""
    certificates = Certificates(issuer)
    hand_in_token(desk, ALICE, issuer.make_id_token(to_audience(ALICE), "alice@example.com"))
    with serve_in_thread(certificates.app) as url:
        away = GoogleTokens(["alice@example.com"], audience="", certs_url=f"{url}/nothing")
        with pytest.raises(TryAgain, match="certificates"):
            desk.read(away)


def test_the_settings_name_who_may_approve(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file for keys, addresses for accounts; with neither set nothing is proved."""
    desk.hand_in("b", make_statement("bob@example.com"), key="bob")
    uri = f"{desk.inbox.as_uri()}/"
    named = Outside(read_settings({"APPROVERS_FILE": str(desk.allow), "APPROVERS": "a@example.com, b@example.com"}))
    (found,) = named.approvals.read(open_objects(uri), uri, NOW)
    assert isinstance(found, Approval)
    bare = Outside(read_settings({}))
    assert "names no allow-list" in read_reason(bare.approvals.read(open_objects(uri), uri, NOW))
    with pytest.raises(BadSetup, match="APPROVERS must be e-mail addresses"):
        read_settings({"APPROVERS": "everybody"})
