"""Fixtures of every room's tests. Each starts its server at first use, so that importing them costs nothing."""

from tests.emulators.gcs_fixture import gcs, gcs_root, gcs_server
from tests.emulators.vertex_fixture import (
    idle_vertex,
    idle_vertex_server,
    make_client,
    start_vertex,
    transport,
    trusted_certificate,
    vertex,
    vertex_server,
)

__all__ = [
    "gcs",
    "gcs_root",
    "gcs_server",
    "idle_vertex",
    "idle_vertex_server",
    "make_client",
    "start_vertex",
    "transport",
    "trusted_certificate",
    "vertex",
    "vertex_server",
]
