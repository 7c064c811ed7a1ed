"""Picks a model's reader by what lies in its folder."""

from pathlib import Path

from switchyard.clients.scoring.two_tower import TwoTower, open_two_tower
from switchyard.core.errors import BadRequest
from switchyard.core.predictions.filenames import say_several
from switchyard.core.predictions.mlmodel import SERVED

SHOWN = 20
"""Files in a message."""

FLAVORS = {
    "two-tower": "embeddings/query.parquet and embeddings/candidate.parquet",
    "xgboost": "one model/*.ubj, or model/model.json",
    "sklearn": "one model/*.skops",
    "keras": "one model/*.keras, or one model/*.h5",
    "tensorflow": "model/saved_model.pb",
    "mlflow": f"model/MLmodel, with MLflow's flavor {', '.join(SERVED)}",
    "pickle": "one model/*.pkl, *.pickle or *.joblib that MODEL_PICKLE_DIGESTS names",
}
"""What can be served, and the files that show it; only the first one recommends products, and is read here."""


def open_recommender(folder: Path) -> TwoTower:
    """Opens the model in `folder`. A second call reads again.

    The folder holds the files of its manifest and no others (`services.private_copy`): nothing here checks a hash.

    Raises:
        BadRequest: the flavor cannot be read. BadRecord: the files are not what their format says; all problems.
    """
    if (folder / "embeddings").is_dir():
        return open_two_tower(folder)
    known = "; ".join(f"{flavor}: {files}" for flavor, files in FLAVORS.items())
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    if several := say_several(paths):
        raise BadRequest(f"this model cannot be served: {several}")
    there = ", ".join(paths[:SHOWN]) + (f" and {len(paths) - SHOWN:,} more" if len(paths) > SHOWN else "") or "nothing"
    raise BadRequest(f"this model's flavor cannot be served: its folder has {there}. What can be served: {known}")
