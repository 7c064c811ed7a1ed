"""The environment, read in one place: addresses and identities only. What can change a result is a flow parameter."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, cast, get_args
from urllib.parse import urlsplit, urlunsplit

import msgspec

from history.errors import BadSetup

Backend = Literal["local", "vertex"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything is. With no variable set, all of it is on this machine under `.switchyard/`.

    Field names are the environment variables' in lower case; `.env.example` explains each.
    """

    training_backend: Backend = "local"
    artifacts_uri: str = ""
    results_url: str = ""
    results_table: str = ""
    serving_url: str = "http://127.0.0.1:8000"
    state_dir: str = ""

    def __repr__(self) -> str:
        """Without the password that a database URL may hold."""
        shown = {**msgspec.structs.asdict(self), "results_url": _without_password(self.results_url)}
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings that the environment says; relative defaults are below the working directory.

    Raises:
        BadSetup: a value that no adapter understands; all problems at once.
    """
    given = {field: environ[field.upper()] for field in Settings.__struct_fields__ if environ.get(field.upper())}
    state_dir = Path(given.get("state_dir", ".switchyard")).resolve()
    given["state_dir"] = str(state_dir)
    given.setdefault("artifacts_uri", (state_dir / "artifacts").as_uri())
    given["artifacts_uri"] = given["artifacts_uri"].rstrip("/")
    given.setdefault("results_url", f"sqlite:///{state_dir / 'results.db'}")
    given["serving_url"] = given.get("serving_url", Settings.__struct_defaults__[4]).rstrip("/")
    problems = []
    if given.get("training_backend", "local") not in get_args(Backend):
        problems.append(f"TRAINING_BACKEND must be local or vertex; got {given['training_backend']!r}")
    if urlsplit(given["artifacts_uri"]).scheme not in ("file", "gs"):
        problems.append(f"ARTIFACTS_URI must start with file:// or gs://; got {given['artifacts_uri']!r}")
    if not given["results_url"].startswith(("sqlite:///", "postgresql+psycopg://")):
        problems.append(
            "RESULTS_URL must start with sqlite:/// or postgresql+psycopg://; "
            f"got {_without_password(given['results_url'])!r}"
        )
    if problems:
        raise BadSetup("; ".join(problems) + "; see .env.example")
    return msgspec.convert(cast("dict[str, object]", given), Settings)


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    if not parts.password:
        return url
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username}:***@{host}"))
