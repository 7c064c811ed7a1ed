"""Reads the environment, in one place: addresses and identities only. What can change a result is a flow parameter."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, cast, get_args
from urllib.parse import unquote

import msgspec

from switchyard.core.access.rules import find_bad_origins, list_origins
from switchyard.core.errors import BadSetup

Backend = Literal["local", "vertex"]
Transport = Literal["grpc", "rest"]

BUYER_KEY: Final = "buyer.key"
"""Below STATE_DIR: the key that this machine makes, where no other file is named."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything is. With no variable set, all of it is on this machine under `.switchyard/`.

    Field names are the environment variables' in lower case; `.env.example` explains each. `read_settings` fills in
    the defaults that depend on `state_dir`.
    """

    training_backend: Backend = "local"
    artifacts_uri: str
    results_url: str
    results_table: str = ""
    live_history: Literal["", "no", "yes"] = ""
    sweep_storage_url: str = ""
    serving_url: str = "http://127.0.0.1:8000"
    serving_behind: Literal["", "iam"] = ""
    api_token: str = ""
    api_tokens_file: str = ""
    cors_origins: str = ""
    state_dir: str
    job_folders_days: int = 90
    predictions_days: int = 30
    feedback_days: int = 365
    buyer_key_file: str = ""
    gcp_project_id: str = ""
    gcp_region: str = ""
    gcp_credentials_block: str = ""
    identity_service_account: str = ""
    identity_from_gcloud: Literal["no", "yes"] = "no"
    vertex_api_endpoint: str = ""
    vertex_transport: Transport = "grpc"
    vertex_service_account: str = ""
    google_apis_endpoint: str = ""
    billing_export_table: str = ""
    trainer_image: str = ""
    push_audience: str = ""
    push_service_account: str = ""
    push_certs_url: str = "https://www.googleapis.com/oauth2/v1/certs"
    approvers_file: str = ""
    approvers: str = ""
    approvers_audience: str = ""
    mlflow_artifacts_roots: str = ""
    model_variant: str = ""
    mlflow_model_uri: str = ""
    model_run_id: str = ""
    run_id: str = ""
    model_run_name: str = ""
    model_file: str = ""
    model_name: str = "served"
    model_artifact_path: str = ""
    model_filename: str = ""
    tokenizer_filename: str = ""
    model_cache_dir: str
    model_loader_python: str = ""
    model_pickle_digests: str = ""
    predict_rate: str = "1000/second"
    port: int = 0
    aip_http_port: int = 0
    aip_predict_route: str = ""
    aip_health_route: str = ""
    aip_storage_uri: str = ""
    mlflow_backend_store_uri: str = ""
    mlflow_restore_store_uri: str = ""
    mlflow_tracking_uri: str = ""
    mlflow_tracking_auth: str = ""
    mlflow_tracking_token: str = ""
    mlflow_tracking_username: str = ""
    mlflow_tracking_password: str = ""
    mlflow_mirror: Literal["no", "yes"] = "no"
    mlflow_experiment_name: str = ""
    mlflow_run_name: str = ""

    @property
    def publishes_live(self) -> bool:
        """True if a run's history is published while it trains.

        If the settings do not say: only on our own table. On another table, its application takes any history that is
        there for the final one.
        """
        return self.live_history == "yes" or (not self.live_history and not self.results_table)

    @property
    def sweeps_url(self) -> str:
        """Where sweeps keep their trials.

        If the settings do not say: beside the results, if these are in a Postgres (a flow run of a work pool has no
        disk that outlives it); else a file on this machine.
        """
        if self.sweep_storage_url or self.results_url.startswith("postgresql"):
            return self.sweep_storage_url or self.results_url
        return f"sqlite:///{Path(self.state_dir) / 'sweeps.db'}"

    @property
    def mlflow_server_uri(self) -> str:
        """The MLflow server that can be asked and logged to; empty: none is named, or a folder, which is only read."""
        return "" if is_folder(self.mlflow_tracking_uri) else self.mlflow_tracking_uri

    def __repr__(self) -> str:
        """Leaves out secrets: a password or token of its own, and the password that a URL may hold."""
        shown = ", ".join(
            f"{name}={'***' if value and name in _SECRETS else _without_password(str(value))!r}"
            for name, value in msgspec.structs.asdict(self).items()
        )
        return f"Settings({shown})"


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Reads the settings from the environment; an empty variable counts as not set.

    Paths are made absolute, from the working directory; addresses lose the slashes at their end.

    Raises:
        BadSetup: a value that no adapter understands; all problems at once.
    """
    given = {field: environ[field.upper()] for field in Settings.__struct_fields__ if environ.get(field.upper())}
    state_dir = Path(given.get("state_dir", ".switchyard")).expanduser().resolve()
    given["state_dir"] = str(state_dir)
    for field in ("api_tokens_file", "approvers_file", "buyer_key_file", "model_loader_python"):
        if field in given:
            given[field] = str(Path(given[field]).expanduser().absolute())
    given["model_cache_dir"] = str(Path(given.get("model_cache_dir", state_dir / "models")).expanduser().absolute())
    given.setdefault("artifacts_uri", (state_dir / "artifacts").as_uri())
    given.setdefault("buyer_key_file", str(state_dir / BUYER_KEY))
    given.setdefault("results_url", f"sqlite:///{state_dir / 'results.db'}")
    for field in ("artifacts_uri", "serving_url", "vertex_api_endpoint", "google_apis_endpoint", "mlflow_tracking_uri"):
        if field in given:
            given[field] = given[field].rstrip("/")
    if "mlflow_tracking_uri" in given:
        given["mlflow_tracking_uri"] = _to_tracking_uri(given["mlflow_tracking_uri"])
    problems = [
        f"{field.upper()} must {expected}; got {_without_password(environ[field.upper()])!r}"
        for field, (pattern, expected) in _PATTERNS.items()
        if environ.get(field.upper()) and not re.fullmatch(pattern, given[field])
    ]
    problems += [f"CORS_ORIGINS: {said}" for said in find_bad_origins(list_origins(given.get("cors_origins", "")))]
    if given.get("training_backend") == "vertex":
        problems += _find_missing_for_vertex(given)
    if given.get("mlflow_mirror") == "yes" and "mlflow_tracking_uri" not in given:
        problems.append("MLFLOW_TRACKING_URI must name the server that MLFLOW_MIRROR=yes is for; it is not set")
    elif given.get("mlflow_mirror") == "yes" and is_folder(given["mlflow_tracking_uri"]):
        problems.append("MLFLOW_TRACKING_URI must name the server that MLFLOW_MIRROR=yes is for; a folder is only read")
    if "push_audience" in given or "push_service_account" in given:
        problems += _find_missing_for_push(given)
    if problems:
        raise BadSetup("; ".join(problems) + "; see .env.example")
    return msgspec.convert(cast("dict[str, object]", given), Settings, strict=False)  # numbers come as text


