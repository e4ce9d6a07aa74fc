"""The one way to import an optional package."""

from __future__ import annotations

import importlib
from types import ModuleType


def require(module: str, extra: str) -> ModuleType:
    """Import ``module``, or say which extra of gnnkit installs it.

    Args:
        module: The module to import, e.g. ``"dgl"``.
        extra: The extra of gnnkit that installs it, e.g. ``"dgl"``.

    Raises:
        ImportError: The module is absent or fails to import; the message holds the install command.
    """
    try:
        return importlib.import_module(module)
    except Exception as error:  # a broken wheel raises OSError, FileNotFoundError, AttributeError …
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ImportError(
            f"expected the optional package {module!r}: pip install 'gnnkit[{extra}]' (got {reason})"
        ) from error
