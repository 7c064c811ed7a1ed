"""The names that the legacy training code gave its series, and version 1's for them."""

from history.record import PUBLISHED_LOSS

LOSS_NAMES = PUBLISHED_LOSS
"""Some legacy collectors wrote the published history's names (``train``, ``val``, ...) into the file already."""

GRADIENT_NAMES = {
    "weight_norm": "total",
    "query_weight_norm": "query",
    "candidate_weight_norm": "candidate",
}
"""The L2 norms of the weights, as they were logged to MLflow."""
