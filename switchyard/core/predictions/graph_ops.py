"""Which operations a TensorFlow graph may have to be served.

A SavedModel is a program, and its graph says what it does. What is not listed is refused, whatever it does.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

SHOWN: Final = 10
"""Operations, and functions, in one message."""
TABLE_FROM_FILE: Final = "InitializeTableFromTextFileV2"
"""Reads a file: only if its name is one of the model's assets, which are hashed with it."""
SAVING: Final = frozenset({"MergeV2Checkpoints", "RestoreV2", "SaveV2", "ShardedFilename"})
"""Reads and writes checkpoints. A SavedModel has them to be saved again: where nothing that answers reaches them."""

ALLOWED: Final[Mapping[str, str]] = {
    "numbers from numbers": """
        Abs Acos Acosh Add AddN AddV2 Asin Asinh Atan Atan2 Atanh BesselI0e BesselI1e BitwiseAnd BitwiseOr
        BitwiseXor Ceil ClipByValue Cos Cosh Cumprod Cumsum CumulativeLogsumexp Digamma Div DivNoNan Erf Erfc Erfinv
        Exp Expm1 Floor FloorDiv FloorMod Igamma Igammac Inv Invert IsFinite IsInf IsNan LeftShift Lgamma Log Log1p
        Maximum Minimum Mod Mul MulNoNan Ndtri Neg NextAfter Polygamma PopulationCount Pow RealDiv Reciprocal
        RightShift Rint Round Rsqrt Sigmoid Sign Sin Sinh Sqrt Square SquaredDifference Sub Tan Tanh TruncateDiv
        TruncateMod Xdivy Xlog1py Xlogy Zeta
    """,
    "comparisons": """
        ApproximateEqual Equal Greater GreaterEqual Less LessEqual LogicalAnd LogicalNot LogicalOr NotEqual Select
        SelectV2
    """,
    "sums and products over axes, and linear algebra": """
        All Any ArgMax ArgMin BatchMatMul BatchMatMulV2 BatchMatMulV3 Bincount Cholesky Cross DenseBincount Einsum
        EuclideanNorm L2Loss MatMul MatrixBandPart MatrixDeterminant MatrixDiag MatrixDiagPart MatrixDiagPartV2
        MatrixDiagPartV3 MatrixDiagV2 MatrixDiagV3 MatrixInverse MatrixSetDiag MatrixSetDiagV2 MatrixSetDiagV3
        MatrixSolve MatrixTriangularSolve Max Mean Min Prod Qr SegmentMax SegmentMean SegmentMin SegmentProd
        SegmentSum SelfAdjointEigV2 SparseBincount SparseMatMul SparseTensorDenseMatMul Sum Svd UnsortedSegmentMax
        UnsortedSegmentMin UnsortedSegmentProd UnsortedSegmentSum
    """,
    "shapes, slices and types of tensors": """
        BatchToSpaceND Bitcast BroadcastArgs BroadcastTo Bucketize Cast Concat ConcatOffset ConcatV2 Const
        DepthToSpace Diag DiagPart DynamicPartition DynamicStitch EnsureShape ExpandDims Fill Gather GatherNd
        GatherV2 Identity IdentityN InTopK InTopKV2 InvertPermutation LinSpace ListDiff LowerBound MirrorPad NoOp
        OneHot OnesLike Pack Pad PadV2 ParallelDynamicStitch Placeholder PlaceholderWithDefault PreventGradient
        Range Rank Reshape Reverse ReverseSequence ReverseV2 Roll ScatterNd Shape ShapeN Size Slice Snapshot
        SpaceToBatchND SpaceToDepth Split SplitV Squeeze StopGradient StridedSlice TensorScatterAdd TensorScatterMax
        TensorScatterMin TensorScatterSub TensorScatterUpdate TensorStridedSliceUpdate Tile TopK TopKV2 Transpose
        Unique UniqueV2 UniqueWithCounts UniqueWithCountsV2 Unpack UnravelIndex UpperBound Where ZerosLike
    """,
    "layers of networks": """
        AvgPool AvgPool3D BiasAdd BiasAddV1 BlockLSTM BlockLSTMV2 Conv2D Conv2DBackpropInput Conv3D
        Conv3DBackpropInputV2 CudnnRNN CudnnRNNV2 CudnnRNNV3 DepthwiseConv2dNative Dilation2D Elu
        FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel FusedBatchNorm
        FusedBatchNormV2 FusedBatchNormV3 GRUBlockCell LRN LSTMBlockCell LeakyRelu LogSoftmax MaxPool MaxPool3D
        MaxPoolV2 Relu Relu6 Selu Softmax Softplus Softsign
    """,
    "images that are tensors already": """
        AdjustContrastv2 AdjustHue AdjustSaturation CombinedNonMaxSuppression CropAndResize ExtractImagePatches
        HSVToRGB ImageProjectiveTransformV2 ImageProjectiveTransformV3 NonMaxSuppressionV2 NonMaxSuppressionV3
        NonMaxSuppressionV4 NonMaxSuppressionV5 RGBToHSV ResizeArea ResizeBicubic ResizeBilinear
        ResizeNearestNeighbor ScaleAndTranslate
    """,
    "frequencies": """
        Complex ComplexAbs Conj FFT FFT2D FFT3D IFFT IFFT2D IFFT3D IRFFT IRFFT2D Imag RFFT RFFT2D Real
    """,
    "texts that are tensors already": """
        AsString DecodeBase64 DecodeRaw EncodeBase64 ReduceJoin RegexFullMatch RegexReplace StaticRegexFullMatch
        StaticRegexReplace StringFormat StringJoin StringLength StringLower StringNGrams StringSplit StringSplitV2
        StringStrip StringToHashBucket StringToHashBucketFast StringToHashBucketStrong StringToNumber StringUpper
        Substr UnicodeDecode UnicodeDecodeWithOffsets UnicodeEncode UnicodeScript UnicodeTranscode
    """,
    "ragged and sparse tensors, and examples in bytes": """
        ParseExample ParseExampleV2 ParseSequenceExample ParseSequenceExampleV2 ParseSingleExample RaggedBincount
        RaggedCross RaggedGather RaggedRange RaggedTensorFromVariant RaggedTensorToSparse RaggedTensorToTensor
        RaggedTensorToVariant SparseConcat SparseCross SparseCrossHashed SparseCrossV2 SparseFillEmptyRows
        SparseReduceSum SparseReorder SparseReshape SparseSegmentMean SparseSegmentMeanWithNumSegments
        SparseSegmentSqrtN SparseSegmentSqrtNWithNumSegments SparseSegmentSum SparseSegmentSumWithNumSegments
        SparseSlice SparseSoftmax SparseToDense
    """,
    "random numbers": """
        Multinomial RandomShuffle RandomStandardNormal RandomUniform RandomUniformInt RngReadAndSkip RngSkip
        StatefulStandardNormalV2 StatefulUniform StatefulUniformInt StatelessMultinomial StatelessRandomGetAlg
        StatelessRandomGetKeyCounter StatelessRandomGetKeyCounterAlg StatelessRandomNormal StatelessRandomNormalV2
        StatelessRandomUniform StatelessRandomUniformFullInt StatelessRandomUniformFullIntV2
        StatelessRandomUniformInt StatelessRandomUniformIntV2 StatelessRandomUniformV2 StatelessShuffle
        StatelessTruncatedNormal StatelessTruncatedNormalV2 TruncatedNormal
    """,
    "branches, loops and calls, of functions that are listed too": """
        Assert Case DeviceIndex Enter Exit FakeParam If LoopCond Merge NextIteration PartitionedCall
        StatefulPartitionedCall StatelessCase StatelessIf StatelessWhile Switch While
    """,
    "lists of tensors, which loops fill": """
        EmptyTensorList TensorListConcat TensorListConcatV2 TensorListElementShape TensorListFromTensor
        TensorListGather TensorListGetItem TensorListLength TensorListPopBack TensorListPushBack TensorListReserve
        TensorListResize TensorListScatterIntoExistingList TensorListScatterV2 TensorListSetItem TensorListSplit
        TensorListStack
    """,
    "variables and tables in memory": """
        AnonymousHashTable AnonymousMutableDenseHashTable AnonymousMutableHashTable AssignAddVariableOp
        AssignSubVariableOp AssignVariableOp DestroyResourceOp DisableCopyOnRead HashTableV2 InitializeTableV2
        LookupTableExportV2 LookupTableFindV2 LookupTableImportV2 LookupTableInsertV2 LookupTableRemoveV2
        LookupTableSizeV2 MutableDenseHashTableV2 MutableHashTableV2 ReadVariableOp ResourceGather ResourceGatherNd
        ResourceScatterUpdate VarHandleOp VarIsInitializedOp VariableShape
    """,
}
"""The operations that are served, by reason. None of them reaches a file, the network, another process, Python, or the
screen. Source: the definitions in tensorflow/core/ops, 2.21."""
_ALLOWED: Final = frozenset(" ".join(ALLOWED.values()).split())


