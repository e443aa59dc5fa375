"""Prints lowered TIR as C99 that is clean under -Wall -Wextra -Wconversion."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import ir, tirx
from tvm.ir import prim
from tvm.sym import Analyzer
from tvm_ffi.structural import structural_walk

_INDENT = "    "
_LINE = 100

_C_TYPES = {
    "bool": "_Bool",
    "int8": "int8_t",
    "uint8": "uint8_t",
    "int16": "int16_t",
    "uint16": "uint16_t",
    "int32": "int32_t",
    "uint32": "uint32_t",
    "int64": "int64_t",
    "uint64": "uint64_t",
}

_C_KEYWORDS = frozenset(
    "auto break case char const continue default do double else enum extern float for goto if "
    "inline int long register restrict return short signed sizeof static struct switch typedef "
    "union unsigned void volatile while".split()
)

# C's operator precedence, the tightest first.
_PRIMARY, _UNARY, _PRODUCT, _SUM, _SHIFT, _RELATION, _EQUALITY = 100, 90, 80, 70, 60, 50, 45
_BIT_AND, _BIT_XOR, _BIT_OR, _AND, _OR, _CONDITIONAL = 40, 38, 36, 30, 20, 10

_BINARY: dict[type[Any], tuple[str, int]] = {
    prim.Add: ("+", _SUM),
    prim.Sub: ("-", _SUM),
    prim.Mul: ("*", _PRODUCT),
    prim.LShift: ("<<", _SHIFT),
    prim.RShift: (">>", _SHIFT),
    prim.BitwiseAnd: ("&", _BIT_AND),
    prim.BitwiseXor: ("^", _BIT_XOR),
    prim.BitwiseOr: ("|", _BIT_OR),
    prim.EQ: ("==", _EQUALITY),
    prim.NE: ("!=", _EQUALITY),
    prim.LT: ("<", _RELATION),
    prim.LE: ("<=", _RELATION),
    prim.GT: (">", _RELATION),
    prim.GE: (">=", _RELATION),
    prim.And: ("&&", _AND),
    prim.Or: ("||", _OR),
}


# Operators next to which -Wparentheses wants any other binary operator in parentheses.
_LOW = frozenset({prim.LShift, prim.RShift, prim.BitwiseAnd, prim.BitwiseXor, prim.BitwiseOr})


class PrintError(RuntimeError):
    """TIR that has no C equivalent here: a bug in a schedule rule."""


@dataclass(frozen=True)
class Parameter:
    """A kernel parameter: a flat buffer.

    Attributes:
        name: in C.
        ctype: element type in C.
        size: elements.
    """

    name: str
    ctype: str
    size: int


@dataclass(frozen=True)
class CFunction:
    """A kernel in C.

    Attributes:
        parameters: in the order of the TIR function's.
        workspace: bytes of scratch memory, passed as one more pointer if not 0.
        body: statements, indented by one level.
    """

    parameters: tuple[Parameter, ...]
    workspace: int
    body: str


def c_type(dtype: str) -> str:
    """The C99 type of a TIR scalar type.

    Raises:
        PrintError: the type is not an integer type that the device code may use.
    """
    if dtype not in _C_TYPES:
        raise PrintError(f"{dtype} must not reach generated code: it is integer-only")
    return _C_TYPES[dtype]


def print_function(func: tirx.PrimFunc) -> CFunction:
    """Prints a lowered PrimFunc whose parameters are flat buffers.

    Buffers allocated with scope `local` become C locals; the others share the workspace.

    Raises:
        PrintError: a node or type has no C equivalent.
    """
    printer = _Printer(_used_variables(func.body))
    parameters = tuple(
        Parameter(printer.name_of(buffer), c_type(str(buffer.dtype)), _extent(buffer))
        for buffer in func.params
    )
    body = printer.print_statement(func.body, 1)
    for parameter in reversed(parameters):
        # A window may lie in the padding wherever it stands: then nothing reads the input.
        if not re.search(rf"\b{parameter.name}\b", body):
            body = f"{_INDENT}(void){parameter.name};\n{body}"
    return CFunction(parameters, printer.workspace, body)


def _extent(buffer: Any) -> int:
    (size,) = buffer.shape
    return int(size)


def _dtype(expr: Any) -> str:
    return str(expr.ty.dtype)


def _used_variables(body: Any) -> frozenset[Any]:
    """Variables read anywhere in expressions; a Bind of any other is not worth printing."""
    binds: dict[Any, Any] = {}
    reads: list[Any] = []
    structural_walk(
        body,
        [
            (tirx.Bind, lambda bind: binds.__setitem__(bind.var, bind.value)),
            (ir.Var, reads.append),
        ],
    )
    # The walk visits the variable of a Bind too: one visit is the definition itself.
    counts = Counter(reads)
    return frozenset(var for var in counts if var not in binds or counts[var] > 1)


class _Printer:
    """State of one function: names in use, scalars among the local buffers, workspace so far."""

    def __init__(self, used: frozenset[Any]) -> None:
        self.workspace = 0
        self._used = used
        self._analyzer = Analyzer()
        self._names: dict[Any, str] = {}
        self._taken = {*_C_KEYWORDS, *_C_TYPES.values(), "workspace"}
        self._scalars: set[Any] = set()
        self._statements: dict[type[Any], Callable[[Any, int], str]] = {
            tirx.SeqStmt: self._sequence,
            tirx.AllocBuffer: self._alloc_buffer,
            tirx.Bind: self._bind,
            tirx.For: self._for,
            tirx.While: self._while,
            tirx.IfThenElse: self._if,
            tirx.BufferStore: self._store,
            tirx.Evaluate: self._evaluate,
        }
        self._calls: dict[str, Callable[[Any], tuple[str, int]]] = {
            "tirx.call_extern": self._call_extern,
            "tirx.call_pure_extern": self._call_extern,
            "tirx.address_of": self._address_of,
            "prim.if_then_else": self._conditional,
            "prim.likely": lambda call: self._expr(call.args[0]),
        }

    def name_of(self, var: Any) -> str:
        """The C name of a variable or buffer, unique in the function."""
        if var not in self._names:
            stem = re.sub(r"\W", "_", str(var.name), flags=re.ASCII)
            stem = stem if stem and not stem[0].isdigit() else f"v{stem}"
            name, count = stem, 0
            while name in self._taken:
                count += 1
                name = f"{stem}_{count}"
            self._taken.add(name)
            self._names[var] = name
        return self._names[var]

    def print_statement(self, stmt: Any, depth: int) -> str:
        handler = self._statements.get(type(stmt))
        if handler is None:
            raise PrintError(f"no C for the TIR statement {type(stmt).__name__}:\n{stmt}")
        return handler(stmt, depth)

    def _sequence(self, stmt: Any, depth: int) -> str:
        return "".join(self.print_statement(child, depth) for child in stmt.seq)

    def _alloc_buffer(self, stmt: Any, depth: int) -> str:
        buffer = stmt.buffer
        name, ctype, size = self.name_of(buffer), c_type(str(buffer.dtype)), _extent(buffer)
        if str(buffer.scope()) == "local":
            if size == 1:
                self._scalars.add(buffer)
                return f"{_INDENT * depth}{ctype} {name};\n"
            return f"{_INDENT * depth}{ctype} {name}[{size}];\n"
        # Every workspace buffer starts at a multiple of 8, the strictest alignment in use.
        offset = self.workspace
        self.workspace += -(-size * _itemsize(buffer) // 8) * 8
        address = f"workspace + {offset}" if offset else "workspace"
        value = address if ctype == "int8_t" else f"({ctype} *)(void *)({address})"
        return f"{_INDENT * depth}{ctype} *const {name} = {value};\n"

    def _bind(self, stmt: Any, depth: int) -> str:
        if stmt.var not in self._used:
            return ""
        ctype = c_type(_dtype(stmt.value))
        value = self.simplified(stmt.value)
        return f"{_INDENT * depth}const {ctype} {self.name_of(stmt.var)} = {value};\n"

    def _for(self, stmt: Any, depth: int) -> str:
        extent = self._analyzer.simplify(stmt.extent)
        self._analyzer.bind(stmt.loop_var, ir.Range.from_min_extent(stmt.min, extent))
        if isinstance(extent, prim.IntImm) and int(extent) == 1:
            return self.print_statement(stmt.body, depth)
        begin = self.simplified(stmt.min)
        end = self.simplified(stmt.min + extent, _RELATION + 1)
        var = self.name_of(stmt.loop_var)
        head = f"for (int32_t {var} = {begin}; {var} < {end}; ++{var}) {{\n"
        body = self.print_statement(stmt.body, depth + 1)
        return f"{_INDENT * depth}{head}{body}{_INDENT * depth}}}\n"

    def _while(self, stmt: Any, depth: int) -> str:
        body = self.print_statement(stmt.body, depth + 1)
        head = f"{_INDENT * depth}while ({self.simplified(stmt.condition)}) {{\n"
        return f"{head}{body}{_INDENT * depth}}}\n"

    def _if(self, stmt: Any, depth: int) -> str:
        pad = _INDENT * depth
        text = f"{pad}if ({self.simplified(stmt.condition)}) {{\n"
        text += self.print_statement(stmt.then_case, depth + 1)
        if stmt.else_case is not None:
            text += f"{pad}}} else {{\n{self.print_statement(stmt.else_case, depth + 1)}"
        return f"{text}{pad}}}\n"

    def _store(self, stmt: Any, depth: int) -> str:
        place = self._element(stmt.buffer, stmt.indices)
        value = stmt.value
        # x[i] = x[i] + v reads better as x[i] += v.
        if isinstance(value, prim.Add) and _dtype(value) == "int32":
            left = value.a
            if isinstance(left, ir.TensorLoad) and self.expr(left) == place:
                return f"{_INDENT * depth}{place} += {self.simplified(value.b)};\n"
        text = f"{_INDENT * depth}{place} = {self.simplified(value)};\n"
        if len(text) <= _LINE:
            return text
        return text.replace(" = ", f" =\n{_INDENT * (depth + 1)}", 1)

    def _evaluate(self, stmt: Any, depth: int) -> str:
        if isinstance(stmt.value, prim.IntImm):
            return ""
        return f"{_INDENT * depth}{self.simplified(stmt.value)};\n"

    def _element(self, buffer: Any, indices: Any) -> str:
        name = self.name_of(buffer)
        if buffer in self._scalars:
            return name
        (index,) = indices
        return f"{name}[{self.simplified(index)}]"

    def simplified(self, expr: Any, precedence: int = 0) -> str:
        """As `expr`, after simplification with what is known of the loop variables."""
        return self.expr(self._analyzer.simplify(expr), precedence)

    def expr(self, expr: Any, precedence: int = 0) -> str:
        """The expression, in parentheses if it binds more loosely than `precedence`."""
        text, own = self._expr(expr)
        return text if own >= precedence else f"({text})"

    def _expr(self, expr: Any) -> tuple[str, int]:
        operator = _BINARY.get(type(expr))
        if operator is not None:
            symbol, precedence = operator
            inner = precedence
            if type(expr) in _LOW or isinstance(expr, prim.Or):
                inner = _UNARY
            left = self.expr(expr.a, inner)
            right = self.expr(expr.b, max(inner, precedence + 1))
            return f"{left} {symbol} {right}", precedence
        if isinstance(expr, (prim.FloorDiv, prim.FloorMod)):
            return self._floor_division(expr)
        if isinstance(expr, prim.IntImm):
            return _integer(int(expr), _dtype(expr))
        if isinstance(expr, ir.TensorLoad):
            return self._element(expr.source, expr.indices), _PRIMARY
        if isinstance(expr, ir.Var):
            return self.name_of(expr), _PRIMARY
        if isinstance(expr, prim.Cast):
            return self._cast(expr)
        if isinstance(expr, (prim.Min, prim.Max)):
            name = "tinyaot_min" if isinstance(expr, prim.Min) else "tinyaot_max"
            return f"{name}({self.expr(expr.a)}, {self.expr(expr.b)})", _PRIMARY
        if isinstance(expr, prim.Not):
            return f"!{self.expr(expr.a, _UNARY)}", _UNARY
        if isinstance(expr, prim.BitwiseNot):
            return f"~{self.expr(expr.a, _UNARY)}", _UNARY
        if isinstance(expr, prim.Select):
            return self._ternary(expr.condition, expr.true_value, expr.false_value)
        if isinstance(expr, ir.Call):
            handler = self._calls.get(str(expr.op.name))
            if handler is not None:
                return handler(expr)
        raise PrintError(f"no C for the TIR expression {type(expr).__name__}: {expr}")

    def _floor_division(self, expr: Any) -> tuple[str, int]:
        """Division rounding down, as C's own where no operand can be negative."""
        is_division = isinstance(expr, prim.FloorDiv)
        if isinstance(expr.b, prim.IntImm) and int(expr.b) < 0:
            # The simplifier makes these: a // -n is -a // n, and a % -n is -(-a % n).
            positive = type(expr)(-expr.a, -expr.b)
            return self._expr(positive if is_division else -positive)
        if not self._analyzer.can_prove(expr.b > 0):
            raise PrintError(f"no C for a division by what may be negative: {expr}")
        if self._analyzer.can_prove(expr.a >= 0):
            symbol = "/" if is_division else "%"
            return f"{self.expr(expr.a, _PRODUCT)} {symbol} {self.expr(expr.b, _UNARY)}", _PRODUCT
        name = "tinyaot_floor_divide" if is_division else "tinyaot_floor_modulo"
        return f"{name}({self.expr(expr.a)}, {self.expr(expr.b)})", _PRIMARY

    def _cast(self, expr: Any) -> tuple[str, int]:
        target, source = _dtype(expr), _dtype(expr.value)
        if target == "int32" and source in ("int8", "uint8", "int16", "uint16", "bool"):
            return self._expr(expr.value)
        return f"({c_type(target)}){self.expr(expr.value, _UNARY)}", _UNARY

    def _call_extern(self, call: Any) -> tuple[str, int]:
        name = call.args[0].value
        arguments = ", ".join(self.expr(argument) for argument in call.args[1:])
        return f"{name}({arguments})", _PRIMARY

    def _address_of(self, call: Any) -> tuple[str, int]:
        load = call.args[0]
        (index,) = load.indices
        name = self.name_of(load.source)
        if load.source in self._scalars:
            return f"&{name}", _UNARY
        index = self._analyzer.simplify(index)
        if isinstance(index, prim.IntImm) and int(index) == 0:
            return name, _PRIMARY
        return f"{name} + {self.simplified(index, _SUM)}", _SUM

    def _conditional(self, call: Any) -> tuple[str, int]:
        return self._ternary(*call.args)

    def _ternary(self, condition: Any, yes: Any, no: Any) -> tuple[str, int]:
        level = _CONDITIONAL + 1
        text = f"{self.expr(condition, level)} ? {self.expr(yes, level)} : {self.expr(no, level)}"
        return text, _CONDITIONAL


def _itemsize(buffer: Any) -> int:
    return max(int(re.sub(r"\D", "", str(buffer.dtype)) or 8) // 8, 1)


def _integer(value: int, dtype: str) -> tuple[str, int]:
    if dtype == "bool":
        return str(int(bool(value))), _PRIMARY
    if value == -(2**31):
        return "(-2147483647 - 1)", _PRIMARY
    if dtype in ("uint32", "uint64"):
        return f"{value}u", _PRIMARY
    return str(value), _PRIMARY if value >= 0 else _UNARY
