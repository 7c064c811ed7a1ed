"""Where a run's artifacts are, by what MLflow says of it, and who can read that place.

Also why no one can; and which places no one may read, whatever MLflow says.
"""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Final, Literal
from urllib.parse import quote, urlsplit

import msgspec

_PROXIED: Final = "mlflow-artifacts:"
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_NEEDS: Final = {"s3": "boto3", "wasbs": "azure-storage-blob", "abfss": "azure-storage-file-datalake"}
"""What MLflow's own readers import beside MLflow. Source: mlflow/store/artifact/, 3.17.2"""


_SAY_WHERE: Final = "; if its files are on this one now, say where: --artifacts-from <old folder>=<new folder>"
_NAMES_ANOTHER: Final = ("runs", "models")
"""MLflow's reader of these asks where that one's artifacts are, and reads there: also on this machine's disk."""
_PORTS: Final = {"http": 80, "https": 443}
_FOREIGN: Final = "it is on another server than MLFLOW_TRACKING_URI. Only that one is called, and gets our token"


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A place, and who reads it: our own adapters (`objects`), or MLflow's artifact repositories (`mlflow`)."""

    uri: str  # without a slash at its end
    reader: Literal["objects", "mlflow"]


class Unreachable(msgspec.Struct, frozen=True, kw_only=True):
    """A place that no one can read from here, and why."""

    uri: str
    reason: str


class Allowed(msgspec.Struct, frozen=True, kw_only=True):
    """What our own adapters may read.

    Everyone who may log to MLflow can choose a run's place, and it is read with our rights.

    URIs without a slash at their end: `roots` are the folders that the operator names, `ours` those of our own files.
    """

    roots: tuple[str, ...] = ()
    ours: tuple[str, ...] = ()


def find_refusal(uri: str, allowed: Allowed) -> str:
    """Returns why the place `uri` is not read; empty: it may be.

    All URIs must name what is behind links, because this compares text.

    A place on this machine lies below a root. None lies in our own files, or holds them; in a bucket a root that lies
    in ours says otherwise, because a team may have one bucket for all.

    >>> find_refusal("file:///srv/mlruns/0/a/artifacts", Allowed(roots=("file:///srv/mlruns",)))
    ''
    >>> find_refusal("file:///etc", Allowed(roots=("file:///srv/mlruns",)))[:48]
    'it is not below a folder that may be read here. '
    """
    is_file = uri.startswith("file:")
    roots = [root for root in allowed.roots if lies_in(uri, root)]
    for own in allowed.ours:
        inner = [root for root in roots if root != own and lies_in(root, own)]
        if lies_in(own, uri) or (lies_in(uri, own) and (is_file or not inner)):
            named = (
                "" if is_file else "; if MLflow keeps artifacts there, name their folder: --artifacts-roots <folder>"
            )
            return f"our own files are at {own}, and they are not MLflow's artifacts{named}"
    if is_file and not roots:
        return (
            "it is not below a folder that may be read here. Name the folder in which MLflow keeps artifacts: "
            "--artifacts-roots <folder>"
        )
    return ""


def to_allowed(roots: Iterable[str], ours: Iterable[str]) -> Allowed:
    """Returns the folders that may be read, with paths as URIs. A text that names no path or URI allows nothing.

    >>> to_allowed(["/srv/ml runs/"], ["file:///srv/state"]).roots
    ('file:///srv/ml%20runs',)
    """
    return Allowed(
        roots=tuple(_to_file_uri(root).rstrip("/") for root in roots if root),
        ours=tuple(own.rstrip("/") for own in ours),
    )


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """What lies at `old`, as MLflow writes it, is at `new` now. Neither has a slash at its end."""

    old: str
    new: str


def to_moved(texts: Iterable[str]) -> tuple[Moved, ...]:
    """Returns the moves that texts like ``OLD=NEW`` name, the longest `old` first, because it says most.

    A relative path is the same with and without ``./``.

    >>> to_moved(["./mlruns=/srv/ml runs/"])
    (Moved(old='mlruns', new='file:///srv/ml%20runs'),)
    """
    pairs = (text.partition("=") for text in texts)
    found = [
        Moved(old=old.removeprefix("./").rstrip("/"), new=_to_file_uri(new.strip()).rstrip("/"))
        for old, _, new in pairs
    ]
    return tuple(sorted(found, key=lambda one: len(one.old), reverse=True))


def follow_move(artifact_uri: str, moved: Iterable[Moved]) -> str:
    """Returns where the place is now; as MLflow has it, if nothing is said of it.

    >>> follow_move("./mlruns/0/a/artifacts", to_moved(["mlruns=/srv/mlruns"]))
    'file:///srv/mlruns/0/a/artifacts'
    """
    uri = artifact_uri.removeprefix("./")
    for one in moved:
        if lies_in(uri, one.old):
            rest = uri[len(one.old) :]
            named = _SCHEME.match(uri)
            is_path = named is None or len(named[1]) == 1  # and not percent-encoded, as a URI is
            return one.new + (quote(rest) if is_path and one.new.startswith("file:") else rest)
    return artifact_uri


