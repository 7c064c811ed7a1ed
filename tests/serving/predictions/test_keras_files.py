"""Files of Keras' that are refused by what they say they are made of, before Keras is imported."""

import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import pytest

from serving.predictions.loaders.loading import NotLoaded, load

LAMBDA = {"class_name": "Lambda", "config": {"name": "double", "function": ["4wEA", None, None]}}
IS_PROGRAM = "the layer 'double' is a Lambda, which is a program; layers like it are not served"


def make_h5(config: Any) -> bytes:
    """As `Model.save` writes `.h5`."""
    file = io.BytesIO()
    with h5py.File(file, "w") as made:
        if config is not None:
            made.attrs["model_config"] = json.dumps(config)
    return file.getvalue()


def make_zip(config: Any, *more: str, metadata: str = "{}") -> bytes:
    """As `Model.save` writes `.keras`."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for name, text in [("metadata.json", metadata), ("config.json", json.dumps(config)), *((n, "") for n in more)]:
            made.writestr(name, text)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("m.h5", make_h5({"class_name": "Sequential", "config": [LAMBDA]}), IS_PROGRAM),
        ("m.keras", make_zip({"class_name": "Sequential", "config": {"layers": [LAMBDA]}}), IS_PROGRAM),
        ("m.h5", make_h5(None), "it has only weights. Save the whole model"),
        ("m.h5", make_h5({})[:500], "it is not a complete Keras file"),
        ("m.h5", b"\x80\x04\x95 a pickle", "it is not a complete Keras file"),
        ("m.keras", make_zip({})[:-40], "it is not a complete Keras file"),
        ("m.keras", make_zip({}, metadata="["), "it is not a complete Keras file"),
        ("m.keras", make_zip({}, "assets/words.txt"), "it has files inside (assets/words.txt)"),
    ],
)
def test_a_file_is_refused_before_keras_reads_it(tmp_path: Path, name: str, data: bytes, problem: str) -> None:
    """With the layer's name; nothing that it names is imported."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / name).write_bytes(data)
    before = set(sys.modules)
    with pytest.raises(NotLoaded) as raised:
        load(tmp_path, "keras", [f"model/{name}"])
    assert problem in str(raised.value)
    assert f"model/{name}: " in str(raised.value)
    assert not {"keras", "tensorflow"} & (set(sys.modules) - before)
