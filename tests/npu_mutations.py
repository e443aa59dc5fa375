"""What the functional model and its checks notice of a damaged command stream.

    python tests/npu_mutations.py MODEL.tflite [--count 1000] [--accelerator ethos-u55-128]

Takes the stream that Vela makes, changes one thing at a time, and runs it on a few inputs. A
mutation is noticed if the checker stops it, Vela's weight decoder gives up, the model's output
differs, or the output of a kernel does (which the comparison of layers sees). Mutations that
change nothing any kernel uses are not counted: a tile that is not in use, a register that is set
again before it is used.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import hashlib
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vela_streams import compile_by_vela, draw_inputs, memory_of, read_output

from tinyaot.targets.ethos_u.model import (
    StreamError,
    TracedOperation,
    parse_driver_payload,
    run_stream,
)
from tinyaot.targets.ethos_u.model.hardware import get_hardware
from tinyaot.targets.ethos_u.model.operation import Operation, Registers
from tinyaot.targets.ethos_u.model.stream import Command, decode_stream
from tinyaot.targets.ethos_u.regor import CompiledNetwork

Stream = NDArray[np.uint32]

NOTICED = ("checker", "decoder", "output", "layer")
OUTCOMES = (*NOTICED, "nothing")

KINDS = {
    "base address": ("_BASE0", "_BASE1", "_BASE2", "_BASE3", "WEIGHT_BASE", "SCALE_BASE"),
    "region": ("M_REGION", "M2_REGION", "T_REGION", "E_REGION"),
    "stride": ("_STRIDE_Y", "_STRIDE_X", "_STRIDE_C"),
    "shape": ("FM_HEIGHT_M1", "FM_WIDTH_M1", "FM_DEPTH_M1"),
    "tile": ("HEIGHT0_M1", "HEIGHT1_M1", "WIDTH0_M1"),
    "kernel": ("KERNEL_HEIGHT_M1", "KERNEL_WIDTH_M1", "KERNEL_STRIDE", "IFM_UPSCALE"),
    "padding": ("_PAD_TOP", "_PAD_LEFT", "_PAD_BOTTOM", "_PAD_RIGHT"),
    "zero point": ("_ZERO_POINT",),
    "scale": ("OFM_SCALE", "OPA_SCALE", "OPB_SCALE", "IFM2_SCALAR"),
    "precision": ("_PRECISION",),
    "activation": ("SET_ACTIVATION", "ACTIVATION_MIN", "ACTIVATION_MAX"),
    "broadcast": ("IFM2_BROADCAST",),
    "length": ("WEIGHT_LENGTH", "SCALE_LENGTH"),
    "transfer": ("DMA0_SRC", "DMA0_DST", "DMA0_LEN", "DMA0_SRC_REGION", "DMA0_DST_REGION"),
    "operation": ("OP_CONV", "OP_DEPTHWISE", "OP_POOL", "OP_ELEMENTWISE"),
}
"""Kinds of functional mutations by endings of command names; weights and scales are two more."""

HAZARDS = {
    "wait left out": ("OP_DMA_WAIT", "OP_KERNEL_WAIT"),
    "block dependency": ("BLOCKDEP",),
    "shared RAM": ("IFM_IB_END", "IFM2_IB_START", "AB_START"),
    "block size": ("OFM_BLK_HEIGHT_M1", "OFM_BLK_WIDTH_M1", "OFM_BLK_DEPTH_M1"),
}
"""Kinds that change no result of the model itself: only the checker can notice them, and some,
such as another valid block, are right as they are."""


@dataclasses.dataclass(frozen=True)
class Mutation:
    """One change: the stream and constants that result.

    Attributes:
        kind: of `KINDS` or `HAZARDS`, or `weights` or `scales`.
        what: in words.
        stream: the changed words.
        read_only: the changed constants.
    """

    kind: str
    what: str
    stream: Stream
    read_only: bytes


def _bit(command: Command, rng: random.Random) -> tuple[int, int]:
    """A bit of a command that means something: which word, which bit."""
    name = command.name
    if name.startswith("OP_"):
        return 0, rng.choice([0, 16, 17])
    if command.payload is None:
        return 0, 16 + rng.randrange(8 if name.endswith("_M1") or "_PAD_" in name else 16)
    if name.endswith("_SCALE"):
        # The shift, or one of the multiplier's high bits: the low ones are below the rounding.
        return (0, 16 + rng.randrange(6)) if rng.random() < 0.5 else (1, 19 + rng.randrange(12))
    return 1, rng.randrange(20)


def mutate_commands(
    commands: Sequence[Command],
    stream: Stream,
    kinds: dict[str, tuple[str, ...]],
    count: int,
    rng: random.Random,
) -> Iterator[tuple[str, str, Stream]]:
    """`count` changes, as many of each kind: the kind, what was done, the stream."""
    by_kind = {
        kind: [command for command in commands if command.name.endswith(endings)]
        for kind, endings in kinds.items()
    }
    for index in range(count):
        kind = list(kinds)[index % len(kinds)]
        if not by_kind[kind]:
            continue
        command = rng.choice(by_kind[kind])
        changed = stream.copy()
        at = command.offset // 4
        if kind == "wait left out":
            # More may be under way than any accelerator has: as if there were no wait.
            changed[at] = (int(changed[at]) & 0xFFFF) | 15 << 16
            yield kind, f"no {command.text} (command {command.index})", changed
            continue
        word, bit = _bit(command, rng)
        changed[at + word] ^= np.uint32(1 << bit)
        yield kind, f"bit {bit} of command {command.index} ({command.text})", changed


class Subject:
    """A stream, its constants and inputs, and what it computes when it is whole."""

    def __init__(self, path: Path, accelerator: str, inputs: int) -> None:
        self.accelerator = accelerator
        self.network: CompiledNetwork = compile_by_vela(path.read_bytes(), accelerator)
        self.stream = parse_driver_payload(self.network.payload)
        self.commands = decode_stream(self.stream)
        # The first of them are waves and noise; the constant ones tell little.
        drawn = draw_inputs(path, self.network, inputs + 3)
        self.inputs = [one for index, one in enumerate(drawn) if index not in (2, 3, 4)]
        self.expected = [self.run(self.stream, self.network.read_only, one) for one in self.inputs]
        self.weights, self.scales = self._ranges()
        self._meaning = self.meaning(self.stream)

    def run(
        self, stream: Stream, read_only: bytes, one: Sequence[NDArray[Any]]
    ) -> tuple[list[bytes], list[bytes]]:
        """Outputs of the model, and a digest of every kernel's."""
        network = dataclasses.replace(self.network, read_only=read_only)
        regions, written = memory_of(network, one)
        layers: list[bytes] = []

        def observe(_: TracedOperation, values: NDArray[np.int64]) -> None:
            layers.append(hashlib.blake2b(values.tobytes(), digest_size=8).digest())

        run_stream(stream, regions, self.accelerator, written=written, observe=observe)
        return [read_output(regions, tensor) for tensor in network.outputs], layers

    def _ranges(self) -> tuple[list[int], list[int]]:
        """Offsets in region 0 of the bytes that are weights, and scales, or copied to be such."""
        weights: set[int] = set()
        scales: set[int] = set()
        regions, written = memory_of(self.network, self.inputs[0])
        trace = run_stream(self.stream, regions, self.accelerator, written=written)
        copies = [one for one in trace.transfers if one.source[0] == 0]

        def home(region: int, address: int, index: int) -> int | None:
            if region == 0:
                return address
            for copy in reversed([one for one in copies if one.index < index]):
                start = copy.destination[1]
                if copy.destination[0] == region and start <= address < start + copy.length:
                    return copy.source[1] + address - start
            return None

        for traced in trace.operations:
            op = traced.operation
            for source, into, used in ((op.weights, weights, None), (op.scales, scales, 10)):
                for address, length in () if source is None else source.ranges:
                    length = length if used is None else used * op.ofm.shape[2] // op.cores
                    at = home(source.region, address, traced.index) if source else None
                    if at is not None:
                        into.update(range(at, at + length))
        return sorted(weights), sorted(scales)

    def meaning(self, stream: Stream) -> list[Any] | None:
        """What every kernel and transfer does; None if that cannot be told."""
        hardware = get_hardware(self.accelerator)
        registers = Registers(hardware)
        found: list[Any] = []

        def fail(problem: str, kind: str = "") -> Exception:
            return ValueError(problem)

        try:
            for command in decode_stream(stream):
                if command.name.startswith("SET_"):
                    registers.set(command)
                elif command.name in KINDS["operation"]:
                    found.append(_meaning(registers.operation(command, fail)))
                elif command.name == "OP_DMA_START":
                    names = ("DMA0_SRC", "DMA0_DST", "DMA0_LEN")
                    regions = ("DMA0_SRC_REGION", "DMA0_DST_REGION")
                    found.append([registers.address(name, fail) for name in names])
                    found.append([registers.short(name, fail) for name in regions])
                else:
                    found.append((command.name, command.parameter))
        except (ValueError, StreamError):
            return None
        return found

    def mutations(self, count: int, seed: int, hazards: bool) -> Iterator[Mutation]:
        """Changes that some kernel or transfer sees."""
        rng = random.Random(seed)
        kinds = HAZARDS if hazards else KINDS
        constants = self.network.read_only
        produced = 0
        while produced < count:
            batch = mutate_commands(self.commands, self.stream, kinds, len(kinds), rng)
            for kind, what, stream in batch:
                if self.meaning(stream) != self._meaning:
                    produced += 1
                    yield Mutation(kind, what, stream, constants)
            for kind, offsets in (
                ()
                if hazards
                else (
                    ("weights", self.weights),
                    ("scales", self.scales),
                )
            ):
                at = rng.choice(offsets)
                changed = bytearray(constants)
                bit = rng.randrange(8)
                changed[at] ^= 1 << bit
                produced += 1
                yield Mutation(kind, f"bit {bit} of byte {at:#x}", self.stream, bytes(changed))

    def outcome(self, mutation: Mutation) -> str:
        """Who notices a mutation, one of `OUTCOMES`.

        Vela's decoder may kill its process, so each runs in one of its own. That is a copy of this
        one, in which no other library may have threads: they do not survive the copying.
        """
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            status = 99
            try:
                status = 100 + OUTCOMES.index(self._judge(mutation))
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code in (99, -signal.SIGALRM):
            raise RuntimeError(f"the model fails on {mutation.kind}: {mutation.what}")
        return OUTCOMES[code - 100] if code >= 100 else "decoder"

    def _judge(self, mutation: Mutation) -> str:
        layer = False
        for one, (outputs, layers) in zip(self.inputs, self.expected, strict=True):
            try:
                got, seen = self.run(mutation.stream, mutation.read_only, one)
            except StreamError:
                return "checker"
            if got != outputs:
                return "output"
            layer = layer or seen != layers
        return "layer" if layer else "nothing"


