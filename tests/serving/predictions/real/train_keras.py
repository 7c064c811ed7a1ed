"""Trains Keras models, saves them in each format and by MLflow, and prints what Keras itself answers.

`python train_keras.py <folder> <site-packages of an MLflow>`.
"""

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import tensorflow as tf
from keras import layers
from keras.src.legacy.preprocessing.text import Tokenizer
from tensorflow.core.protobuf import saved_model_pb2

TEXTS = ["a good film", "so good, so GOOD", "I liked it!", "a bad film", "so bad", "I hated it -- unseen words"]
LENGTH = 6
NEWER = "9.8.7"


def main(folder: Path, site_packages: Path) -> dict[str, Any]:
    """Writes `<folder>/<name>/model/` for each name; the answers by name, to `texts` or `rows`."""
    tokenizer = Tokenizer(num_words=12, oov_token="<oov>")
    tokenizer.fit_on_texts(TEXTS[:-1])
    numbers = tokenizer.texts_to_sequences(TEXTS)
    texts = keras.utils.pad_sequences(numbers, maxlen=LENGTH, padding="post")
    said: dict[str, Any] = {"texts": TEXTS, "answers": {}}
    for seed, name in ((1, "mood.h5"), (2, "other.keras")):
        model = make_mood(seed)
        model.fit(texts, np.array([1, 1, 1, 0, 0, 0]), epochs=3, verbose=0)
        place = folder / name / "model"
        place.mkdir(parents=True)
        model.save(place / name)
        (place / "tokenizer.json").write_text(tokenizer.to_json())
        (place / "text.json").write_text('{"padding": "post"}')
        said["answers"][name] = model.predict(texts, verbose=0).tolist()

    write_hostile(folder)
    write_newer(folder)
    write_short(folder)
    return {**said, **log(folder, site_packages)}


