"""Messages between GPUs over gloo, which sends host memory: copies to and from pinned host memory."""

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


def to_host(tensor: Tensor) -> Tensor:
    """Copy to pinned host memory; on return the copy is complete, for another thread will read it."""
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=torch.cuda.is_available())
    host.copy_(tensor, non_blocking=True)
    if tensor.is_cuda:
        torch.cuda.current_stream(tensor.device).synchronize()
    return host


def host_buffer(out: Tensor) -> Tensor:
    """Make room in pinned host memory for what is received into ``out``."""
    return torch.empty(out.shape, dtype=out.dtype, pin_memory=torch.cuda.is_available())
