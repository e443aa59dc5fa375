"""Which TFLite operators are read, and how: through TVM's converter, or as they are."""

from __future__ import annotations

from typing import Any

import tflite

from tinyaot.compiler.frontend.tflite_state import WITHOUT_CODE

OWN_INT16_CALLS: dict[str, Any] = {
    "AVERAGE_POOL_2D": tflite.Pool2DOptions,
    "CONV_2D": tflite.Conv2DOptions,
    "DEPTHWISE_CONV_2D": tflite.DepthwiseConv2DOptions,
    "FULLY_CONNECTED": tflite.FullyConnectedOptions,
    "MAX_POOL_2D": tflite.Pool2DOptions,
    "RELU": None,
    "RELU6": None,
    "SOFTMAX": tflite.SoftmaxOptions,
}
"""Operators that stay TFLite's own where they read or write int16, and the table of their
options."""

OWN_CALLS: dict[str, Any] = {
    **OWN_INT16_CALLS,
    "ABS": None,
    "ADD": tflite.AddOptions,
    "ADD_N": None,
    "ARG_MAX": None,
    "ARG_MIN": None,
    "BATCH_MATMUL": tflite.BatchMatMulOptions,
    "L2_NORMALIZATION": None,
    "LOG_SOFTMAX": None,
    "MEAN": None,
    "REDUCE_ALL": None,
    "REDUCE_ANY": None,
    "REDUCE_MAX": None,
    "REDUCE_MIN": None,
    "SUM": None,
    "CAST": None,
    "DIV": tflite.DivOptions,
    "EQUAL": None,
    "GREATER": None,
    "GREATER_EQUAL": None,
    "LESS": None,
    "LESS_EQUAL": None,
    "LOGICAL_AND": None,
    "LOGICAL_NOT": None,
    "LOGICAL_OR": None,
    "MAXIMUM": None,
    "MINIMUM": None,
    "MUL": tflite.MulOptions,
    "NEG": None,
    "NOT_EQUAL": None,
    "PRELU": None,
    "QUANTIZE": None,
    "SELECT": None,
    "SELECT_V2": None,
    "SQUARED_DIFFERENCE": None,
    "SUB": tflite.SubOptions,
    "ELU": None,
    "EXP": None,
    "HARD_SWISH": None,
    "LEAKY_RELU": tflite.LeakyReluOptions,
    "LOG": None,
    "RELU_0_TO_1": None,
    "RSQRT": None,
    "BATCH_TO_SPACE_ND": None,
    "BROADCAST_TO": None,
    "CONCATENATION": tflite.ConcatenationOptions,
    "DEPTH_TO_SPACE": tflite.DepthToSpaceOptions,
    "FILL": None,
    "GATHER": tflite.GatherOptions,
    "GATHER_ND": None,
    "LOGISTIC": None,
    "TANH": None,
    "MIRROR_PAD": tflite.MirrorPadOptions,
    "PACK": tflite.PackOptions,
    "PAD": None,
    "PADV2": None,
    "RANK": None,
    "READ_VARIABLE": None,
    "RESIZE_BILINEAR": tflite.ResizeBilinearOptions,
    "RESIZE_NEAREST_NEIGHBOR": tflite.ResizeNearestNeighborOptions,
    "REVERSE_V2": None,
    "SHAPE": None,
    "SLICE": None,
    "SPACE_TO_BATCH_ND": None,
    "SPACE_TO_DEPTH": tflite.SpaceToDepthOptions,
    "SPLIT": tflite.SplitOptions,
    "SPLIT_V": tflite.SplitVOptions,
    "STRIDED_SLICE": tflite.StridedSliceOptions,
    "SVDF": tflite.SVDFOptions,
    "TILE": None,
    "TRANSPOSE": None,
    "TRANSPOSE_CONV": tflite.TransposeConvOptions,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": tflite.UnidirectionalSequenceLSTMOptions,
    "UNPACK": tflite.UnpackOptions,
    "ZEROS_LIKE": None,
}
"""Operators that stay TFLite's own, and the table of their options."""

INT16_TOO = frozenset(OWN_INT16_CALLS)
"""Operators that reach legalization through TVM on int8 and as themselves on int16."""

SUPPORTED = frozenset(
    {
        *OWN_CALLS,
        *WITHOUT_CODE,
        "ASSIGN_VARIABLE",
        "AVERAGE_POOL_2D",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "DEQUANTIZE",
        "FULLY_CONNECTED",
        "MAX_POOL_2D",
        "RELU",
        "RELU6",
        "RELU_N1_TO_1",
        "RESHAPE",
        "SOFTMAX",
        "SQUEEZE",
        "EXPAND_DIMS",
    }
)
