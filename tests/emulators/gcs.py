"""A Cloud Storage endpoint on this machine: `start_gcs` for fixtures, ``python -m tests.emulators.gcs`` for a process.

Any client reaches it by ``STORAGE_EMULATOR_HOST``. Its answers are the JSON API's (each rule names its source in
`gcs_rules`, `gcs_store`, `gcs_uploads`, `gcs_app`); not emulated: ACLs, IAM policies, soft delete, retention, holds,
lifecycle, batch requests, the XML and gRPC APIs.
"""

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.emulators.faults import Fault
from tests.emulators.gcs_app import GcsApp, Ways
from tests.emulators.gcs_push import PushConfig
from tests.emulators.gcs_store import Store
from tests.emulators.server import listen, serve_forever, serve_in_thread


class Gcs:
    """A running endpoint, as a test in the same process sees it."""

    def __init__(self, url: str, app: GcsApp) -> None:
        self.url = url
        self.app = app
        self.store = app.store

    @property
    def environ(self) -> dict[str, str]:
        """What makes any Cloud Storage client come here."""
        return {"STORAGE_EMULATOR_HOST": self.url}

    def inject(self, fault: Fault) -> None:
        """Orders a fault."""
        self.app.faults.order(fault)

    def count(self, kind: str = "*", target: str = "*") -> int:
        """How many calls there were (globs), e.g. ``count("objects.insert", "runs/*")``."""
        return self.app.faults.count(kind, target)

    def reset(self) -> None:
        """No faults, no notifications, nothing denied, the usual ways, no calls counted; objects stay."""
        self.app.faults.forget()
        self.app.pusher.clear()
        self.app.denied = set()
        self.app.ways = Ways()

    def push_to(self, config: PushConfig) -> None:
        """Switches notifications on."""
        self.app.pusher.add(config)


@contextlib.contextmanager
def start_gcs(
    *,
    folder: Path | None = None,
    buckets: Sequence[str] = ("switchyard-test",),
    token_prefix: str | None = None,
    port: int = 0,
) -> Iterator[Gcs]:
    """An endpoint with `buckets`, in memory, or in `folder` where a later one finds everything again."""
    app = _build(folder, buckets, token_prefix)
    try:
        with serve_in_thread(app, port=port) as url:
            yield Gcs(url, app)
            app.faults.forget()  # a call that is still held would keep the server from ending
    finally:
        app.pusher.close()
        app.store.close()


def main() -> None:
    """Serves until it is ended."""
    parser = argparse.ArgumentParser(prog="python -m tests.emulators.gcs", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; default: a free one, printed")
    parser.add_argument("--folder", type=Path, help="where buckets and objects are kept; default: in memory")
    parser.add_argument("--bucket", action="append", default=[], help="made if it is not there; may be repeated")
    parser.add_argument("--token-prefix", help="demand a bearer token that starts so; default: anyone may")
    flags = parser.parse_args()
    serve_forever(_build(flags.folder, flags.bucket, flags.token_prefix), listen(flags.port)[0])


def _build(folder: Path | None, buckets: Sequence[str], token_prefix: str | None) -> GcsApp:
    store = Store(folder)
    for bucket in buckets:
        if not any(found["name"] == bucket for found in store.list_buckets()):
            store.create_bucket(bucket)
    return GcsApp(store, token_prefix=token_prefix)


if __name__ == "__main__":
    main()
