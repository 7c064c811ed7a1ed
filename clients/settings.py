"""The environment, read in one place: addresses and identities only. What can change a result is a flow parameter."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, cast, get_args

import msgspec

from history.errors import BadSetup

Backend = Literal["local", "vertex"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything is. With no variable set, all of it is on this machine under `.switchyard/`.

    Field names are the environment variables' in lower case; `.env.example` explains each. `read_settings` fills in
    the defaults that depend on `state_dir`.
    """

    training_backend: Backend = "local"
    artifacts_uri: str
    results_url: str
    results_table: str = ""
    serving_url: str = "http://127.0.0.1:8000"
    state_dir: str

    def __repr__(self) -> str:
        """Without the password that a URL may hold."""
        shown = ", ".join(
            f"{name}={_without_password(value)!r}" for name, value in msgspec.structs.asdict(self).items()
        )
        return f"Settings({shown})"


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings that the environment says; an empty variable counts as not set. Paths are made absolute, from the
    working directory; addresses lose the slashes at their end.

    Raises:
        BadSetup: a value that no adapter understands; all problems at once.
    """
    given = {field: environ[field.upper()] for field in Settings.__struct_fields__ if environ.get(field.upper())}
    state_dir = Path(given.get("state_dir", ".switchyard")).expanduser().resolve()
    given["state_dir"] = str(state_dir)
    given.setdefault("artifacts_uri", (state_dir / "artifacts").as_uri())
    given.setdefault("results_url", f"sqlite:///{state_dir / 'results.db'}")
    for field in ("artifacts_uri", "serving_url"):
        if field in given:
            given[field] = given[field].rstrip("/")
    problems = [
        f"{field.upper()} must {expected}; got {_without_password(environ[field.upper()])!r}"
        for field, (pattern, expected) in _PATTERNS.items()
        if environ.get(field.upper()) and not re.fullmatch(pattern, given[field])
    ]
    if problems:
        raise BadSetup("; ".join(problems) + "; see .env.example")
    return msgspec.convert(cast("dict[str, object]", given), Settings)


def read_storage_emulator(environ: Mapping[str, str] = os.environ) -> str:
    """``STORAGE_EMULATOR_HOST``, or nothing. Google's own client obeys it, in every process; we only have to know of
    it, so that a client made for one address is not used for another."""
    return environ.get("STORAGE_EMULATOR_HOST", "")


_PATTERNS = {
    "training_backend": ("|".join(get_args(Backend)), "be local or vertex"),
    "artifacts_uri": (r"file:///[^?#]+|gs://[^/?#]+(/[^?#]+)?", "be file:///<absolute path> or gs://<bucket>/<path>"),
    "results_url": (r"sqlite:///.+|postgresql\+psycopg://.+", "start with sqlite:/// or postgresql+psycopg://"),
    "serving_url": (r"https?://[^/]+.*", "start with http:// or https://"),
}


def _without_password(text: str) -> str:
    """Also of what is no URL at all, for errors show it. The password ends at the last @, as it may hold one itself."""
    text = re.sub(r"(://[^:/@]*):.*@", r"\1:***@", text)
    return re.sub(r"((?:password|passfile|sslpassword)=)[^&\s]*", r"\1***", text, flags=re.IGNORECASE)
