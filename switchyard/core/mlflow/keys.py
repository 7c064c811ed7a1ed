"""The choices of metric keys that a run may be read with and still be mapped: for `Tracking.read_runs(keys=...)`."""

from typing import Final

from switchyard.core.metrics.legacy_names import CHARTED_KEYS, FINAL_PREFIXES
from switchyard.core.metrics.record import HISTOGRAM_BINS, TOWERS
from switchyard.core.mlflow.raw_run import Keys

BIN_KEYS: Final = frozenset(
    f"{tower}_{kind}hist_bin_{number}" for tower in TOWERS for kind in ("", "grad_") for number in range(HISTOGRAM_BINS)
)
"""The keys of the bins of all histograms: 100 of a legacy run's 134 keys."""

SCALARS: Final = Keys(without=BIN_KEYS)
"""All that a published history without histograms is made of: every key but the histograms' bins."""

CHARTED: Final = Keys(CHARTED_KEYS, FINAL_PREFIXES)
"""All that a history of version 1 was made of: losses, norms and final metrics."""
