"""Every surface, and the plan: each of its breakages, on each backend where there are two."""

from __future__ import annotations

import pytest
from _adjacency_surfaces import ADJACENCY
from _data_surfaces import DATA
from _kernel_surfaces import KERNELS
from _setting_breakages import CONFIG
from _surface import BACKENDS, Surface

SURFACES: dict[str, Surface] = KERNELS | ADJACENCY | DATA | CONFIG
PLAN = [
    pytest.param(surface, breakage, backend, id="-".join(filter(None, (surface, breakage, backend))))
    for surface, it in SURFACES.items()
    for breakage in it.breakages
    for backend in (BACKENDS if it.kind in ("kernels", "Adjacency") else ("",))
]
