"""Embeddings beside a model that the trainer exported: the same products, or they are refused."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pa_parquet
import pytest

from switchyard.clients.scoring.open import open_recommender
from switchyard.core.errors import BadRecord, BadRequest
from tests.docs.pages import read_blocks, read_page
from tests.root import ROOT

EXPORT = """
import sys
from pathlib import Path
from types import SimpleNamespace
import numpy as np, pyarrow as pa
from trainer.model.export import export_embeddings, export_model
products = pa.array([f"p{number}" for number in range(40)] + ["größe " + "x" * 200])
dataset = SimpleNamespace(buyer_ids=pa.array(["b0", "b1"]), product_ids=products, product_counts=np.arange(41))
draw = np.random.default_rng(1)
query, candidate = (draw.normal(size=(count, 4)).astype("f4") for count in (2, 41))
folder = Path(sys.argv[1])
export_model(dataset, query, candidate, top_k=5, folder=folder)
export_embeddings(dataset, query, candidate, folder=folder)
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the trainer writes, by the trainer."""
    folder = tmp_path_factory.mktemp("exported")
    subprocess.run([sys.executable, "-c", EXPORT, str(folder)], cwd=ROOT, check=True, capture_output=True)
    return folder


def rewrite(folder: Path, ids: list[str]) -> None:
    path = folder / "embeddings" / "candidate.parquet"
    table = pa_parquet.read_table(path)
    pa_parquet.write_table(table.slice(0, len(ids)).set_column(0, "id", [ids]), path)


def test_the_layout_of_tf_serving_holds_to_its_rules(exported: Path, tmp_path: Path) -> None:
    """The commands of docs/serving-models.md leave nothing else that TF Serving would take for a version.

    They leave `<base>/<number>/saved_model.pb`, and its variables beside it. Source: tensorflow/serving,
    docs/serving_basic."""
    (block,) = [
        block for block in read_blocks(read_page("serving-models.md"), "sh") if "tensorflow_model_server" in block
    ]
    commands = block[: block.index("tensorflow_model_server")]
    for number in ("3", "12"):
        environ = {**os.environ, "BASE": str(tmp_path), "EXPORT": str(exported), "NUMBER": number}
        subprocess.run(["bash", "-euc", commands], env=environ, check=True)
    assert {folder.name for folder in (tmp_path / "shop").iterdir()} == {"3", "12"}
    for folder in (tmp_path / "shop").iterdir():
        assert {"saved_model.pb", "variables"} <= {path.name for path in folder.iterdir()}
        assert (folder / "variables" / "variables.index").is_file()
        assert list((folder / "variables").glob("variables.data-00000-of-0000?"))
        assert not (folder / "embeddings").exists()


def test_export_is_opened_as_it_is_and_refused_with_other_products(exported: Path, tmp_path: Path) -> None:
    """One product renamed, two exchanged; without the graph there is nothing to hold them against."""
    exported = Path(shutil.copytree(exported, tmp_path / "changed"))
    products = list(open_recommender(exported).products)
    assert len(products) == 41
    for others in (["other", *products[1:]], [products[1], products[0], *products[2:]]):
        rewrite(exported, others)
        with pytest.raises(BadRecord, match=r"has other products than model/saved_model\.pb, or in another order"):
            open_recommender(exported)
    (exported / "model" / "saved_model.pb").unlink()
    assert len(open_recommender(exported).products) == 41


def test_what_cannot_be_opened_is_told_what_can(tmp_path: Path) -> None:
    """Two files of one format are both named, and the setting that chooses."""
    (tmp_path / "model").mkdir()
    for name in ("a.ubj", "b.ubj"):
        (tmp_path / "model" / name).touch()
    with pytest.raises(BadRequest, match=r"model/a\.ubj, model/b\.ubj\. Name the one to serve: MODEL_FILENAME=a\.ubj"):
        open_recommender(tmp_path)
    for name in ("a.ubj", "b.ubj"):
        (tmp_path / "model" / name).rename(tmp_path / "model" / f"{name}.old")
    with pytest.raises(BadRequest, match=r"its folder has model/a\.ubj\.old, .*sklearn: one model/\*\.skops"):
        open_recommender(tmp_path)
