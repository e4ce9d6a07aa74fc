"""content_hash: 128 bits that tell two tensors' contents apart."""

import secrets

import torch
from torch import Tensor

from gnnkit.kernels import _check
from gnnkit.kernels._backend import backend

_DTYPES = (torch.int32, torch.int64, torch.float32, torch.float64)
# drawn anew in every process: nobody can prepare two graphs that collide
_KEY = secrets.randbits(63)


def content_hash(x: Tensor) -> int:
    r"""Hash the elements of a tensor and their positions, at about the speed of reading them.

    .. math:: z_k = \mathrm{mix}(bits(x_k) + (k + 1) c + key), \quad
        (\sum_k z_k) + 2^{64} \sum_k \lfloor z_k / 2^{32} \rfloor (z_k \bmod 2^{32})

    with sums modulo :math:`2^{64}` and the finaliser of SplitMix64 as mix. Shape and dtype do not enter: they
    belong into the key beside the hash. It holds within one process and is no cryptographic hash.

    Args:
        x: Any shape, int32, int64, float32 or float64, read in row-major order.

    Returns:
        A number below :math:`2^{128}`.

    Raises:
        ValueError: Not such a tensor.

    Example:
        >>> import torch
        >>> from gnnkit.kernels import content_hash
        >>> x = torch.arange(10)
        >>> content_hash(x) == content_hash(x.clone()), content_hash(x) == content_hash(x.flip(0))
        (True, False)
    """
    if not _check.is_dense(x, tuple(range(x.dim() + 1)) if isinstance(x, Tensor) else (), _DTYPES):
        raise ValueError(f"x: expected an int32, int64, float32 or float64 tensor (got {_check.describe(x)})")
    words = x.detach().contiguous().view(-1)
    words = words.view(torch.int64 if words.element_size() == 8 else torch.int32)
    low, high = backend(x).content_hash(words, _KEY)
    return (int(high) % 2**64) << 64 | int(low) % 2**64
