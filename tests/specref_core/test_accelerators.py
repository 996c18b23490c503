"""A look for CUDA devices that costs nothing where there is no driver."""

from __future__ import annotations

import subprocess
import sys

from specref_core import accelerators


def test_without_a_driver_there_is_no_device_and_no_torch():
    code = (
        "import sys; from specref_core import accelerators as a; a.has_driver = lambda: False; "
        "assert a.cuda_devices() == (); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_driver_alone_is_no_device(monkeypatch):
    import torch

    monkeypatch.setattr(accelerators, "has_driver", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert accelerators.cuda_devices() == ()


def test_devices_are_named_in_their_order(monkeypatch):
    import torch

    monkeypatch.setattr(accelerators, "has_driver", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"card {index}")
    assert accelerators.cuda_devices() == ("card 0", "card 1")


def test_the_driver_is_looked_for_by_name(monkeypatch, tmp_path):
    asked = []

    def load(name):
        asked.append(name)
        raise OSError(name)

    monkeypatch.setattr(accelerators, "_AMD_DRIVER", tmp_path / "absent")
    monkeypatch.setattr(accelerators.ctypes, "CDLL", load)
    assert not accelerators.has_driver()
    assert asked
    monkeypatch.setattr(accelerators.ctypes, "CDLL", lambda _name: object())
    assert accelerators.has_driver()
