"""Scripts of a paper's authors, imported from a clone of their repository that an environment variable names."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock, patch


def authors_scripts(
    variable: str, repository: str, scripts: Sequence[str], *, folder: str = "", empty: Sequence[str] = ()
) -> list[ModuleType]:
    """Import scripts.

    Args:
        variable: Environment variable with the clone's path.
        repository: Its owner and name, for the message.
        scripts: Modules, as they are imported from ``folder``.
        folder: Where they stand in the clone.
        empty: Modules they import and do not need here, which are replaced by empty ones meanwhile.

    Raises:
        SystemExit: There is no clone, or the environment lacks what the scripts need.
    """
    clone = os.environ.get(variable)
    wanted = [Path(folder, *script.split(".")).with_suffix(".py") for script in scripts]
    if not clone or not all(Path(clone, path).is_file() for path in wanted):
        raise SystemExit(f"{variable}: expected a clone of {repository} (got {clone!r})")
    if (place := str(Path(clone, folder))) not in sys.path:
        sys.path.insert(0, place)
    try:
        with patch.dict(sys.modules, {name: MagicMock() for name in empty}):
            return [importlib.import_module(script) for script in scripts]
    except ImportError as error:
        raise SystemExit(f"expected an environment made by `make peers` (got {error})") from error
