"""The node tests that the `onnx` package ships, each compiled, run on the host and compared.

    .venv/bin/python tests/onnx_backend.py [PATTERN] [--write]

Integer models are compiled as they are; the float operators are put between QuantizeLinear and
DequantizeLinear, with scales from the test's own data. What is expected is the float operator's
result on the dequantized inputs, so that an output may be beyond the middle between two steps by no
more than rounding in float32. `--write` renews docs/onnx-backend.md.
"""

from __future__ import annotations

import itertools
import re
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.version_converter
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from tinyaot.compiler import compile_model
from tinyaot.compiler.oracle import random_inputs
from tinyaot.targets import TinyaotError

Array = NDArray[Any]

TABLE = Path(__file__).resolve().parents[1] / "docs" / "onnx-backend.md"
INFERENCES = 5
# Steps beyond the middle between two steps; more where exponentials are summed in fixed point.
TOLERANCE = 2e-3
LARGEST_MODEL_ELEMENTS = 1 << 18

# Weights, which are int8 constants in a quantized model: the inputs of these operators.
_WEIGHTS = {"Conv": (1,), "ConvTranspose": (1,), "Gemm": (1,), "MatMul": (1,)}
_BIASES = {"Conv": (2,), "ConvTranspose": (2,), "Gemm": (2,)}
_INTEGERS = ("int8", "uint8")


@dataclass(frozen=True)
class Outcome:
    """What became of one node test.

    Attributes:
        name: of the test.
        operators: of its model, in order.
        status: pass, refused, not quantizable, wrong or crash.
        reason: the compiler's line, or what is wrong.
    """

    name: str
    operators: tuple[str, ...]
    status: str
    reason: str = ""


def cases() -> list[Any]:
    """All node tests of the installed onnx package."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [case for case in load_model_tests(kind="node") if not _is_expanded(case)]


def _is_expanded(case: Any) -> bool:
    """Whether it tests the body of a function whose own test is there too."""
    return "_expanded" in case.name


def judge(case: Any, folder: Path) -> Outcome:
    """Compiles, runs and compares one node test in every form it can have; the best one counts."""
    model = case.model or onnx.load(Path(case.model_dir) / "model.onnx")
    model = _in_a_known_opset(model)
    operators = tuple(node.op_type for node in model.graph.node)
    outcome = Outcome(case.name, operators, "not quantizable", "its tensors are not numbers")
    try:
        data = _data(case)
    except Exception as error:
        return Outcome(case.name, operators, "not quantizable", f"its data: {error}")
    if data is None:
        return outcome
    outcome = replace(outcome, reason="no operand is a tensor of real numbers")
    ranks = ["pass", "refused", "not quantizable"]
    forms = _forms(model, data)
    while True:
        try:
            form = next(forms)
        except StopIteration:
            break
        except Exception as error:
            reason = f"no float reference: {' '.join(str(error).split())[:200]}"
            return replace(outcome, reason=reason)
        try:
            found = judge_form(case.name, operators, form, folder)
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            return Outcome(case.name, operators, "crash", reason)
        if found.status in ("wrong", "crash"):
            return found
        if ranks.index(found.status) <= ranks.index(outcome.status):
            outcome = found
        if outcome.status == "pass":
            break
    return outcome


def _in_a_known_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """Old models in opset 13, as the compiler's error tells its users to convert them."""
    versions = [known.version for known in model.opset_import if known.domain in ("", "ai.onnx")]
    if not versions or versions[0] >= 13:
        return model
    try:
        return onnx.version_converter.convert_version(model, 13)
    except Exception:
        return model


def _data(case: Any) -> tuple[list[Array | None], list[Array]] | None:
    """The first data set: inputs (None where left out) and outputs; None if not tensors."""
    if not case.data_sets:
        return None
    inputs, outputs = case.data_sets[0]
    arrays, results = ([_array(x) for x in side] for side in (inputs, outputs))
    if not all(isinstance(x, np.ndarray) and x.dtype.kind in "fiub" for x in [*arrays, *results]):
        return None
    return arrays, results


