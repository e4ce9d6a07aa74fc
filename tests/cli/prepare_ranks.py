"""A rank of ``gnnkit pipeline`` whose rank 0 needs longer for the dataset than a process may be silent."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from gnnkit import cli
from gnnkit.bench import _pipeline_part

load = _pipeline_part._load


def slowly(*arguments: Any) -> Any:
    if os.environ["RANK"] == "0":
        time.sleep(15)
    return load(*arguments)


_pipeline_part._load = slowly
cli.main(["pipeline", *sys.argv[1:]])
