"""Who may come in, as tables of values."""

from datetime import UTC, datetime

import msgspec
import pytest

from switchyard.core.access.rules import (
    Caller,
    Guard,
    Need,
    Refusal,
    choose_guard,
    decide,
    find_bad_origins,
    is_cross_origin,
    is_this_machine,
    list_origins,
    may_listen,
    to_host_name,
)
from switchyard.core.access.tokens import Scope, make_token

NOW = datetime(2026, 1, 2, 10, 30, tzinfo=UTC)
_, READS = make_token("reads", Scope.READ, now=NOW, expires_in_days=1)
_, WRITES = make_token("writes", Scope.WRITE, now=NOW, expires_in_days=1)
_, LATE = make_token("late", Scope.WRITE, now=datetime(2025, 1, 1, tzinfo=UTC), expires_in_days=1)

NOBODY = Caller()
WRONG = Caller(presents=True, by_header=True)
READER = Caller(token=READS, presents=True, by_header=True)
WRITER = Caller(token=WRITES, presents=True, by_header=True)
COOKIE = Caller(token=WRITES, presents=True)
HERE = Caller(on_this_machine=True)


def other(caller: Caller) -> Caller:
    """The same, sent by a browser for another site's page."""
    return msgspec.structs.replace(caller, cross_origin=True)


@pytest.mark.parametrize(
    ("guard", "need", "caller", "expected"),
    [
        # With tokens: reads need one, writes need one that may write.
        (Guard.TOKENS, Need.READ, NOBODY, Refusal.MISSING),
        (Guard.TOKENS, Need.READ, HERE, Refusal.MISSING),
        (Guard.TOKENS, Need.READ, WRONG, Refusal.UNKNOWN),
        (Guard.TOKENS, Need.READ, Caller(token=LATE, presents=True), Refusal.EXPIRED),
        (Guard.TOKENS, Need.READ, READER, None),
        (Guard.TOKENS, Need.READ, WRITER, None),
        (Guard.TOKENS, Need.READ, other(READER), None),
        (Guard.TOKENS, Need.WRITE, NOBODY, Refusal.MISSING),
        (Guard.TOKENS, Need.WRITE, READER, Refusal.SCOPE),
        (Guard.TOKENS, Need.WRITE, WRITER, None),
        (Guard.TOKENS, Need.WRITE, Caller(token=LATE, presents=True, by_header=True), Refusal.EXPIRED),
        # A cookie comes along with whatever any site's page sends; a header does not.
        (Guard.TOKENS, Need.WRITE, COOKIE, None),
        (Guard.TOKENS, Need.WRITE, other(COOKIE), Refusal.CROSS_ORIGIN),
        (Guard.TOKENS, Need.WRITE, other(WRITER), None),
        (Guard.TOKENS, Need.TELL, NOBODY, Refusal.MISSING),
        (Guard.TOKENS, Need.TELL, READER, Refusal.SCOPE),
        (Guard.TOKENS, Need.TELL, WRITER, None),
        (Guard.TOKENS, Need.TELL, other(COOKIE), Refusal.CROSS_ORIGIN),
        (Guard.TOKENS, Need.FORM, NOBODY, None),
        (Guard.TOKENS, Need.FORM, other(NOBODY), Refusal.CROSS_ORIGIN),
        (Guard.TOKENS, Need.FORM, other(WRITER), Refusal.CROSS_ORIGIN),
        (Guard.TOKENS, Need.NOTHING, NOBODY, None),
        (Guard.TOKENS, Need.NOTHING, other(NOBODY), None),
        (Guard.TOKENS, Need.OWN, other(NOBODY), None),
        # Behind something that checks who calls: all read, no one edits without a token.
        (Guard.FRONT, Need.READ, NOBODY, None),
        (Guard.FRONT, Need.READ, WRONG, None),
        (Guard.FRONT, Need.WRITE, NOBODY, Refusal.NO_TOKENS),
        (Guard.FRONT, Need.WRITE, HERE, Refusal.NO_TOKENS),
        # What stands in front lets no one through who may not ask at all; an answer's end is theirs to say.
        (Guard.FRONT, Need.TELL, NOBODY, None),
        (Guard.FRONT, Need.TELL, other(NOBODY), Refusal.CROSS_ORIGIN),
        # Who asks a model: as who reads, but on this machine, where a name of another site's may lead here.
        (Guard.TOKENS, Need.ASK, HERE, Refusal.MISSING),
        (Guard.TOKENS, Need.ASK, READER, None),
        (Guard.TOKENS, Need.ASK, Caller(token=LATE, presents=True), Refusal.EXPIRED),
        (Guard.TOKENS, Need.ASK, other(COOKIE), None),
        (Guard.FRONT, Need.ASK, NOBODY, None),
        (Guard.FRONT, Need.ASK, other(NOBODY), None),
        (Guard.MACHINE, Need.ASK, HERE, None),
        (Guard.MACHINE, Need.ASK, NOBODY, Refusal.NAME),
        (Guard.MACHINE, Need.ASK, READER, Refusal.NAME),
        (Guard.MACHINE, Need.ASK, other(HERE), Refusal.CROSS_ORIGIN),
        # On this machine: all read, and its own programs and pages edit.
        (Guard.MACHINE, Need.READ, NOBODY, None),
        (Guard.MACHINE, Need.WRITE, HERE, None),
        (Guard.MACHINE, Need.WRITE, NOBODY, Refusal.NO_TOKENS),
        (Guard.MACHINE, Need.WRITE, other(HERE), Refusal.CROSS_ORIGIN),
        (Guard.MACHINE, Need.TELL, HERE, None),
        (Guard.MACHINE, Need.TELL, NOBODY, Refusal.NO_TOKENS),
        (Guard.MACHINE, Need.WRITE, other(Caller(presents=True, by_header=True, on_this_machine=True)), "cross-origin"),
    ],
)
def test_who_is_let_in(guard: Guard, need: Need, caller: Caller, expected: Refusal | None) -> None:
    """None: let in."""
    assert decide(guard, need, caller, now=NOW) == expected


