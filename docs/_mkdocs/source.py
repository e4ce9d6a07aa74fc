"""Help griffe, which reads the source for the API pages, over two things it does not know of gnnkit."""

import re
import tomllib
from pathlib import Path
from typing import Any

import griffe

ROOT = Path(__file__).resolve().parents[2]


class MappedPackages(griffe.Extension):
    """Add what ``[tool.setuptools.package-dir]`` maps: griffe looks for gnnkit.kernels in gnnkit/kernels."""

    def on_package(self, *, pkg: griffe.Module, loader: griffe.GriffeLoader, **kwargs: Any) -> None:
        """Load the top-level folders when the package itself is loaded."""
        if pkg.path != "gnnkit":
            return
        setup = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        for name, folder in setup["tool"]["setuptools"]["package-dir"].items():
            parent, _, child = name.partition(".")
            if parent == "gnnkit" and child and child not in pkg.members:
                module = loader.load(ROOT / folder)
                loader.modules_collection.del_member(folder)
                pkg.set_member(child, module)


class Examples(griffe.Extension):
    """Read the section ``Example:`` of a docstring, which griffe knows in the plural only."""

    def on_object(self, *, obj: griffe.Object, loader: griffe.GriffeLoader, **kwargs: Any) -> None:
        """Rewrite a docstring before it is parsed."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
