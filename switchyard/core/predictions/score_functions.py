"""Lists functions of scikit-learn that a fitted model names: how a search or a feature selection has judged.

They compute with arrays, and a prediction never calls them. They are those of `sklearn.metrics.get_scorer_names()` in
1.9.1, without those for clusters.
"""

from typing import Final

_SELECTION: Final = ("chi2", "f_classif", "f_regression")
_CLASSES: Final = (
    *("accuracy_score", "balanced_accuracy_score", "brier_score_loss", "d2_brier_score", "d2_log_loss_score"),
    *("f1_score", "jaccard_score", "log_loss", "matthews_corrcoef", "precision_score", "recall_score"),
)
_RANKS: Final = ("average_precision_score", "roc_auc_score", "top_k_accuracy_score")
_NUMBERS: Final = (
    *("d2_absolute_error_score", "explained_variance_score", "max_error", "mean_absolute_error"),
    *("mean_absolute_percentage_error", "mean_gamma_deviance", "mean_poisson_deviance", "mean_squared_error"),
    *("mean_squared_log_error", "median_absolute_error", "r2_score", "root_mean_squared_error"),
    "root_mean_squared_log_error",
)

SCORE_FUNCTIONS: Final = frozenset(
    f"sklearn.{module}.{name}"
    for module, names in (
        ("feature_selection._univariate_selection", _SELECTION),
        ("metrics._classification", _CLASSES),
        ("metrics._ranking", _RANKS),
        ("metrics._regression", _NUMBERS),
    )
    for name in names
)
