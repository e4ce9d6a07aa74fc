"""Tensors of a GPU over gloo, which sends host memory: copies to and from pinned host memory."""

from __future__ import annotations

import torch
from torch import Tensor


def host_staged(device: torch.device, backends: str) -> bool:
    """Whether tensors of a device travel through host memory.

    Args:
        device: Of the tensors.
        backends: What `torch.distributed.get_backend_config` gives, say ``"cpu:gloo,cuda:nccl"``.
    """
    serving = dict(pair.split(":") for pair in backends.split(","))
    return device.type != "cpu" and serving.get(device.type, "gloo") == "gloo"


def uses_nccl(backends: str) -> bool:
    """Whether some tensors travel by NCCL; a group made without a named backend would, were there a GPU."""
    return "nccl" in backends and torch.cuda.is_available()


def host_buffer(tensor: Tensor) -> Tensor:
    """Make room for a tensor's elements in host memory, pinned where there is a GPU."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=torch.cuda.is_available())


def to_host(tensor: Tensor) -> Tensor:
    """Copy to host memory. It waits for the GPU's work on the tensor, for gloo's thread reads the copy at once."""
    return host_buffer(tensor).copy_(tensor)