def _array(x: Any) -> Any:
    if isinstance(x, onnx.TensorProto):
        return numpy_helper.to_array(x)
    return np.asarray(x) if isinstance(x, np.generic) else x


@dataclass(frozen=True)
class Form:
    """A node test as a model for the compiler.

    Attributes:
        model: quantized.
        original: the float operator with the same constants; None for an integer model.
    """

    model: onnx.ModelProto
    original: onnx.ModelProto | None
    inputs: list[Array]


def _forms(model: onnx.ModelProto, data: tuple[list[Array], list[Array]]) -> Iterator[Form]:
    """The model with all its inputs as activations, then with fewer."""
    names = [value.name for value in model.graph.input]
    arrays = dict(zip(names, data[0], strict=True))
    quantized = [node.op_type for node in model.graph.node]
    integer = any(re.search("[Qq]uantize|QLinear|Integer", kind) for kind in quantized)
    floats = [name for name in names if arrays[name].dtype.kind == "f"]
    if quantized == ["LayerNormalization"]:
        # Its mean and deviation, for training, are outputs that may be left out.
        del model.graph.node[0].output[1:]
        del model.graph.output[1:]
    if integer:
        for name in names[:1]:
            yield Form(_bound(model, arrays, [name]), None, [arrays[name]])
        return
    tensors = [name for name in floats if arrays[name].size]
    choices = [tensors, *([name] for name in tensors)]
    for chosen in [one for one, _ in itertools.groupby(choices)]:
        if not chosen:
            continue
        yield wrapped(_bound(model, arrays, chosen), {name: arrays[name] for name in chosen})


def wrapped(model: onnx.ModelProto, activations: dict[str, Array]) -> Form:
    """A float model between quantize and dequantize, with scales that suit these inputs."""
    original = _rounded_weights(model)
    quantized = _wrapped(original, activations, list(activations))
    return Form(quantized, original, list(activations.values()))


def _bound(
    model: onnx.ModelProto, arrays: dict[str, Array], kept: Sequence[str]
) -> onnx.ModelProto:
    """The model with its other inputs as initializers."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    inputs = list(result.graph.input)
    del result.graph.input[:]
    for value in inputs:
        if value.name in kept:
            result.graph.input.append(value)
        else:
            tensor = numpy_helper.from_array(np.ascontiguousarray(arrays[value.name]), value.name)
            result.graph.initializer.append(tensor)
    return result


def _rounded_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights that int8 holds exactly, so that quantizing them is no error to be told apart."""
    weights = {
        node.input[place]
        for node in model.graph.node
        for place in _WEIGHTS.get(node.op_type, ())
        if place < len(node.input)
    }
    for tensor in model.graph.initializer:
        if tensor.name in weights:
            values = numpy_helper.to_array(tensor)
            scale = _weight_scale(values)
            rounded = (np.rint(values / scale) * scale).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
    return model


def _weight_scale(values: Array) -> np.float32:
    return np.float32(max(float(np.abs(values).max(initial=0)), 1e-3) / 127)


def _range(array: Array) -> tuple[np.float32, np.int8]:
    """Scale and zero point of int8 for the values of an array, with zero among them."""
    finite = array[np.isfinite(array)].astype(np.float64)
    low, high = min(finite.min(initial=0), 0), max(finite.max(initial=0), 0)
    scale = np.float32(max((high - low) / 255, 1e-6))
    return scale, np.int8(np.clip(np.rint(-128 - low / scale), -128, 127))


