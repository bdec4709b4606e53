"""A GPU as the towers, fc layers and graphs need it: its kernels, and its memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from goturn.ops.cuda_memory import Memory


@dataclass(frozen=True)
class Gpu:
    """Kernels and memory of one device."""

    kernels: Any
    """The module ``goturn._cuda``."""
    memory: Memory