def _meaning(op: Operation) -> Any:
    """An operation without what it does not use."""
    fields = dict(vars(op))
    for name in ("ifm", "ifm2", "ofm"):
        fm = fields[name]
        if fm is not None:
            digest = hashlib.blake2b(fm.addresses().tobytes(), digest_size=8).digest()
            fields[name] = (fm.region, fm.shape, fm.dtype, fm.zero_point, digest)
    if op.ifm.itemsize == 4:
        # 32-bit products are only shifted, and 32-bit operands are not scaled.
        fields["operand_scales"] = None
        if op.mode == "mul" and op.global_scale is not None:
            fields["global_scale"] = op.global_scale[1]
    return fields


Table = dict[str, collections.Counter[str]]


def campaign(
    subject: Subject,
    count: int,
    seed: int,
    hazards: bool,
    report: Callable[[Mutation], None] = lambda mutation: None,
) -> Table:
    """Outcomes by kind; `report` gets what nobody noticed."""
    table: Table = collections.defaultdict(collections.Counter)
    for mutation in subject.mutations(count, seed, hazards):
        outcome = subject.outcome(mutation)
        table[mutation.kind][outcome] += 1
        if outcome == "nothing":
            report(mutation)
    return table


def noticed(table: Table) -> tuple[int, int]:
    """How many mutations were noticed, of how many."""
    total = sum(row.total() for row in table.values())
    return total - sum(row["nothing"] for row in table.values()), total