def _wrapped(
    original: onnx.ModelProto, arrays: dict[str, Array], chosen: Sequence[str]
) -> onnx.ModelProto:
    """The float model between quantize and dequantize; other outputs stay as they are."""
    result = onnx.ModelProto()
    result.CopyFrom(original)
    graph = result.graph
    nodes = list(graph.node)
    del graph.node[:]

    def constant(name: str, value: Any) -> str:
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def pair(name: str, tag: str, scale: Any, zero_point: Any) -> list[onnx.NodeProto]:
        parameters = [constant(f"{tag}_scale", scale), constant(f"{tag}_zero", zero_point)]
        return [
            helper.make_node("QuantizeLinear", [name, *parameters], [f"{tag}_q"]),
            helper.make_node("DequantizeLinear", [f"{tag}_q", *parameters], [f"{tag}_dq"]),
        ]

    renamed: dict[str, str] = {}
    for index, name in enumerate(chosen):
        graph.node.extend(pair(name, f"in{index}", *_range(arrays[name])))
        renamed[name] = f"in{index}_dq"
    weights = {
        node.input[place]
        for node in nodes
        for place in _WEIGHTS.get(node.op_type, ())
        if place < len(node.input)
    }
    for tensor in list(graph.initializer):
        if tensor.name in weights:
            values = numpy_helper.to_array(tensor)
            scale = _weight_scale(values)
            stored = constant(f"{tensor.name}_int8", np.rint(values / scale).astype(np.int8))
            parameters = [constant(f"{tensor.name}_scale", scale), f"{tensor.name}_zero"]
            constant(parameters[1], np.int8(0))
            graph.node.append(
                helper.make_node("DequantizeLinear", [stored, *parameters], [f"{tensor.name}_dq"])
            )
            renamed[tensor.name] = f"{tensor.name}_dq"
    for node in nodes:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    graph.node.extend(nodes)
    expected = _reference(original, [_dequantized(arrays[name])[1] for name in chosen])
    # Quantizers give a pool the scale of its input.
    same = nodes[0].op_type in ("AveragePool", "MaxPool")
    for index, (value, real) in enumerate(zip(graph.output, expected, strict=True)):
        if real.dtype.kind == "f":
            parameters = _range(arrays[chosen[0]] if same else real)
            graph.node.extend(pair(value.name, f"out{index}", *parameters))
            value.name = f"out{index}_dq"
    return result


def _dequantized(array: Array) -> tuple[Array, Array]:
    """The int8 values of an array, and what they stand for."""
    scale, zero_point = _range(array)
    steps = np.nan_to_num(np.rint(array.astype(np.float32) / scale)) + int(zero_point)
    quantized = np.clip(steps, -128, 127).astype(np.int8)
    return quantized, ((quantized.astype(np.float32) - np.float32(zero_point)) * scale)


def _reference(model: onnx.ModelProto, inputs: Sequence[Array]) -> list[Array]:
    """The model's outputs: by ONNX Runtime, or by ONNX's evaluator if that does not know it."""
    import onnxruntime

    feeds = {
        value.name: array.astype(
            helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type), copy=False
        )
        for value, array in zip(model.graph.input, inputs, strict=True)
    }
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options)
        return [np.asarray(array) for array in session.run(None, feeds)]
    except Exception:
        from onnx.reference import ReferenceEvaluator

        with np.errstate(all="ignore"):
            return [np.asarray(array) for array in ReferenceEvaluator(model).run(None, feeds)]


def judge_form(name: str, operators: tuple[str, ...], form: Form, folder: Path) -> Outcome:
    """Compiles, runs and compares one form of a test."""
    sizes = [array.size for array in form.inputs]
    if sum(sizes) > LARGEST_MODEL_ELEMENTS:
        return Outcome(name, operators, "not quantizable", "too large for this test")
    path = folder / "model.onnx"
    onnx.save(form.model, path)
    try:
        compiled = compile_model(path, "host")
    except TinyaotError as error:
        return Outcome(name, operators, "refused", str(error))
    sets = random_inputs(compiled.inputs, INFERENCES)
    own = []
    for array, tensor in zip(form.inputs, compiled.inputs, strict=True):
        own.append(
            _dequantized(array)[0] if array.dtype.kind == "f" else array.astype(tensor.dtype)
        )
    if all(one.dtype == tensor.dtype for one, tensor in zip(own, compiled.inputs, strict=True)):
        sets.append(own)
    outputs = compiled.measure(sets, on="host").outputs
    for given, got in zip(sets, outputs, strict=True):
        reals = []
        for array, tensor, value in zip(
            given, compiled.inputs, form.model.graph.input, strict=True
        ):
            is_float = value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
            centred = array.astype(np.float32) - np.float32(tensor.zero_point)
            reals.append(centred * np.float32(tensor.scale or 1) if is_float else array)
        expected = _reference(form.original or form.model, reals)
        for index, (result, tensor, real) in enumerate(
            zip(got, compiled.outputs, expected, strict=True)
        ):
            problem = _difference(result, tensor, real)
            if problem:
                return Outcome(name, operators, "wrong", f"output {index}: {problem}")
    return Outcome(name, operators, "pass")


