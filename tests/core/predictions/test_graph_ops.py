"""Which operations a graph may have: a table of graphs, and what is said of each."""

import pytest

from switchyard.core.predictions.graph_ops import ALLOWED, SAVING, TABLE_FROM_FILE, Function, find_refused

NOT_ON_THE_LIST = "its graph has operations that are not on the list of those that are served: "
NO_ASSET = "it fills a table from a file that is not known to be one of its assets (in "

OUTSIDE = """
    ReadFile WriteFile PyFunc PyFuncStateless EagerPyFunc Print PrintV2 MatchingFiles ImmutableConst
    LoadAndRemapMatrix GenerateVocabRemapping FixedUnigramCandidateSampler DecodeProtoV2 EncodeProto RpcCall
    RpcServer RemoteCall Send Recv Abort SleepOp Save Restore SaveSlices DumpTensor ImportEvent
    FileSystemSetConfiguration TextLineDataset WriteSummary TFRecordReaderV2 InitializeTableFromTextFile
    ReaderReadV2 TemporaryVariable GetSessionTensor XlaLaunch
"""


def make(*ops: str, calls: tuple[str, ...] = (), reads_other_files: bool = False) -> Function:
    return Function(ops=frozenset(ops), calls=frozenset(calls), reads_other_files=reads_other_files)


@pytest.mark.parametrize(
    ("functions", "said"),
    [
        ({"serve": make("MatMul", "ReadVariableOp")}, []),
        ({"serve": make("MatMul"), "save": make("SaveV2", "MergeV2Checkpoints")}, []),
        (
            {"serve": make("Mul", "WriteFile", "ReadFile")},
            [f"{NOT_ON_THE_LIST}ReadFile (in serve), WriteFile (in serve)"],
        ),
        ({"serve": make("If", calls=("then",)), "then": make("PyFunc")}, [f"{NOT_ON_THE_LIST}PyFunc (in then)"]),
        ({"serve": make("Mul"), "unused": make("Print")}, [f"{NOT_ON_THE_LIST}Print (in unused)"]),
        ({"serve": make("OpOfTheirOwn")}, [f"{NOT_ON_THE_LIST}OpOfTheirOwn (in serve)"]),
        (
            {"serve": make("While", calls=("a",)), "a": make("Mul", calls=("b", "a")), "b": make("SaveV2")},
            ["what it answers with reads or writes checkpoints: SaveV2 (in b)"],
        ),
        ({"serve": make("Mul"), "fill": make(TABLE_FROM_FILE)}, [f"{NO_ASSET}fill)"]),
        ({"serve": make(TABLE_FROM_FILE)}, []),
        ({"serve": make(TABLE_FROM_FILE, reads_other_files=True)}, [f"{NO_ASSET}serve)"]),
        (
            {"serve": make("PartitionedCall", calls=("serve2",)), "serve2": make(TABLE_FROM_FILE)},
            [f"{NO_ASSET}serve2)"],
        ),
    ],
)
def test_each_operation_of_each_function_is_held_against_the_list(
    functions: dict[str, Function], said: list[str]
) -> None:
    """Also of those that nothing calls; checkpoints only where nothing that answers reaches them."""
    assert find_refused(frozenset({"Const", "SaveV2"}), functions, ["serve", "serve2"]) == said


def test_operations_outside_of_functions_are_held_against_it_too() -> None:
    """Though none of them is run."""
    assert find_refused(frozenset({"WriteFile"}), {}, []) == [f"{NOT_ON_THE_LIST}WriteFile"]


def test_many_are_said_in_short() -> None:
    """The rest is counted."""
    (said,) = find_refused(frozenset(f"Op{number:03}" for number in range(40)), {}, [])
    assert said.endswith("Op008, Op009 and 30 more")


@pytest.mark.parametrize(
    "op",
    OUTSIDE.split(),
)
def test_what_reaches_out_of_memory_is_on_no_list(op: str) -> None:
    """Files, the network, processes, Python, the screen."""
    assert all(op not in ops.split() for ops in ALLOWED.values())


def test_each_operation_has_one_reason() -> None:
    """None is listed twice."""
    listed = [op for ops in ALLOWED.values() for op in ops.split()]
    assert len(listed) == len(set(listed))
    assert not SAVING & set(listed)
    assert TABLE_FROM_FILE not in listed
