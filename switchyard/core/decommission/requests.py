"""What the metric of a service's requests and its request log say of the same time, and when their silence counts.

The metric has points of a minute and counts a request at its end; the log has it at its begin. So a window of the
metric holds requests that the log has before that window, and only those may be missing from the log's window.
Source: https://cloud.google.com/monitoring/api/metrics_gcp_p_z#gcp-run (request_count, sampled every 60 seconds),
https://cloud.google.com/run/docs/configuring/request-timeout (60 minutes).
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

POINT: Final = timedelta(seconds=60)
"""The span of one point of the metric; it counts for a window if it ends in it."""
LONGEST: Final = timedelta(minutes=60)
"""The longest time that a request may take."""
CONTROL: Final = timedelta(days=30)
"""The time before a window in which something must be found. By default the log is kept this long, and the
metric for six weeks. Source: https://cloud.google.com/logging/quotas#logs_retention_periods,
https://cloud.google.com/monitoring/quotas#data_retention_policy"""


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """What the same two queries find in a longer time: that they find anything shows that they can."""

    service: str
    since: datetime
    logged_at: datetime | None = None  # the newest entry of the request log
    counted: int = 0  # by the metric


def is_at_edge(began_at: datetime, took: timedelta, since: datetime) -> bool:
    """Returns whether a request that the log has before `since` may be in a point of the metric that ends after it."""
    return began_at < since and began_at + took > since - POINT


def list_control_refusals(services: Sequence[str], controls: Iterable[Control], *, counts: bool) -> tuple[str, ...]:
    """Returns why silence proves nothing: a sentence for each service with nothing at all in its log, or metric.

    Args:
        counts: the metric must have found something too. It counts what reaches a container, so nothing of a service
            that is stopped.
    """
    held = {control.service: control for control in controls}
    refusals = []
    for service in services:
        control = held.get(service)
        if control is None:
            refusals.append(
                f"Whether the request log of {service} can be read was not tried. Run: switchyard decommission next"
            )
            continue
        silent = ["its request log has no entry"] if control.logged_at is None else []
        silent += ["its metric request_count has no request"] if counts and not control.counted else []
        refusals += [
            f"Nothing proves that a request to {service} would be seen: since {control.since:%Y-%m-%d} {what}. The log "
            "may be excluded or its sink off, or no one called it. Turn the log on (gcloud logging sinks describe "
            '_Default), call it once (curl -A switchyard-control -H "Authorization: Bearer $(gcloud auth '
            'print-identity-token)" <its address>/health), wait five minutes, then run: switchyard decommission next '
            "--known-callers switchyard-control"
            for what in silent
        ]
    return tuple(refusals)
