"""A Keras model in memory, read in Keras' safe mode, without custom objects."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from serving.predictions.loaders.arrays import TensorModel, choose_takes, describe_outputs, warm
from serving.predictions.loaders.loading import NotLoaded, check_not_newer, shorten
from switchyard.core.predictions.keras_config import OLDEST, is_new_enough
from switchyard.core.predictions.mlmodel import NotServed
from switchyard.core.predictions.signature import Column, Signature
from switchyard.core.predictions.tensors import to_tensor


def open_keras(
    folder: Path, paths: Sequence[str], path: str, said: Sequence[Column] | None, saved_with: str, tokenizer: str = ""
) -> TensorModel:
    """Loads the model from a file with a checked configuration.

    Raises: NotLoaded: it cannot be served. OtherLibrary: a newer Keras saved it."""
    if not is_new_enough(keras.__version__):
        oldest = ".".join(str(number) for number in OLDEST)
        raise NotLoaded(f"Keras must be {oldest} or newer to read files safely; here is {keras.__version__}")
    check_not_newer(path, "Keras", saved_with, keras.__version__)
    try:
        model = keras.saving.load_model(str(folder / path), compile=False, safe_mode=True)
    except MemoryError:
        raise
    except Exception as err:
        saved = f" It was saved with Keras {saved_with}." if saved_with else ""
        raise NotLoaded(f"{path}: Keras {keras.__version__} does not read it: {shorten(err)}.{saved}") from err
    try:
        taken = _name_tensors(_get_structure(model, "input"), ())
        given = _name_tensors(_get_structure(model, "output"), getattr(model, "output_names", ()))
        inputs = [to_tensor(name, str(each.dtype), each.shape) for name, each in taken.items()]
        outputs = [to_tensor(name, str(each.dtype), each.shape) for name, each in given.items()]
    except NotServed as err:
        raise NotLoaded(f"{path}: {err}") from err
    takes = choose_takes(folder, paths, path, inputs, said, tokenizer)
    _check_vocabulary(model, takes.tokenizer.largest if takes.tokenizer else 0)
    by_name = isinstance(_get_structure(model, "input"), dict)
    call = tf.function(
        lambda *tensors: _name(given, model(_pack(taken, tensors, by_name=by_name), training=False)),
        input_signature=[
            tf.TensorSpec(
                (None, *(None if length < 0 else length for length in each.shape)), each.dtype, name=f"input_{n}"
            )
            for n, each in enumerate(inputs)
        ],
        jit_compile=False,
    )
    signature = Signature(columns=takes.columns, answers=f"what Keras' predict answers: {describe_outputs(outputs)}")
    return warm(TensorModel(lambda arrays: call(*arrays), inputs, takes, signature, f"keras {keras.__version__}"))


def _get_structure(model: Any, name: str) -> Any:
    """Returns the model's `input` or `output`; None: it has none. A Sequential model has them only as lists."""
    if isinstance(model, keras.Sequential):
        return getattr(model, f"{name}s", None)
    return getattr(model, name, None)


def _name_tensors(said: Any, names: Sequence[str]) -> dict[str, Any]:
    """Returns a structure of tensors by name: its own names, else `names`, else those of the tensors."""
    if said is None:
        raise NotServed("the model does not say what it takes. Save it after it was built, or called once")
    if isinstance(said, dict):
        found = dict(said)
    else:
        listed = list(said) if isinstance(said, list | tuple) else [said]
        names = names if len(names) == len(listed) else [getattr(each, "name", "") for each in listed]
        found = dict(zip(names, listed, strict=True))
    if not found or not all(hasattr(each, "shape") for each in found.values()):
        raise NotServed("the model must take and answer tensors, or lists or objects of these; it has lists in lists")
    return found


def _check_vocabulary(model: Any, largest: int) -> None:
    """Checks that the model knows all of the tokenizer's numbers. Raises: NotLoaded: they do not belong together."""
    tables = [layer.input_dim for layer in model.layers if isinstance(layer, keras.layers.Embedding)]
    if tables and largest >= max(tables):
        raise NotLoaded(
            f"the tokenizer numbers words up to {largest:,}, and the model knows {max(tables):,} numbers from 0 on: "
            "they do not belong together"
        )


def _pack(taken: Mapping[str, Any], tensors: Sequence[Any], *, by_name: bool) -> Any:
    """Returns the inputs as the model takes them: one, a list, or by name."""
    if by_name:
        return dict(zip(taken, tensors, strict=True))
    return tensors[0] if len(tensors) == 1 else list(tensors)


def _name(given: Mapping[str, Any], outputs: Any) -> dict[str, Any]:
    if isinstance(outputs, dict):
        return {name: outputs[name] for name in given}
    return dict(zip(given, outputs if isinstance(outputs, list | tuple) else [outputs], strict=True))
