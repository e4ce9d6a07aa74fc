"""Tensors of more than 2^31 numbers that take memory only where they are touched."""

from __future__ import annotations

import math
import os
import weakref

import torch
from machine import Machine
from torch import Tensor


def sparse(machine: Machine, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Make a tensor of zeros that the machine shares instead of copying it."""
    file = os.memfd_create("sparse")
    os.ftruncate(file, math.prod(shape) * dtype.itemsize)
    tensor = torch.from_file(f"/proc/self/fd/{file}", shared=True, size=math.prod(shape), dtype=dtype).view(shape)
    machine.files[tensor.data_ptr()] = f"/proc/{os.getpid()}/fd/{file}"
    weakref.finalize(tensor, os.close, file)
    return tensor