UNUSED: Final[Mapping[str, str]] = {
    "CONFIG_PATH": "settings are variables (.env.example), and flags",
    **dict.fromkeys(("MLFLOW_GCS_BUCKET", "MLFLOW_ARTIFACT_ROOT", "MLFLOW_WORKERS"), "it configures an MLflow server"),
}
"""Variables of earlier services that do nothing for `switchyard predict`, and why."""


def list_unused(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Lists what is set for an earlier service and does nothing here: a sentence each, without its value."""
    return [f"{name} is set and does nothing here: {why}" for name, why in UNUSED.items() if environ.get(name)]


def is_folder(tracking_uri: str) -> bool:
    """Returns True if `mlflow_tracking_uri` names a folder of MLflow's (``mlruns``), on this machine or in a bucket."""
    return tracking_uri.startswith(("file://", "gs://"))


def read_storage_emulator(environ: Mapping[str, str] = os.environ) -> str:
    """Reads ``STORAGE_EMULATOR_HOST``; empty: it is not set.

    Google's own client obeys it, in every process. We only have to know of it, so that a client made for one address is
    not used for another.
    """
    return environ.get("STORAGE_EMULATOR_HOST", "")


def _to_tracking_uri(text: str) -> str:
    """Returns a folder's path as a URI, from the working directory, as MLflow takes it; anything else as it is.

    Source: mlflow/tracking/_tracking_service/utils.py (`databricks` alone is no folder) and mlflow/utils/file_utils.py
    (`local_file_uri_to_path`: ``file:`` and a path, perhaps a relative one), 3.17.2.
    """
    if text.startswith("file:"):
        text = unquote(re.sub(r"^file:(//(?=/))?", "", text))
    elif text == "databricks" or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text):
        return text
    return Path(os.path.normpath(Path(text or "/").expanduser().absolute())).as_uri()


_SECRETS = frozenset({"api_token", "mlflow_tracking_token", "mlflow_tracking_password"})