def make_mood(seed: int) -> Any:
    """A sentiment model, as an earlier service had it."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((LENGTH,)),
            layers.Embedding(12, 8, mask_zero=True),
            layers.Bidirectional(layers.GRU(4)),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile("adam", "binary_crossentropy")
    return model


def write_hostile(folder: Path) -> None:
    """Models that do more than to answer, and write a file or answer with the lines of one.

    They are layers that are programs, and graphs that do it when they are asked.
    """
    model = keras.Sequential([keras.Input((2,)), layers.Lambda(lambda x: x * 2, name="double")])
    for name in ("lambda.h5", "lambda.keras"):
        (folder / name / "model").mkdir(parents=True)
        model.save(folder / name / "model" / name)

    class Writer(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
        def serve(self, x: Any) -> Any:
            tf.io.write_file(str(folder / "written"), "by the model")
            return {"y": x}

    class Reader(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="line")])
        def serve(self, line: Any) -> Any:
            table = tf.raw_ops.HashTableV2(key_dtype=tf.int64, value_dtype=tf.string)
            tf.raw_ops.InitializeTableFromTextFileV2(
                table_handle=table, filename="/etc/passwd", key_index=-1, value_index=-2
            )
            return {"text": tf.raw_ops.LookupTableFindV2(table_handle=table, keys=line, default_value="")}

    for name, made in (("writer", Writer()), ("reader", Reader())):
        tf.saved_model.save(made, str(folder / name / "model"), signatures=made.serve)


def write_newer(folder: Path) -> None:
    """True models in each format, which say that a version has saved them that is not there yet."""
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    places = {name: folder / name / "model" for name in ("newer.h5", "newer.keras", "newer")}
    for name in ("newer.h5", "newer.keras"):
        places[name].mkdir(parents=True)
        model.save(places[name] / name)
    with h5py.File(places["newer.h5"] / "newer.h5", "r+") as file:
        file.attrs["keras_version"] = NEWER
    path = places["newer.keras"] / "newer.keras"
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    parts["metadata.json"] = json.dumps({**json.loads(parts["metadata.json"]), "keras_version": NEWER}).encode()
    with zipfile.ZipFile(path, "w") as new:
        for name, data in parts.items():
            new.writestr(name, data)
    model.export(places["newer"], verbose=False)
    path = places["newer"] / "saved_model.pb"
    said = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    said.meta_graphs[0].meta_info_def.tensorflow_version = NEWER
    path.write_bytes(said.SerializeToString())


def write_short(folder: Path) -> None:
    """A model of texts that loads fast: each of many damaged tokenizers is read beside it."""
    place = folder / "short" / "model"
    place.mkdir(parents=True)
    keras.Sequential([keras.Input((LENGTH,)), layers.Embedding(12, 2), layers.Flatten()]).save(place / "short.keras")
    tokenizer = Tokenizer(num_words=12)
    tokenizer.fit_on_texts(TEXTS)
    (place / "tokenizer.json").write_text(tokenizer.to_json())


def log(folder: Path, site_packages: Path) -> dict[str, Any]:
    """By MLflow's `save_model` with a signature, and in the layout of 2.9.2; the rows, and what Keras answers."""
    sys.path.append(str(site_packages))
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    one, two = keras.Input((3,), name="one"), keras.Input((1,), name="two", dtype="int64")
    joined = layers.Concatenate()([one, layers.Flatten()(layers.Embedding(5, 2)(two))])
    model = keras.Model({"one": one, "two": two}, {"sum": layers.Dense(1)(joined), "kind": layers.Dense(2)(joined)})
    rows = {"one": np.array([[1, 2, 3], [4, 5, 6.5]], np.float32), "two": np.array([[1], [4]])}
    specs = [TensorSpec(np.dtype("float32"), (-1, 3), "one"), TensorSpec(np.dtype("int64"), (-1, 1), "two")]
    mlflow.keras.save_model(
        model, str(folder / "logged" / "model"), signature=ModelSignature(Schema(specs)), pip_requirements=[]
    )
    write_as_2_9_2(model, folder / "logged by 2.9.2" / "model")
    answers = {name: array.tolist() for name, array in model.predict(rows, verbose=0).items()}

    # MLflow exports a model of one input only.
    small = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    small.export(folder / "small" / "model", verbose=False)
    signature = ModelSignature(Schema([TensorSpec(np.dtype("float32"), (-1, 3))]))
    mlflow.keras.save_model(
        small, str(folder / "exported" / "model"), signature=signature, save_exported_model=True, pip_requirements=[]
    )
    return {
        "versions": {"Keras": keras.__version__, "TensorFlow": tf.__version__},
        "mlflow": mlflow.__version__,
        "rows": [{"one": a.tolist(), "two": int(b[0])} for a, b in zip(rows["one"], rows["two"], strict=True)],
        "logged": [dict(zip(answers, each, strict=True)) for each in zip(*answers.values(), strict=True)],
        "exported": small.predict(rows["one"], verbose=0).tolist(),
    }


def write_as_2_9_2(model: Any, place: Path) -> None:
    """What `mlflow.tensorflow.save_model` of 2.9.2 writes for `.h5`.

    That MLflow itself runs beside no TensorFlow that reads what Keras 3 writes: its protobuf is older. Source:
    mlflow/tensorflow/__init__.py, 2.9.2.
    """
    (place / "data").mkdir(parents=True)
    (place / "data" / "keras_module.txt").write_text("keras")
    (place / "data" / "save_format.txt").write_text("h5")
    model.save(place / "data" / "model.h5")
    (place / "MLmodel").write_text(
        "flavors:\n"
        "  python_function: {data: data, env: {conda: conda.yaml}, loader_module: mlflow.tensorflow}\n"
        "  tensorflow: {code: null, data: data, keras_version: 2.15.0, model_type: keras, save_format: h5}\n"
        "mlflow_version: 2.9.2\n"
    )


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]))))