@pytest.mark.parametrize(
    ("fetch_site", "origin", "host", "expected"),
    [
        ("same-origin", "https://runs.example", "runs.example", False),
        ("none", "", "runs.example", False),
        ("same-site", "https://app.example", "runs.example", True),
        ("cross-site", "", "runs.example", True),
        ("cross-site", "https://runs.example", "runs.example", True),
        ("", "", "runs.example", False),
        ("", "https://runs.example", "runs.example", False),
        ("", "http://127.0.0.1:8000", "127.0.0.1:8000", False),
        ("", "http://127.0.0.1:3000", "127.0.0.1:8000", True),
        ("", "https://evil.example", "runs.example", True),
        ("", "null", "runs.example", True),
        ("", "https://[", "runs.example", True),
        ("", "HTTPS://Runs.Example", "runs.example", False),
    ],
)
def test_what_another_site_sends_is_known(fetch_site: str, origin: str, host: str, expected: bool) -> None:
    """By what browsers add, which no page can change; a program that adds nothing is no browser."""
    assert is_cross_origin(fetch_site=fetch_site, origin=origin, host=host) is expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.3.4.5", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("LOCALHOST.", True),
        ("0.0.0.0", False),  # noqa: S104  (a value)
        ("::", False),
        ("", False),
        ("192.168.1.4", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("example.com", False),
    ],
)
def test_this_machine_is_told_from_others(host: str, expected: bool) -> None:
    """A name that only looks like it is not it."""
    assert is_this_machine(host) is expected


@pytest.mark.parametrize(
    ("host", "name"), [("a.example:80", "a.example"), ("[::1]:80", "::1"), ("127.0.0.1", "127.0.0.1"), ("[", "")]
)
def test_a_host_header_has_a_name(host: str, name: str) -> None:
    """Without its port."""
    assert to_host_name(host) == name


@pytest.mark.parametrize(
    ("host", "has_tokens", "behind", "events", "expected"),
    [
        ("127.0.0.1", False, "", False, True),
        ("0.0.0.0", False, "", False, False),  # noqa: S104  (a value)
        ("::", False, "", False, False),
        ("10.0.0.7", False, "", False, False),
        ("0.0.0.0", True, "", False, True),  # noqa: S104  (a value)
        ("0.0.0.0", False, "iam", False, True),  # noqa: S104  (a value)
        ("0.0.0.0", False, "", True, True),  # noqa: S104  (a value)
    ],
)
def test_a_server_for_others_needs_a_guard(
    host: str, has_tokens: bool, behind: str, events: bool, expected: bool
) -> None:
    """Tokens, something in front, or nothing to serve but what checks its senders."""
    guard = choose_guard(has_tokens=has_tokens, behind=behind)
    assert may_listen(host, guard, checks_senders=events) is expected


def test_tokens_count_behind_something_too() -> None:
    """A person who sets both wants both."""
    assert choose_guard(has_tokens=True, behind="iam") is Guard.TOKENS


@pytest.mark.parametrize(
    "text", ["", "*", "https://app.example.com", "http://localhost:3000, https://a.example:8443", "https://[::1]:3000"]
)
def test_origins_as_browsers_send_them_are_taken(text: str) -> None:
    """One, several, every one, or none."""
    assert find_bad_origins(list_origins(text)) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("https://a.example/", "write https://a.example"),
        ("https://a.example/app", "write https://a.example"),
        ("https://A.example", "write https://a.example"),
        ("https://a.example:443", "the port that is meant anyway"),
        ("a.example", "is not an origin"),
        ("*.a.example", "is not an origin"),
        ("https://*.a.example", "is not an origin"),
        ("null", "is not an origin"),
        ("ftp://a.example", "is not an origin"),
        ("https://u:p@a.example", "is not an origin"),
        ("https://a.example:99999", "is not an origin"),
        ("https://a.example?x", "is not an origin"),
        ("https://", "is not an origin"),
        ("*, https://a.example", "name nothing beside it"),
    ],
)
def test_what_would_match_no_browser_is_refused(text: str, said: str) -> None:
    """One problem, and what to write instead."""
    [problem] = find_bad_origins(list_origins(text))
    assert said in problem
