"""Picks a model's reader by what lies in its folder."""

from pathlib import Path

from switchyard.clients.scoring.two_tower import TwoTower, open_two_tower
from switchyard.core.errors import BadRequest

FLAVORS = {
    "two-tower": "embeddings/query.parquet and embeddings/candidate.parquet",
    "xgboost": "one model/*.ubj, or model/model.json",
    "keras": "one model/*.keras, or one model/*.h5",
    "tensorflow": "model/saved_model.pb",
    "mlflow": "model/MLmodel, with MLflow's flavor xgboost, keras or tensorflow",
}
"""What can be served, and the files that show it; only the first one recommends products, and is read here."""


def open_recommender(folder: Path) -> TwoTower:
    """The model in `folder`, which holds the files of its manifest and no others (`services.private_copy`): nothing
    here checks a hash. A second call reads again.

    Raises:
        BadRequest: a flavor that cannot be read. BadRecord: the files are not what their format says; all problems.
    """
    if (folder / "embeddings").is_dir():
        return open_two_tower(folder)
    known = "; ".join(f"{flavor}: {files}" for flavor, files in FLAVORS.items())
    there = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
    raise BadRequest(f"this model's flavor cannot be served: its folder has {there}. What can be served: {known}")
