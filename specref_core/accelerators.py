"""Is there a CUDA device? Answered without importing torch where there is no driver, so that commands start at once."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

_DRIVERS = {"win32": ("nvcuda.dll",)}
_AMD_DRIVER = Path("/dev/kfd")  # torch built for ROCm calls AMD's devices cuda too


def cuda_devices() -> tuple[str, ...]:
    """Return the names of the CUDA devices that torch can use; empty where there is none."""
    if not has_driver():
        return ()
    import torch

    if not torch.cuda.is_available():
        return ()
    return tuple(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))


def has_driver() -> bool:
    """Tell whether a driver is installed; without one there is no device, with one there may still be none."""
    if _AMD_DRIVER.exists():
        return True
    for name in _DRIVERS.get(sys.platform, ("libcuda.so.1",)):
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return True
    return False
