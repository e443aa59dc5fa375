"""What the registers say when a kernel starts: the operation as a record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tinyaot.targets.ethos_u.model import arithmetic
from tinyaot.targets.ethos_u.model.feature_map import BRICK, FeatureMap
from tinyaot.targets.ethos_u.model.hardware import MAX_BLOCKDEP, Hardware
from tinyaot.targets.ethos_u.model.memory import Fail
from tinyaot.targets.ethos_u.model.stream import Command

POOLS = ("max", "average", "reduce_sum")
ELEMENTWISE = ("mul", "add", "sub", "min", "max", "lrelu", "abs", "clz", "shr", "shl")
UNARY = ("lrelu", "abs", "clz")
NEAREST, ZEROS = 1, 2
"""How an input is upscaled by two: each element twice, or with zeros between."""

_DTYPES = {
    (8, True): "<i1",
    (8, False): "<u1",
    (16, True): "<i2",
    (16, False): "<u2",
    (32, True): "<i4",
    (32, False): "<u4",
}
_CLIP_RANGES = {0: None, 2: (0, 255), 3: (-128, 127), 5: (-32768, 32767)}
_ACCUMULATOR_BITS = {0: 32, 1: 40}


@dataclass(frozen=True)
class Kernel:
    """The window of a convolution or pooling; pairs are vertical and horizontal.

    Attributes:
        size: elements, without those that dilation leaves out.
        stride: in elements of the (upscaled) input.
        dilation: 1 or 2.
        padding: top, left, bottom, right.
        part_kernel: whether weights are ordered by kernel element before input channel.
    """

    size: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    part_kernel: bool = False

    @property
    def area(self) -> tuple[int, int]:
        """Height and width with what dilation leaves out."""
        return (
            (self.size[0] - 1) * self.dilation[0] + 1,
            (self.size[1] - 1) * self.dilation[1] + 1,
        )


@dataclass(frozen=True)
class Source:
    """A range of weights or scales for each core: address and length."""

    region: int
    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Operation:
    """A kernel: what it reads, computes and writes, and how it uses the accelerator.

    Attributes:
        kind: `conv`, `depthwise`, `pool` or `elementwise`.
        mode: one of `POOLS` or `ELEMENTWISE`; empty for convolutions.
        ifm: the input.
        ifm2: the second input of a binary element-wise operation; None if it is a scalar.
        scalar: that scalar, minus its zero point; None if there is none.
        reversed: whether the second input is the first operand.
        ofm: the output.
        kernel: its window.
        upscale: 0, `NEAREST` or `ZEROS`.
        weights: of convolutions.
        scales: bias, multiplier and shift per channel, of convolutions and some pooling.
        global_scale: multiplier and shift of the whole output; None to use those per channel.
        scaled_operand: which operand `operand_scale` widens: 0 for both, 1 or 2.
        operand_scales: multiplier of the first operand, its shift, and multiplier of the second.
        rounding: see `arithmetic`.
        activation: 0 for none, 3 tanh, 4 sigmoid, from 16 on a look-up table's slot.
        clamp: smallest and largest value before a table, or of the output.
        signed_table: whether a table's first entry belongs to -128 and not to 0.
        block: height, width and depth of an output block.
        accumulator_bits: 32 or 40.
        input_end, input2_start, accumulator_start: banks of shared RAM.
        blockdep: how many block jobs of the kernel before may still run.
        cores: how many share the output channels.
    """

    kind: str
    mode: str
    ifm: FeatureMap
    ifm2: FeatureMap | None
    scalar: int | None
    reversed: bool
    ofm: FeatureMap
    kernel: Kernel
    upscale: int
    weights: Source | None
    scales: Source | None
    global_scale: tuple[int, int] | None
    scaled_operand: int
    operand_scales: tuple[int, int, int]
    rounding: int
    activation: int
    clamp: tuple[int, int]
    signed_table: bool
    block: tuple[int, int, int]
    accumulator_bits: int
    input_end: int
    input2_start: int
    accumulator_start: int
    blockdep: int
    cores: int

    @property
    def name(self) -> str:
        """Such as `conv` or `elementwise add`."""
        return f"{self.kind} {self.mode}".rstrip()

    @property
    def uses_table(self) -> bool:
        """Whether the output goes through a look-up table in shared RAM."""
        return self.activation >= arithmetic.LUT_FIRST

    @property
    def table_bits(self) -> int:
        """Bits of a result of its table."""
        return 8 * self.ofm.itemsize

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        height, width, depth = self.ofm.shape
        taps = height * width * depth * self.kernel.size[0] * self.kernel.size[1]
        return {"conv": taps * self.ifm.shape[2], "depthwise": taps}.get(self.kind, 0)


class Registers:
    """The registers, as the commands so far have set them."""

    def __init__(self, hardware: Hardware) -> None:
        self._hardware = hardware
        self._values: dict[str, tuple[int, int]] = {}

    def set(self, command: Command) -> None:
        """Takes a `SET_` command."""
        name = command.name.removeprefix("SET_")
        self._values[name] = (command.parameter, command.payload or 0)

    def _get(self, name: str, fail: Fail) -> tuple[int, int]:
        try:
            return self._values[name]
        except KeyError:
            raise fail(f"the register {name} was never set", "register") from None

    def short(self, name: str, fail: Fail) -> int:
        """A 16-bit register, unsigned."""
        return self._get(name, fail)[0]

    def word(self, name: str, fail: Fail) -> int:
        """The 32-bit payload of a register."""
        return self._get(name, fail)[1]

    def address(self, name: str, fail: Fail) -> int:
        """A register of 40 bits."""
        high, low = self._get(name, fail)
        if high >> 8:
            raise fail(f"{name} has more than 40 bits", "register")
        return high << 32 | low

    def stride(self, name: str, fail: Fail) -> int:
        """A register of 40 bits, signed."""
        value = self.address(name, fail)
        return value - (1 << 40) if value >> 39 else value

    def _choice(self, values: Mapping[int, object], value: int, name: str, fail: Fail) -> None:
        if value not in values:
            raise fail(f"{name} has the reserved value {value}", "register")

    def _dtype(self, bits: int, signed: bool, name: str, fail: Fail) -> np.dtype[np.signedinteger]:
        self._choice({0: 1, 1: 1, 2: 1}, bits, f"the precision of {name}", fail)
        return np.dtype(_DTYPES[8 << bits, signed])

    def feature_map(self, name: str, shape: tuple[int, int, int], fail: Fail) -> FeatureMap:
        """IFM, IFM2 or OFM, checked for alignment."""
        precision = self.short(f"{name}_PRECISION", fail)
        dtype = self._dtype(
            precision >> (1 if name == "OFM" else 2) & 3, bool(precision & 1), name, fail
        )
        layout = precision >> 6 & 3
        self._choice({0: 1, 1: 1}, layout, f"the layout of {name}", fail)
        zero_point = self.short(f"{name}_ZERO_POINT", fail)
        if precision & 1 and zero_point & 0x8000:
            zero_point -= 0x10000
        fm = FeatureMap(
            name=name,
            region=self._region(f"{name}_REGION", fail),
            bases=(
                self.address(f"{name}_BASE0", fail),
                self.address(f"{name}_BASE1", fail),
                self.address(f"{name}_BASE2", fail),
                self.address(f"{name}_BASE3", fail),
            ),
            heights=(
                self.short(f"{name}_HEIGHT0_M1", fail) + 1,
                self.short(f"{name}_HEIGHT1_M1", fail) + 1,
            ),
            width=self.short(f"{name}_WIDTH0_M1", fail) + 1,
            shape=shape,
            strides=(
                self.stride(f"{name}_STRIDE_Y", fail),
                self.stride(f"{name}_STRIDE_X", fail),
                self.stride(f"{name}_STRIDE_C", fail),
            ),
            bricks=layout == 1,
            dtype=dtype,
            zero_point=zero_point,
        )
        _check_alignment(fm, fail)
        return fm

    def _region(self, name: str, fail: Fail) -> int:
        region = self.short(name, fail)
        if region > 7:
            raise fail(f"{name} is {region}, but there are eight base pointers", "register")
        return region

    def _source(self, name: str, cores: int, fail: Fail) -> Source:
        ranges = []
        for core in range(cores):
            prefix = f"{name}{core or ''}"
            address = self.address(f"{prefix}_BASE", fail)
            length = self.word(f"{prefix}_LENGTH", fail)
            if length % 16 or (name == "WEIGHT" and address % 16):
                raise fail(
                    f"{prefix} at {address:#x} with {length} bytes is not aligned to 16",
                    "alignment",
                )
            ranges.append((address, length))
        return Source(self._region(f"{name}_REGION", fail), tuple(ranges))

    def _kernel(self, fail: Fail) -> Kernel:
        height = self.short("KERNEL_HEIGHT_M1", fail) + 1
        width = self.short("KERNEL_WIDTH_M1", fail) + 1
        stride = self.short("KERNEL_STRIDE", fail)
        if stride & ~0xFDF:
            raise fail(f"KERNEL_STRIDE has reserved bits set: {stride:#x}", "register")
        dilation = (1 + (stride >> 4 & 1), 1 + (stride >> 3 & 1))
        if (height - 1) % dilation[0] or (width - 1) % dilation[1]:
            raise fail(f"a dilated kernel cannot have {height} by {width} elements", "register")
        padding = [
            self.short(f"IFM_PAD_{side}", fail) for side in ("TOP", "LEFT", "BOTTOM", "RIGHT")
        ]
        return Kernel(
            size=((height - 1) // dilation[0] + 1, (width - 1) // dilation[1] + 1),
            stride=(
                1 + (stride >> 1 & 1) + 2 * (stride >> 9 & 7),
                1 + (stride & 1) + 2 * (stride >> 6 & 7),
            ),
            dilation=dilation,
            padding=(padding[0], padding[1], padding[2], padding[3]),
            part_kernel=bool(stride & 4),
        )

    def operation(self, command: Command, fail: Fail) -> Operation:
        """The kernel that a command starts.

        Raises:
            StreamError: a register was never set, has a reserved value, or does not fit the others.
        """
        kind = command.name.removeprefix("OP_").lower()
        mode = ""
        if kind in ("pool", "elementwise"):
            modes = POOLS if kind == "pool" else ELEMENTWISE
            if command.parameter >= len(modes):
                raise fail("there is no such mode", "register")
            mode = modes[command.parameter]
        cores = 1
        if self._hardware.cores > 1:
            cores = (self.short("PARALLEL_MODE", fail) & 1) + 1
        out_shape = (
            self.short("OFM_HEIGHT_M1", fail) + 1,
            self.short("OFM_WIDTH_M1", fail) + 1,
            self.short("OFM_DEPTH_M1", fail) + 1,
        )
        ofm = self.feature_map("OFM", out_shape, fail)
        precision = self.short("OFM_PRECISION", fail)
        rounding = precision >> 14
        self._choice({0: 1, 1: 1, 2: 1}, rounding, "the rounding of OFM_PRECISION", fail)
        per_channel = not precision & 0x100

        upscale = self.short("IFM_UPSCALE", fail)
        self._choice({0: 1, NEAREST: 1, ZEROS: 1}, upscale, "IFM_UPSCALE", fail)
        elementwise = kind == "elementwise"
        kernel = Kernel() if elementwise else self._kernel(fail)
        depth = self.short("IFM_DEPTH_M1", fail) + 1
        ifm = self.feature_map("IFM", (*_input_size(out_shape, kernel, upscale, fail), depth), fail)
        if kind != "conv" and mode != "reduce_sum" and depth != out_shape[2]:
            raise fail(f"IFM has {depth} channels and OFM {out_shape[2]}", "shape")
        if mode == "reduce_sum" and out_shape[2] != 1:
            raise fail(f"a sum over channels has one channel, OFM has {out_shape[2]}", "shape")
        ifm2, scalar, backwards = None, None, False
        if elementwise and mode not in UNARY:
            ifm2, scalar, backwards = self._second(ifm, fail)

        scale_mode = self.short("IFM_PRECISION", fail) >> 8 & 3
        self._choice({0: 1, 1: 1, 2: 1}, scale_mode, "the scaling of IFM_PRECISION", fail)
        operand_scales = (1, 0, 1)
        if mode in ("add", "sub") and elementwise:
            shift = self.short("OPA_SCALE", fail)
            multiplier = self.word("OPA_SCALE", fail)
            operand_scales = (multiplier, shift, self.word("OPB_SCALE", fail))
        weighted = kind in ("conv", "depthwise")
        activation, clamp, signed_table = self._activation(ofm, fail)
        return Operation(
            kind=kind,
            mode=mode,
            ifm=ifm,
            ifm2=ifm2,
            scalar=scalar,
            reversed=backwards,
            ofm=ofm,
            kernel=kernel,
            upscale=upscale,
            weights=self._source("WEIGHT", cores, fail) if weighted else None,
            scales=self._source("SCALE", cores, fail) if weighted else None,
            global_scale=None if per_channel else self._global_scale(fail),
            scaled_operand=scale_mode,
            operand_scales=operand_scales,
            rounding=rounding,
            activation=activation,
            clamp=clamp,
            signed_table=signed_table,
            block=(
                self.short("OFM_BLK_HEIGHT_M1", fail) + 1,
                self.short("OFM_BLK_WIDTH_M1", fail) + 1,
                self.short("OFM_BLK_DEPTH_M1", fail) + 1,
            ),
            accumulator_bits=self._accumulator_bits(fail),
            input_end=self.short("IFM_IB_END", fail),
            input2_start=self.short("IFM2_IB_START", fail) if ifm2 is not None else 0,
            accumulator_start=self.short("AB_START", fail),
            blockdep=self._blockdep(fail),
            cores=cores,
        )

    def _accumulator_bits(self, fail: Fail) -> int:
        value = self.short("ACC_FORMAT", fail)
        self._choice(_ACCUMULATOR_BITS, value, "ACC_FORMAT", fail)
        return _ACCUMULATOR_BITS[value]

    def _blockdep(self, fail: Fail) -> int:
        value = self.short("BLOCKDEP", fail)
        if value > MAX_BLOCKDEP:
            raise fail(f"BLOCKDEP is {value}, more than {MAX_BLOCKDEP}", "register")
        return value

    def _global_scale(self, fail: Fail) -> tuple[int, int]:
        shift = self.short("OFM_SCALE", fail)
        if shift > 63:
            raise fail(f"OFM_SCALE shifts by {shift}, more than 63", "register")
        return self.word("OFM_SCALE", fail), shift

    def _second(self, ifm: FeatureMap, fail: Fail) -> tuple[FeatureMap | None, int | None, bool]:
        flags = self.short("IFM2_BROADCAST", fail)
        if flags & ~0xC7:
            raise fail(f"IFM2_BROADCAST has reserved bits set: {flags:#x}", "register")
        shape = tuple(1 if flags >> axis & 1 else extent for axis, extent in enumerate(ifm.shape))
        first, second = (self.short(f"{one}_PRECISION", fail) & 0xD for one in ("IFM", "IFM2"))
        if first != second:
            raise fail(f"IFM and IFM2 differ in precision: {first:#x} and {second:#x}", "register")
        if not flags & 0x80:
            fm = self.feature_map("IFM2", (shape[0], shape[1], shape[2]), fail)
            return fm, None, bool(flags & 0x40)
        precision = self.short("IFM2_PRECISION", fail)
        scalar, zero_point = self.short("IFM2_SCALAR", fail), self.short("IFM2_ZERO_POINT", fail)
        if precision & 1:
            scalar, zero_point = ((one ^ 0x8000) - 0x8000 for one in (scalar, zero_point))
        return None, scalar - zero_point, bool(flags & 0x40)

    def _activation(self, ofm: FeatureMap, fail: Fail) -> tuple[int, tuple[int, int], bool]:
        """The function, the clamp, and whether the clamped values are signed."""
        word = self.short("ACTIVATION", fail)
        function, clip = word & 0xFFF, word >> 12
        known = {arithmetic.NONE, arithmetic.TANH, arithmetic.SIGMOID}
        known.update(range(arithmetic.LUT_FIRST, arithmetic.LUT_LAST + 1))
        self._choice(dict.fromkeys(known), function, "ACTIVATION", fail)
        self._choice(_CLIP_RANGES, clip, "the range of ACTIVATION", fail)
        low, high = (self.short(f"ACTIVATION_{end}", fail) for end in ("MIN", "MAX"))
        if ofm.dtype.kind == "i":
            low, high = ((one ^ 0x8000) - 0x8000 for one in (low, high))
        if low > high:
            raise fail(f"ACTIVATION_MIN {low} is above ACTIVATION_MAX {high}", "register")
        limits = _CLIP_RANGES[clip]
        if limits is None and ofm.itemsize == 4:
            # The two registers have 16 bits: they do not apply to results of 32.
            return function, (-(1 << 31), (1 << 31) - 1), True
        info = np.iinfo(ofm.dtype)
        signed = ofm.dtype.kind == "i" if limits is None else limits[0] < 0
        limits = limits or (int(info.min), int(info.max))
        return function, (max(low, limits[0]), min(high, limits[1])), signed


def _input_size(
    out_shape: tuple[int, int, int], kernel: Kernel, upscale: int, fail: Fail
) -> tuple[int, int]:
    """Height and width of the input, which no register holds: what the output needs of it."""
    size = []
    for axis in range(2):
        before, after = kernel.padding[axis], kernel.padding[axis + 2]
        if before >= kernel.area[axis] or after >= kernel.area[axis]:
            raise fail(
                f"padding {before} and {after} is not less than the kernel, {kernel.area[axis]}",
                "shape",
            )
        extent = (out_shape[axis] - 1) * kernel.stride[axis] + kernel.area[axis] - before - after
        if upscale:
            extent = -(-extent // 2)
        if extent < 1:
            raise fail("nothing is left of the input after padding", "shape")
        size.append(extent)
    return size[0], size[1]


def _check_alignment(fm: FeatureMap, fail: Fail) -> None:
    unit = BRICK if fm.bricks else fm.itemsize
    for tile in fm.used_tiles:
        if fm.bases[tile] % unit:
            raise fail(
                f"{fm.name}_BASE{tile} {fm.bases[tile]:#x} is not aligned to {unit}", "alignment"
            )
    names = ("Y", "C") if fm.bricks else ("Y", "X")
    strides = (fm.strides[0], fm.strides[2] if fm.bricks else fm.strides[1])
    for name, stride in zip(names, strides, strict=True):
        if stride % unit:
            raise fail(f"{fm.name}_STRIDE_{name} {stride} is not a multiple of {unit}", "alignment")