class Function(msgspec.Struct, frozen=True, kw_only=True):
    """One function of a graph."""

    ops: frozenset[str]
    calls: frozenset[str] = frozenset()  # the functions that its operations name
    reads_other_files: bool = False  # it fills a table from a file, and not from one of the assets that it is given


def find_refused(main: frozenset[str], functions: Mapping[str, Function], run: Iterable[str]) -> list[str]:
    """Returns why a graph is not served; empty: it may be.

    `main` are the operations outside of functions, which are never run; `run` names the functions that are, with all
    that they call.

    >>> find_refused(frozenset({"Const"}), {"f": Function(ops=frozenset({"WriteFile", "MatMul"}))}, ["f"])
    ['its graph has operations that are not on the list of those that are served: WriteFile (in f)']
    """
    problems = []
    refused = {"": main - _ALLOWED - SAVING}
    for name, function in functions.items():
        refused[name] = function.ops - _ALLOWED - SAVING - {TABLE_FROM_FILE}
    if said := _show(refused):
        problems.append(f"its graph has operations that are not on the list of those that are served: {said}")
    run = list(run)
    saving = {name: functions[name].ops & SAVING for name in _reach(functions, run)}
    if said := _show(saving):
        problems.append(f"what it answers with reads or writes checkpoints: {said}")
    called = {name for function in functions.values() for name in function.calls}
    reading = [
        name
        for name, function in functions.items()
        if TABLE_FROM_FILE in function.ops and (function.reads_other_files or name in called or name not in run)
    ]
    if reading:
        shown = ", ".join(sorted(reading)[:SHOWN])
        problems.append(f"it fills a table from a file that is not known to be one of its assets (in {shown})")
    return problems


def _reach(functions: Mapping[str, Function], run: Iterable[str]) -> set[str]:
    """Returns the functions of `run`, and those that they call, directly or not."""
    found: set[str] = set()
    left = [name for name in run if name in functions]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left.extend(called for called in functions[name].calls if called in functions)
    return found


def _show(refused: Mapping[str, frozenset[str]]) -> str:
    """Returns each operation once, with the function that has it."""
    where: dict[str, str] = {}
    for name in sorted(refused):
        for op in refused[name]:
            where.setdefault(op, f"{op[:60]} (in {name[:80]})" if name else f"{op[:60]}")
    more = f" and {len(where) - SHOWN:,} more" if len(where) > SHOWN else ""
    return ", ".join(where[op] for op in sorted(where)[:SHOWN]) + more
