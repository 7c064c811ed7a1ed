"""The types that a skops file may hold besides those that skops itself trusts.

A file with any other type is refused with the type's name, and nothing in it is made.

skops 0.16 itself trusts Python's and NumPy's plain values, the universal functions of NumPy and SciPy, the random bit
generators, and scikit-learn's public estimators with their losses and links
(https://skops.readthedocs.io/en/stable/persistence.html). The types here are the other types of scikit-learn that
fitted models hold. None of them imports, reads, writes or starts anything when it is made or used. They were found by
fitting each estimator of scikit-learn 1.9.1 and asking skops. The last ones are functions that scored a model
(`core.predictions.score_functions`).
"""

from typing import Final

from switchyard.core.predictions.score_functions import SCORE_FUNCTIONS

_INDICES: Final = (
    # Compiled code follows the indices in these without a bounds check, so a crafted file can end the process that
    # predicts, and read its memory. That process is the loader's, which holds nothing else, and the file's digest was
    # checked before. Source: https://github.com/scikit-learn/scikit-learn/pull/34558
    "sklearn.tree._tree.Tree",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.metrics._dist_metrics.ManhattanDistance64",
    "sklearn.metrics._dist_metrics.MinkowskiDistance64",
)
_HOLDERS: Final = (
    # Only attributes and arithmetic in Python: parts of public estimators that are classes by themselves.
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    "sklearn.gaussian_process.kernels.ConstantKernel",
    "sklearn.gaussian_process.kernels.Matern",
    "sklearn.gaussian_process.kernels.Product",
    "sklearn.gaussian_process.kernels.RBF",
    "sklearn.gaussian_process.kernels.RationalQuadratic",
    "sklearn.gaussian_process.kernels.Sum",
    "sklearn.gaussian_process.kernels.WhiteKernel",
    "sklearn.multiclass._ConstantPredictor",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn._loss.loss.HalfTweedieLoss",
    "sklearn._loss.loss.HalfTweedieLossIdentity",
    "numpy.dtype",  # the name of a number type, in an imputer
)
_SEARCHES: Final = (
    # The settings of a parameter search, in Python: how to split rows, and how to score. Predictions come from its best
    # estimator and use none of these.
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn.metrics._scorer._Scorer",
    *(
        f"sklearn.model_selection._split.{name}"
        for name in (
            *("GroupKFold", "GroupShuffleSplit", "KFold", "LeaveOneGroupOut", "LeaveOneOut", "LeavePGroupsOut"),
            *("LeavePOut", "PredefinedSplit", "RepeatedKFold", "RepeatedStratifiedKFold", "ShuffleSplit"),
            *("StratifiedGroupKFold", "StratifiedKFold", "StratifiedShuffleSplit", "TimeSeriesSplit"),
        )
    ),
)

TRUSTED: Final = (*_INDICES, *_HOLDERS, *_SEARCHES, *sorted(SCORE_FUNCTIONS))
