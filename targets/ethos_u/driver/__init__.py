"""A stub of Arm's driver in C, and the functional model behind it."""

from tinyaot.targets.ethos_u.driver.server import (
    DRIVER_HEADER,
    driver_sources,
    serve_npu,
)

__all__ = ["DRIVER_HEADER", "driver_sources", "serve_npu"]
