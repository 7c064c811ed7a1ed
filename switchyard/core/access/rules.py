"""Who may come in, as tables and values: every program that answers over HTTP decides by these."""

from collections.abc import Collection
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

import msgspec

from switchyard.core.access.tokens import Scope, Token

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard(StrEnum):
    """Who decides who may come in."""

    TOKENS = "tokens"  # we, by tokens
    FRONT = "front"  # what stands in front of this server (SERVING_BEHIND)
    MACHINE = "machine"  # no one: the server can be reached from this machine alone


class Need(StrEnum):
    """What a request needs."""

    NOTHING = "nothing"
    OWN = "own"  # its route checks the sender itself
    FORM = "form"  # nothing, but only from a page of ours
    READ = "read"
    ASK = "ask"  # as a read, for programs alone: a server of this machine answers only who calls it by its name
    WRITE = "write"
    TELL = "tell"  # it adds what it says, and changes nothing that is there


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """What a request says of who sends it."""

    token: Token | None = None  # that it presents, where it is one of ours
    presents: bool = False  # it presents a text for a token
    by_header: bool = False  # in Authorization, which no other site's page can send on its own
    cross_origin: bool = False  # a browser sends it, for the page of another site
    on_this_machine: bool = False  # by its address and by the name that it calls us


class Refusal(StrEnum):
    """Why a request is not let in."""

    MISSING = "missing"
    UNKNOWN = "unknown"
    EXPIRED = "expired"
    SCOPE = "scope"
    CROSS_ORIGIN = "cross-origin"
    NO_TOKENS = "no tokens"
    NAME = "name"  # of this machine: it is called by another one


def choose_guard(*, has_tokens: bool, behind: str) -> Guard:
    """Returns who decides who may come in.

    Tokens count wherever they are set: also behind something that has let the request through.
    """
    if has_tokens:
        return Guard.TOKENS
    return Guard.FRONT if behind else Guard.MACHINE


def decide(guard: Guard, need: Need, caller: Caller, *, now: datetime) -> Refusal | None:
    """Returns why `caller` is refused; None: it is let in.

    - What only reads is for all who are past the guard. What changes something needs the scope `write`; without any
      tokens it is for this machine alone, because what stands in front does not tell us who may edit. What only adds
      what it says needs the same token, and is for all whom that lets through.
    - A browser sends cookies, and reaches servers on its own machine, for the page of any site. So whatever is not a
      read, and is not proven by a header, must come from our own page.
    - A site may give this machine's address to a name of its own (DNS rebinding), and its page then reads what is
      answered. Only the name in the request shows it. A caller of a model on this machine must use this machine's.
    """
    if need is Need.OWN:
        return None
    changes = need in (Need.WRITE, Need.TELL)
    proven = changes and guard is Guard.TOKENS and caller.by_header
    if (changes or need is Need.FORM) and caller.cross_origin and not proven:
        return Refusal.CROSS_ORIGIN
    if need in (Need.NOTHING, Need.FORM):
        return None
    if guard is Guard.FRONT and need is Need.TELL:
        return None
    if guard is Guard.MACHINE and need is Need.ASK:
        return _find_stranger(caller)
    if guard is not Guard.TOKENS:
        return Refusal.NO_TOKENS if changes and not (guard is Guard.MACHINE and caller.on_this_machine) else None
    if caller.token is None:
        return Refusal.UNKNOWN if caller.presents else Refusal.MISSING
    if caller.token.is_expired(now):
        return Refusal.EXPIRED
    return None if caller.token.allows(Scope.WRITE if changes else Scope.READ) else Refusal.SCOPE


def _find_stranger(caller: Caller) -> Refusal | None:
    if caller.cross_origin:
        return Refusal.CROSS_ORIGIN
    return None if caller.on_this_machine else Refusal.NAME


def is_cross_origin(*, fetch_site: str, origin: str, host: str) -> bool:
    """Returns True for a request that a browser sends for the page of another site.

    Args:
        fetch_site: the header Sec-Fetch-Site, which no page can set; every current browser sends it over https, and
            to the machine itself.
        origin: the header Origin; empty for a program that is not a browser.
        host: the header Host.

    The scheme is not compared: a proxy that ends TLS in front of us need not say so.
    Source: Go 1.25, net/http.CrossOriginProtection, which does the same.
    """
    if fetch_site:
        return fetch_site not in ("same-origin", "none")
    if not origin:
        return False
    try:
        return urlsplit(origin).netloc.lower() != host.lower()
    except ValueError:
        return True


@lru_cache(128)  # nearly all requests have the same, and it is asked for each
def is_this_machine(host: str) -> bool:
    """Returns True for a name or address (without a port) that only this machine's own programs reach."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return False


@lru_cache(128)
def to_host_name(host: str) -> str:
    """Returns the name in a Host header, without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def may_listen(host: str, guard: Guard, *, checks_senders: bool = False) -> bool:
    """Returns False if others than this machine would reach a server that lets everyone in.

    `checks_senders`: it serves nothing but what checks each sender itself.
    """
    return guard is not Guard.MACHINE or checks_senders or is_this_machine(host)


def list_origins(text: str) -> list[str]:
    """Returns the origins of CORS_ORIGINS."""
    return [origin for origin in (part.strip() for part in text.split(",")) if origin]


def find_bad_origins(origins: Collection[str]) -> list[str]:
    """Returns what is not an origin as browsers send it, one sentence each."""
    problems = []
    for origin in origins:
        if origin == "*":
            if len(origins) > 1:
                problems.append("`*` allows every origin: name nothing beside it")
            continue
        try:
            parts = urlsplit(origin)
            whole = f"{parts.scheme}://{parts.netloc}"
            good = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
            default = parts.port == {"http": 80, "https": 443}.get(parts.scheme)
        except ValueError:
            good, whole, default = False, "", False
        if not good or any(char in origin for char in "*?#\\ ") or (whole and not origin.startswith(whole)):
            problems.append(f"{origin!r} is not an origin: write https://<host>, or with a port https://<host>:<port>")
        elif origin != whole:
            problems.append(f"{origin!r} has a path or a slash at its end: write {whole}")
        elif origin != origin.lower():
            problems.append(f"{origin!r} has capitals, which browsers never send: write {origin.lower()}")
        elif default:
            problems.append(f"{origin!r} names the port that is meant anyway, and browsers leave it out")
    return problems