_PATTERNS = {
    "training_backend": ("|".join(get_args(Backend)), "be local or vertex"),
    "artifacts_uri": (r"file:///[^?#]+|gs://[^/?#]+(/[^?#]+)?", "be file:///<absolute path> or gs://<bucket>/<path>"),
    "results_url": (r"sqlite:///.+|postgresql\+psycopg://.+", "start with sqlite:/// or postgresql+psycopg://"),
    "live_history": ("yes|no", "be yes or no"),
    "sweep_storage_url": (r"sqlite:///.+|postgresql\+psycopg://.+", "start with sqlite:/// or postgresql+psycopg://"),
    "model_pickle_digests": (
        r"sha256:[0-9a-f]{64}( *, *sha256:[0-9a-f]{64})*",
        "be sha256:<64 hex digits>, several between commas",
    ),
    "serving_url": (r"https?://[^/]+.*", "start with http:// or https://"),
    "serving_behind": ("iam", "be iam (Cloud Run's or a proxy's own check of who calls), or empty"),
    **dict.fromkeys(
        ("job_folders_days", "predictions_days", "feedback_days"),
        (r"[0-9]{1,5}", "be a number of days; 0: for ever"),
    ),
    "gcp_project_id": (r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]", "be a project's id (not its number or name)"),
    "gcp_region": (r"[a-z]+(-[a-z0-9]+)+", "be a region, such as us-central1"),
    "gcp_credentials_block": (r"[a-z0-9-]+", "be a Prefect block's name: lowercase letters, digits and dashes"),
    "identity_service_account": (r"[^@\s]+@[^@\s]+\.gserviceaccount\.com", "be a service account's email address"),
    "identity_from_gcloud": ("yes|no", "be yes or no"),
    "vertex_api_endpoint": (r"(https?://)?[^/\s]+", "be host:port, or http(s)://host:port"),
    "google_apis_endpoint": (
        r"https://[^/\s]+|http://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?",
        "be https://<host>, or http:// on this machine",
    ),
    "billing_export_table": (
        r"[a-z0-9:.-]+\.[A-Za-z0-9_]+\.gcp_billing_export_resource_v1_[A-Za-z0-9_]+",
        "be the detailed export: <project>.<dataset>.gcp_billing_export_resource_v1_<billing account>",
    ),
    "vertex_transport": ("|".join(get_args(Transport)), "be grpc or rest"),
    "vertex_service_account": (r"[^@\s]+@[^@\s]+\.gserviceaccount\.com", "be a service account's email address"),
    "mlflow_mirror": ("yes|no", "be yes or no"),
    "push_audience": (r"\S+", "be the audience of the push subscriptions' tokens, without spaces"),
    "push_service_account": (r"[^@\s]+@[^@\s]+\.gserviceaccount\.com", "be a service account's email address"),
    "push_certs_url": (
        r"https://[^/\s]+/\S*|http://(localhost|127\.0\.0\.1)(:\d+)?/\S*",
        "be https://..., or http:// on this machine",
    ),
    "approvers": (r"[^@\s,]+@[^@\s,]+(\s*,\s*[^@\s,]+@[^@\s,]+)*", "be e-mail addresses, with commas between them"),
    "approvers_audience": (r"\S+", "be an OAuth client's id, without spaces"),
    "mlflow_artifacts_roots": (
        r"((file|gs)://|/)[^,]*(,\s*((file|gs)://|/)[^,]*)*",
        "be paths or URIs of folders, with commas between them",
    ),
    "mlflow_model_uri": (r"models:/.+", "be models:/<name>/Production, /Staging, /<version> or models:/<name>@<alias>"),
    "model_name": ("[A-Za-z0-9]([A-Za-z0-9 ._-]{0,118}[A-Za-z0-9])?", "be a model's name"),
    **dict.fromkeys(("port", "aip_http_port"), (r"[0-9]{1,5}", "be a port")),
    "aip_predict_route": (r"/\S*", "be a path that starts with /"),
    "aip_health_route": (r"/\S*", "be a path that starts with /"),
    "aip_storage_uri": (r"(gs|file)://\S+", "be gs://<bucket>/<path>"),
    "trainer_image": (
        r"[^/\s@]+\.[^/\s@]+/[^\s@]+(@sha256:[0-9a-f]{64})?",
        "be an image in a registry, such as us-docker.pkg.dev/<project>/<repository>/trainer:<tag> or "
        "...trainer@sha256:<64 hex digits>",
    ),
}


def _find_missing_for_vertex(given: Mapping[str, str]) -> list[str]:
    """Lists the settings that a job on Vertex AI needs and that are missing."""
    problems = [
        f"{field.upper()} must be set with TRAINING_BACKEND=vertex; it is not"
        for field in ("gcp_project_id", "gcp_region", "trainer_image")
        if field not in given
    ]
    if not given["artifacts_uri"].startswith("gs://"):
        # A container's disk is gone with its machine.
        problems.append(
            f"ARTIFACTS_URI must be gs://<bucket>/<path> with TRAINING_BACKEND=vertex; got {given['artifacts_uri']!r}"
        )
    return problems


def _find_missing_for_push(given: Mapping[str, str]) -> list[str]:
    """Lists the settings that serving needs if Pub/Sub pushes to it, and that are missing."""
    problems = [
        f"{field.upper()} must be set with {other.upper()}; it is not"
        for field, other in (
            ("push_audience", "push_service_account"),
            ("push_service_account", "push_audience"),
        )
        if field not in given
    ]
    if given.get("training_backend", "local") == "local":
        problems.append("TRAINING_BACKEND must be vertex with PUSH_AUDIENCE: no other job's end is pushed; it is local")
    return problems


def _without_password(text: str) -> str:
    """Returns the URL without its password. It takes any text, because errors show what is not a URL too.

    The password ends at the last @, because it may hold one itself.
    """
    text = re.sub(r"(://[^:/@]*):.*@", r"\1:***@", text)
    return re.sub(r"((?:password|passfile|sslpassword)=)[^&\s]*", r"\1***", text, flags=re.IGNORECASE)
