"""Fixtures of every room's tests. Each starts its server at first use, so that importing them costs nothing."""

from tests.emulators.gcs_fixture import gcs, gcs_root, gcs_server

__all__ = ["gcs", "gcs_root", "gcs_server"]