def to_place(artifact_uri: str, *, destination: str = "", server: str = "") -> Place | Unreachable:
    """Returns the place of a run's artifacts, and which adapter reads `artifact_uri`.

    Args:
        destination: the MLflow server's own ``--artifacts-destination``, where ``mlflow-artifacts:/`` lies: our own
            adapters read it then. Empty: not known; the server is asked if there is one.
        server: the MLflow server that the settings name, the only one that is ever called: a person who may create an
            experiment there says where its artifacts are, and the server that is called gets our token. Empty: none.

    >>> to_place("gs://bucket/0/a/artifacts/").reader
    'objects'
    >>> to_place("mlflow-artifacts:/0/a/artifacts", destination="gs://bucket/mlflow").uri
    'gs://bucket/mlflow/0/a/artifacts'
    >>> to_place("s3://bucket/0/a/artifacts").reader
    'mlflow'
    """
    shown = without_password(artifact_uri)
    named = _SCHEME.match(artifact_uri)
    uri = named[0].lower() + artifact_uri[named.end() :] if named else artifact_uri
    if uri.startswith(_PROXIED):
        if not destination:
            if server and not _is_of(uri, server):
                return Unreachable(uri=shown, reason=_FOREIGN)
            if server:
                return Place(uri=uri.rstrip("/"), reader="mlflow")
            return Unreachable(
                uri=shown,
                reason="an MLflow server hands these through: set MLFLOW_TRACKING_URI, or name the server's own "
                "--artifacts-destination",
            )
        # ``mlflow-artifacts:/path``, or with the server's address: ``mlflow-artifacts://host:port/path``
        path = uri.removeprefix(_PROXIED)
        if path.startswith("//"):
            path = "/" + path[2:].partition("/")[2]
        if ".." in path.split("/"):
            return Unreachable(uri=shown, reason="its path has `..` in it")
        uri = destination.rstrip("/") + "/" + path.strip("/")
    uri = _to_file_uri(uri)
    found = _SCHEME.match(uri)
    if found is None:
        return Unreachable(
            uri=shown,
            reason="it is relative to the folder in which MLflow ran, which is not known here; say where its first "
            "folder is: --artifacts-from mlruns=/srv/mlflow/mlruns",
        )
    scheme = found[1]
    if len(scheme) == 1:
        return Unreachable(uri=shown, reason=f"it is a path of a Windows machine{_SAY_WHERE}")
    if scheme == "file" and not uri.startswith("file:///"):
        return Unreachable(uri=shown, reason=f"it is a path on another machine{_SAY_WHERE}")
    if scheme in ("gs", "file"):
        return Place(uri=uri.rstrip("/"), reader="objects")
    if scheme in _NAMES_ANOTHER:
        return Unreachable(uri=shown, reason=f"it is not a place: {scheme}:/ names the place of another run or model")
    if scheme in ("http", "https") and not (server and _is_of(uri, server)):
        return Unreachable(uri=shown, reason=_FOREIGN)
    return Place(uri=uri.rstrip("/"), reader="mlflow")


def _to_file_uri(uri: str) -> str:
    """Returns a path of this machine, or another form of such a URI, as ``file:///``; anything else as it is."""
    if uri.startswith("file:/") and not uri.startswith("file://"):
        uri = "file://" + uri.removeprefix("file:")
    if uri.startswith("file://localhost/"):
        uri = "file://" + uri.removeprefix("file://localhost")
    return PurePosixPath(uri).as_uri() if uri.startswith("/") else uri


def _is_of(uri: str, server: str) -> bool:
    """Returns True if `uri` names no host, or that of `server`."""
    try:
        named, ours = urlsplit(uri), urlsplit(server)
        ports = named.port, ours.port or _PORTS.get(ours.scheme)
    except ValueError:
        return False
    return not named.netloc or (named.hostname == ours.hostname and ports[0] in (None, ports[1]))


def find_needed_package(uri: str) -> str:
    """Returns the package that MLflow's own reader of such a place imports; empty: not known, or none."""
    return _NEEDS.get(uri.partition(":")[0].lower(), "")


def without_password(uri: str) -> str:
    """Returns the URI as it may be shown and stored.

    >>> without_password("sftp://user:secret@host/a?sig=abc")
    'sftp://host/a'
    """
    if uri.startswith(("gs://", "file:", "/")):  # there `?` and `@` are a part of the name
        return uri
    uri = uri.partition("?")[0]  # it may hold a signature
    if uri.startswith(("wasbs:", "abfss:", "wasb:", "abfs:")):  # what stands before the `@` is a container
        return uri
    return re.sub(r"^([A-Za-z][A-Za-z0-9+.-]*://)[^/@]*@", r"\1", uri)


def lies_in(uri: str, other: str) -> bool:
    """Returns True if `uri` is `other`, or a place within it."""
    return uri == other or uri.startswith(f"{other}/")
