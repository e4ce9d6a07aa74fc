"""Claim: what `spmm.py` measures, with all tensors of all contenders on huge pages (``THP_MEM_ALLOC_ENABLE=1``).

gnnkit asks for huge pages by itself, torch only when told. Told, PyG's scatter is about twice as fast: much of its time
goes into the first touch of fresh messages. So the thresholds are lower here, and no user has to set anything.
"""

from __future__ import annotations

import os

os.environ["THP_MEM_ALLOC_ENABLE"] = "1"  # before torch is loaded

import sys

import spmm

MIN_VS_PYG = {"sum": 6.0, "mean": 6.0, "max": 12.0, "weighted sum": 6.0}

if __name__ == "__main__":
    sys.exit(spmm.main("spmm_huge_pages", MIN_VS_PYG))