def _difference(result: Array, tensor: Any, real: Array) -> str:
    """What is wrong with a result, in words; empty if nothing is."""
    if result.shape != real.shape:
        return f"shape {result.shape}, expected {real.shape}"
    if real.dtype.kind != "f":
        info = real.astype(np.int64)
        if str(tensor.dtype) == "int8" and real.dtype == np.uint8:
            info = info - 128
        far = np.abs(result.astype(np.int64) - info).max(initial=0)
        # Quantized outputs of ONNX Runtime's own kernels may round a tie the other way.
        return f"off by {far}" if far > (1 if real.dtype.name in _INTEGERS else 0) else ""
    with np.errstate(all="ignore"):
        steps = real.astype(np.float64) / np.float64(np.float32(tensor.scale)) + tensor.zero_point
    known = ~np.isnan(steps)
    limits = np.iinfo(tensor.dtype)
    steps = np.clip(steps, limits.min, limits.max)
    far = np.abs(result - steps)[known].max(initial=0)
    return f"{far:.4f} steps from the real result" if far > 0.5 + TOLERANCE else ""


def table(outcomes: Sequence[Outcome]) -> str:
    """The page of docs/ that says what became of each operator's tests."""
    counts = Counter(outcome.status for outcome in outcomes)
    lines = [
        "# ONNX backend node tests",
        "",
        "Written by `.venv/bin/python tests/onnx_backend.py --write`, which compiles each node",
        f"test of onnx {onnx.__version__} (function bodies aside), runs it on the host and",
        "compares it. Float operators are put between QuantizeLinear and DequantizeLinear. A test",
        "whose tensors cannot be quantized (strings, sequences, no data) is counted as such.",
        "",
        f"{len(outcomes)} tests: {counts['pass']} pass, {counts['refused']} are refused by a clear",
        f"error, {counts['not quantizable']} cannot be quantized, {counts['wrong']} are wrong,",
        f"{counts['crash']} crash.",
        "",
        "| operator | pass | refused | why refused (an example) |",
        "| --- | --: | --: | --- |",
    ]
    by_operator: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.status != "not quantizable":
            by_operator.setdefault("+".join(dict.fromkeys(outcome.operators)), []).append(outcome)
    for operator, group in sorted(by_operator.items()):
        passed = sum(outcome.status == "pass" for outcome in group)
        refused = [outcome for outcome in group if outcome.status == "refused"]
        reason = _shortened(refused[0].reason) if refused else ""
        lines.append(f"| {operator} | {passed} | {len(refused)} | {reason} |")
    return "\n".join(lines) + "\n"


def _shortened(reason: str) -> str:
    """Without the node's number and name, which are the test's."""
    text = re.sub(r' #\d+ "[^"]*"', "", reason.splitlines()[0])
    return text.replace("|", "\\|")[:160]


def main(arguments: Sequence[str]) -> int:
    """Judges the tests whose names match, prints a line each, and the counts."""
    patterns = [argument for argument in arguments if not argument.startswith("--")]
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="tinyaot-onnx-") as folder:
        for case in cases():
            if patterns and not re.search(patterns[0], case.name):
                continue
            outcomes.append(judge(case, Path(folder)))
            one = outcomes[-1]
            print(f"{one.status:15} {one.name:60} {one.reason.splitlines()[:1]}", flush=True)
    counts = Counter(outcome.status for outcome in outcomes)
    print(dict(counts))
    if "--write" in arguments:
        TABLE.write_text(table(outcomes), encoding="utf-8")
    return 1 if counts["wrong"] or counts["crash"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
