"""Every example in a docstring does what it says, and every public kernel has one."""

from __future__ import annotations

import doctest
import importlib
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"gnnkit": "gnnkit", "gnnkit.datasets": "datasets", "gnnkit.kernels": "kernels"}
# packages in whose __all__ every name must show an example
SHOWN = ("gnnkit", "gnnkit.kernels")


def module_names() -> list[str]:
    """Name every module but those that run when they are imported."""
    names = []
    for package, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            names.append(".".join([package, *(part for part in parts if part != "__init__")]))
    return [name for name in names if not name.endswith("__main__")]


def load(name: str) -> ModuleType:
    """Import a module, or skip the test where an optional package is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if "pip install 'gnnkit[" not in str(error):
            raise
        pytest.skip(str(error))


def examples_of(value: object, name: str) -> list[doctest.DocTest]:
    """Find the docstrings with examples of an object and of its members."""
    return [test for test in doctest.DocTestFinder().find(value, name) if test.examples]


@pytest.fixture(autouse=True)
def _aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run examples as a reader would: the default backend, in a folder of their own."""
    monkeypatch.delenv("GNNKIT_BACKEND", raising=False)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)


@pytest.mark.parametrize("name", module_names())
def test_examples_of_a_module_do_what_they_say(name: str) -> None:
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    left_out = []
    for test in examples_of(load(name), name):
        if find_spec("dgl") is None and "import_dgl" in (test.docstring or ""):
            left_out.append(test.name)
        else:
            runner.run(test, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)
    if left_out:
        pytest.skip(f"the others passed; {', '.join(left_out)} need DGL (extra dgl)")


@pytest.mark.parametrize("package", SHOWN)
def test_every_public_name_shows_an_example(package: str) -> None:
    module = importlib.import_module(package)
    public = {name: getattr(module, name) for name in module.__all__}
    without = [
        name
        for name, value in public.items()
        if callable(value) and not any(test.name == name for test in examples_of(value, name))
    ]
    assert without == []


def test_a_wrong_example_is_seen() -> None:
    """The runner above is no rubber stamp."""
    module = ModuleType("wrong", ">>> 1 + 1\n3")
    (test,) = examples_of(module, "wrong")
    runner = doctest.DocTestRunner()
    runner.run(test, out=lambda _: None)
    assert runner.summarize(verbose=False).failed == 1
