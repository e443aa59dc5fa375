"""A functional model of the Ethos-U55 and U65: runs command streams bit-exact, without hardware."""

from tinyaot.targets.ethos_u.model.hardware import ACCELERATORS
from tinyaot.targets.ethos_u.model.machine import Trace, TracedOperation, Transfer, run_stream
from tinyaot.targets.ethos_u.model.stream import (
    StreamError,
    disassemble,
    parse_driver_payload,
    payload_config,
)

__all__ = [
    "ACCELERATORS",
    "StreamError",
    "Trace",
    "TracedOperation",
    "Transfer",
    "disassemble",
    "parse_driver_payload",
    "payload_config",
    "run_stream",
]