def sample(model: Path, accelerator: str, count: int, seed: int) -> tuple[Table, Table]:
    """A short campaign: `count` mutations of function, some of hazards and resources."""
    subject = Subject(model, accelerator, 2)
    functional = campaign(subject, count, seed, hazards=False)
    return functional, campaign(subject, len(HAZARDS) * 3, seed, hazards=True)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("model", type=Path)
    parser.add_argument("--accelerator", default="ethos-u55-128")
    parser.add_argument("--count", type=int, default=1000, help="functional mutations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--inputs", type=int, default=3)
    parser.add_argument("--verbose", action="store_true", help="list what nobody noticed")
    options = parser.parse_args()
    subject = Subject(options.model, options.accelerator, options.inputs)

    def report(mutation: Mutation) -> None:
        if options.verbose:
            print(f"unnoticed {mutation.kind}: {mutation.what}", file=sys.stderr)

    shares = []
    for title, hazards, count in (
        ("functional", False, options.count),
        ("hazards and resources", True, options.count // 5),
    ):
        table = campaign(subject, count, options.seed, hazards, report)
        print(f"{title:22}" + "".join(f"{one:>9}" for one in (*OUTCOMES, "noticed")))
        for kind, row in sorted(table.items()):
            share = 1 - row["nothing"] / row.total()
            cells = "".join(f"{row[outcome]:>9}" for outcome in OUTCOMES)
            print(f"  {kind:20}{cells}{share:>9.1%}")
        found, total = noticed(table)
        shares.append(found / total)
        print(f"  {'all':20}{'':45}{found / total:>9.1%} of {total}\n")
    return 0 if shares[0] >= 0.95 else 1


if __name__ == "__main__":
    sys.exit(main())
