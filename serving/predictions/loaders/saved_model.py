"""TensorFlow SavedModels, which are programs: what a graph may do is checked before TensorFlow reads it."""

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from serving.predictions.loaders.arrays import TensorModel, choose_takes, describe_outputs, warm
from serving.predictions.loaders.loading import NotLoaded, check_not_newer, shorten
from switchyard.core.predictions.graph_ops import TABLE_FROM_FILE, Function, find_refused
from switchyard.core.predictions.mlmodel import NotServed
from switchyard.core.predictions.signature import Column, Signature
from switchyard.core.predictions.tensors import Tensor, to_tensor
from switchyard.core.registry.flavors import SAVED_MODEL

SIGNATURE: Final = "serving_default"
MAX_GRAPH_BYTES: Final = 1 << 30
"""The limit of saved_model.pb, which has no weights; protobuf reads 2 GiB at most."""


def load_saved_model(folder: Path, paths: Sequence[str], tokenizer: str = "") -> TensorModel:
    """Loads the SavedModel in `folder`. Raises: NotLoaded: it cannot be served."""
    return read_saved_model(folder, paths, f"model/{SAVED_MODEL}", tokenizer=tokenizer)


def read_saved_model(
    folder: Path, paths: Sequence[str], path: str, said: Sequence[Column] | None = None, *, tokenizer: str = ""
) -> TensorModel:
    """Loads the model with `saved_model.pb` at `path` of `folder`, with the columns of a signature if there is one.

    Raises: NotLoaded: it cannot be served, or does what is not allowed. OtherLibrary: a newer TensorFlow saved it."""
    place = PurePosixPath(path).parent
    if problems := _find_problems(folder / path, str(place), paths):
        raise NotLoaded(*(f"{path}: {problem}" for problem in problems))
    try:
        model = tf.saved_model.load(str(folder / place))
        serve = model.signatures[SIGNATURE]
    except MemoryError:
        raise
    except Exception as err:
        raise NotLoaded(f"{path}: TensorFlow {tf.__version__} does not read it: {shorten(err)}") from err
    try:
        inputs = _list_inputs(serve.structured_input_signature[1])
        outputs = _list_outputs(serve.structured_outputs)
    except NotServed as err:
        raise NotLoaded(f"{path}: {err}") from err
    takes = choose_takes(folder, paths, path, inputs, said, tokenizer)
    names, types = [each.name for each in inputs], [each.dtype for each in inputs]

    def run(arrays: list[Any]) -> dict[str, Any]:
        tensors = [tf.constant(array, dtype) for array, dtype in zip(arrays, types, strict=True)]
        found = serve(**dict(zip(names, tensors, strict=True)))
        return {each.name: found[each.name].numpy() for each in outputs}

    run.model = model  # type: ignore[attr-defined]  # keeps its variables and tables alive
    signature = Signature(columns=takes.columns, answers=f"what {SIGNATURE} answers: {describe_outputs(outputs)}")
    return warm(TensorModel(run, inputs, takes, signature, f"tensorflow {tf.__version__}"))


def _find_problems(path: Path, place: str, paths: Sequence[str]) -> list[str]:
    """Returns why TensorFlow must not read it; only protobuf reads it here."""
    if path.stat().st_size > MAX_GRAPH_BYTES:
        return [f"it must have at most {MAX_GRAPH_BYTES:,} bytes; it has {path.stat().st_size:,}"]
    try:
        said = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    except Exception as err:  # noqa: BLE001 - protobuf's DecodeError, which only protobuf has
        return [f"it is not a complete SavedModel file: {shorten(err)}"]
    if len(said.meta_graphs) != 1 or not said.meta_graphs[0].HasField("object_graph_def"):
        return ["it was saved by TensorFlow 1, or has several graphs. Save it with TensorFlow 2: tf.saved_model.save"]
    graph = said.meta_graphs[0]
    check_not_newer(f"{place}/{SAVED_MODEL}", "TensorFlow", graph.meta_info_def.tensorflow_version, tf.__version__)
    if SIGNATURE not in graph.signature_def:
        found = ", ".join(sorted(graph.signature_def)[:5])
        return [f"it must have the signature {SIGNATURE}; it has {found or 'none'}"]
    outside = [each.filename for each in graph.asset_file_def if f"{place}/assets/{each.filename}" not in paths]
    if outside:
        return [f"its assets must be among the version's files; these are not: {', '.join(outside[:5])[:400]}"]
    run = graph.object_graph_def.concrete_functions
    functions = {
        each.signature.name: _to_function(each, graph.object_graph_def) for each in graph.graph_def.library.function
    }
    main = frozenset(node.op for node in graph.graph_def.node)
    return find_refused(main, functions, [*run, *(g.gradient_func for g in graph.graph_def.library.gradient)])


def _to_function(said: Any, objects: Any) -> Function:
    return Function(
        ops=frozenset(node.op for node in said.node_def),
        calls=frozenset(name for node in said.node_def for name in _list_called(node)),
        reads_other_files=not _get_files(said) <= _get_assets(said, objects),
    )


def _list_called(node: Any) -> Iterable[str]:
    """Yields the functions in an operation's attributes, also in lists and in the attributes of functions.

    A function may have the name of an operation."""
    yield node.op
    left = list(node.attr.values())
    while left:
        value = left.pop()
        for each in (*([value.func] if value.HasField("func") else []), *value.list.func):
            yield each.name
            left.extend(each.attr.values())


def _get_files(function: Any) -> set[str]:
    """Returns the names of the inputs that hold the names of the files that fill its tables."""
    return {node.input[1] if len(node.input) > 1 else "" for node in function.node_def if node.op == TABLE_FROM_FILE}


def _get_assets(function: Any, objects: Any) -> set[str]:
    """Returns the arguments that are always one of the model's assets: they are bound, and no caller gives them."""
    if function.signature.name not in objects.concrete_functions:
        return set()
    bound = objects.concrete_functions[function.signature.name].bound_inputs
    names = [each.name for each in function.signature.input_arg]
    pairs = zip(names[len(names) - len(bound) :], bound, strict=False)
    return {
        name
        for name, node in pairs
        if 0 <= node < len(objects.nodes) and objects.nodes[node].WhichOneof("kind") == "asset"
    }


def _list_inputs(said: dict[str, Any]) -> list[Tensor]:
    """Returns the inputs in the order of their names, because the signature has no other order."""
    return [to_tensor(name, each.dtype.name, _to_lengths(each)) for name, each in sorted(said.items())]


def _list_outputs(said: dict[str, Any]) -> list[Tensor]:
    """Returns the outputs as `_list_inputs` does; an output may have unknown lengths."""
    return [
        Tensor(
            name=name,
            dtype=each.dtype.name,
            shape=tuple(-1 if length is None else length for length in (_to_lengths(each) or (None,))[1:]),
        )
        for name, each in sorted(said.items())
    ]


def _to_lengths(spec: Any) -> list[int | None] | None:
    found: list[int | None] | None = None if spec.shape.rank is None else spec.shape.as_list()
    return found
