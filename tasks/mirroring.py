"""Mirrors our registry in MLflow's."""

import math
import time
from collections.abc import Sequence
from datetime import timedelta

from switchyard.clients.connect import connect
from switchyard.core.registry.mirroring import MirrorResult
from switchyard.services import mirroring
from tasks.policy import effect


@effect
def mirror_models(names: Sequence[str], budget_s: float, every_s: float) -> MirrorResult:
    """Repairs the mirrors of all models, or of those named; returns what was done: nothing if no mirror is set."""
    outside = connect()
    mirror = outside.mirror
    if mirror is None:
        return MirrorResult()
    ports = mirroring.Mirroring(
        models=outside.models,
        notes=outside.mirror_notes,
        mirror=mirror,
        deadline=time.monotonic() + budget_s if budget_s else math.inf,
        every=timedelta(seconds=every_s),
    )
    return mirroring.mirror_models(ports, names)
