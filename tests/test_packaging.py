"""What is shipped: imports point one way, names are those promised, wheels work away from the checkout."""

from __future__ import annotations

import ast
import importlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"gnnkit": "gnnkit", "gnnkit.datasets": "datasets", "gnnkit.kernels": "kernels"}
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES: list[str] = PYPROJECT["tool"]["setuptools"]["packages"]

# ------------------------------------------------------------------ imports point one way

TOPOLOGY = {"_optional", "kernels", "adjacency"}
MODELS = {*TOPOLOGY, "nn", "models"}
RUNS = {*TOPOLOGY, "data", "links", "datasets", "train"}
SUBJECTS = {"causal", "wireless", "pruning", "pipeline"}
# area -> the areas that it may import: one line for each module or package directly under gnnkit
ALLOWED: dict[str, set[str]] = {
    "_optional": set(),
    "kernels": set(),
    "interop": {"_optional"},
    "_convert": {"_optional", "interop", "kernels"},
    "_edge_rows": {"kernels"},
    "_csr": {"_edge_rows", "kernels"},
    "_locality": {"_csr", "_edge_rows", "kernels"},
    "_reorder": set(),
    "adjacency": {"_convert", "_csr", "_edge_rows", "_locality", "_reorder", "kernels"},
    "_accelerate": {"_edge_rows", "adjacency", "kernels"},
    "gnnkit": {"_accelerate", "adjacency"},  # only when a name is first used, see below
    "nn": TOPOLOGY,
    "data": TOPOLOGY,
    "models": {*TOPOLOGY, "nn"},
    "links": {*TOPOLOGY, "data"},
    "datasets": {*TOPOLOGY, "data", "links"},
    "train": {*TOPOLOGY, "data", "links"},
    "pipeline": {*TOPOLOGY, "data"},
    "causal": {*MODELS, *RUNS, "_accelerate"},
    "wireless": {*MODELS, *RUNS},
    "pruning": {*MODELS, *RUNS},
    "testing": {*MODELS, *RUNS, "gnnkit"},
    "bench": {*MODELS, *RUNS, *SUBJECTS, "_accelerate", "gnnkit", "interop"},
    "_cli_causal": {"bench", "causal"},
    "_cli_pipeline": {"bench", "datasets", "pipeline"},
    "_cli_plan": {"pipeline"},
    "cli": {*MODELS, *RUNS, *SUBJECTS, "_accelerate", "_cli_causal", "_cli_pipeline", "_cli_plan", "bench", "gnnkit"},
    "pipeline.__main__": {"cli"},
}
# packages that few modules may import: numba's jit in one, what its loops miss in four
VECTORS = {f"gnnkit.kernels.{name}" for name in ("_half", "_math", "_moves", "_vector")}
HOMES: dict[str, set[str]] = {"numba": {"gnnkit.kernels._jit", *VECTORS}, "llvmlite": VECTORS}
# packages that need not be installed: one module only may import them, and only when they are used
OPTIONAL_HOMES: dict[str, set[str]] = {
    "cupy": {"gnnkit.kernels._launch"},
    "dgl": {"gnnkit.interop"},
    "networkx": {"gnnkit._convert"},
    "ogb": {"gnnkit.datasets._ogb"},
    "pymetis": {"gnnkit.pipeline._partition"},
}


@dataclass(frozen=True)
class Import:
    """One import: what, whether it runs when the module is imported, whether it runs at all."""

    target: str
    at_import: bool
    typing_only: bool


def modules() -> Iterator[tuple[str, Path]]:
    """Give every module of the three folders by its name in the package."""
    for package, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            yield ".".join([package, *(part for part in parts if part != "__init__")]), path


MODULES = dict(modules())


def imports_of(module: str, source: str, is_package: bool = False) -> Iterator[Import]:
    """Give every import of a module, those by ``import_module("…")`` and ``require("…")`` included."""

    def visit(node: ast.AST, inside: bool, typing_only: bool) -> Iterator[Import]:
        targets: list[str] = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = module.split(".")[: len(module.split(".")) - node.level + is_package]
                base = ".".join([*up, base] if base else up)
            # "from gnnkit import data" imports gnnkit.data; "from gnnkit.data import X" that or less
            targets = [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in ("import_module", "__import__", "require") and isinstance(node.args[0].value, str):
                targets = [node.args[0].value]
        yield from (Import(target, not inside, typing_only) for target in targets)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.body:
                yield from visit(child, inside, True)
            for child in node.orelse:
                yield from visit(child, inside, typing_only)
            return
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside, typing_only)

    yield from visit(ast.parse(source), False, False)


def area(module: str) -> str:
    """Name the line of `ALLOWED` that a module of gnnkit belongs to."""
    if module.removeprefix("gnnkit.") in ALLOWED and module != "gnnkit":
        return module.removeprefix("gnnkit.")
    first = module.split(".")[1] if "." in module else ""
    known = any(name == f"gnnkit.{first}" for name in MODULES) or first in ALLOWED
    return first if known else "gnnkit"  # a name such as __version__ or Adjacency lives in the root


def violations(module: str, source: str, is_package: bool = False) -> list[str]:
    """List the imports that a module may not make."""
    here, found = area(module), []
    for imported in imports_of(module, source, is_package):
        top = imported.target.split(".")[0]
        if top == "gnnkit":
            there = area(imported.target)
            if there != here and there not in ALLOWED[here]:
                found.append(f"{module} imports {imported.target}: {here} may not import {there}")
        elif not imported.typing_only:
            homes = HOMES.get(top) or OPTIONAL_HOMES.get(top, {module})
            if module not in homes:
                found.append(f"{module} imports {top}: only {', '.join(sorted(homes))} may")
            if top in OPTIONAL_HOMES and imported.at_import:
                found.append(f"{module} imports {top} at import: only where it is used")
    return found


def test_the_table_of_allowed_imports_has_no_cycle_and_a_line_for_every_module() -> None:
    list(TopologicalSorter({area: allowed - {area} for area, allowed in ALLOWED.items()}).static_order())
    lines = {name.split(".")[1] if "." in name else "gnnkit" for name in MODULES}
    assert lines <= set(ALLOWED), "a new package: give it a line in ALLOWED, as design.md says"


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module: str) -> None:
    path = MODULES[module]
    assert violations(module, path.read_text(), path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("gnnkit.kernels._spmm", "from gnnkit.adjacency import Adjacency"),
        ("gnnkit.kernels._spmm", "import gnnkit"),
        ("gnnkit.kernels._spmm", "from gnnkit import __version__"),
        ("gnnkit.kernels._spmm", "from gnnkit import Adjacency"),
        ("gnnkit.kernels._numba", "import numba"),
        ("gnnkit.kernels._numba", "from numba.core import types"),
        ("gnnkit.kernels._launch", "import cupy"),
        ("gnnkit.data._stores", "def read():\n    import cupy"),
        ("gnnkit.data._stores", "from gnnkit.nn import layer"),
        ("gnnkit.data._stores", "from ..nn import layer"),
        ("gnnkit.data._stores", "from .. import train"),
        ("gnnkit.data._stores", "def f():\n    import gnnkit.train._loop as loop"),
        ("gnnkit.data._stores", "import importlib\nimportlib.import_module('gnnkit.train')"),
        ("gnnkit.data._stores", "if TYPE_CHECKING:\n    from gnnkit.train import fit"),
        ("gnnkit.datasets._load", "from gnnkit import train"),
        ("gnnkit.train._loop", "from gnnkit.datasets import load"),
        ("gnnkit.train._loop", "from gnnkit import bench"),
        ("gnnkit.bench._run", "from gnnkit.cli import main"),
        ("gnnkit.adjacency", "def f():\n    require('dgl', 'dgl')"),
        ("gnnkit.interop", "require('dgl', 'dgl')"),
        ("gnnkit.pipeline._plan", "from gnnkit.cli import main"),
        ("gnnkit.pipeline.__main__", "from gnnkit.models import NCN"),
    ],
)
def test_an_import_that_points_the_other_way_is_seen(module: str, source: str) -> None:
    assert len(violations(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("gnnkit.kernels._jit", "import numba"),
        ("gnnkit.kernels._launch", "def launch():\n    import cupy"),
        ("gnnkit.interop", "def f():\n    require('dgl', 'dgl')"),
        ("gnnkit.adjacency", "if TYPE_CHECKING:\n    import networkx"),
        ("gnnkit.data._stores", "from ._splits import Split\nfrom ..kernels import spmm\nimport torch"),
        ("gnnkit.bench._run", "from gnnkit import datasets, train, __version__"),
        ("gnnkit.pipeline.__main__", "from gnnkit.cli import main"),
    ],
)
def test_an_import_that_points_the_right_way_is_let_through(module: str, source: str) -> None:
    assert violations(module, source) == []


# ------------------------------------------------------------------ the list of packages


def test_the_list_of_packages_equals_the_folders() -> None:
    folders = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    assert len(set(PACKAGES)) == len(PACKAGES)
    assert set(PACKAGES) == folders


def test_every_folder_with_modules_is_a_package() -> None:
    assert [str(p.parent) for p in MODULES.values() if not (p.parent / "__init__.py").exists()] == []


def test_the_two_top_level_folders_are_mapped_into_the_package() -> None:
    assert PYPROJECT["tool"]["setuptools"]["package-dir"] == FOLDERS


@pytest.mark.parametrize("folder", ["datasets", "kernels"])
def test_the_bare_name_of_a_top_level_folder_cannot_be_imported(folder: str) -> None:
    """Other people's packages are called so; from the repository's root ours would answer to the name."""
    done = python(f"import {folder}", cwd=ROOT)
    assert done.returncode == 1
    assert f"ImportError: import gnnkit.{folder}, not {folder}" in done.stderr
    assert python(f"import gnnkit.{folder}", cwd=ROOT).returncode == 0


# ------------------------------------------------------------------ names

PROMISED: dict[str, list[str]] = {
    "gnnkit": ["Adjacency", "__version__", "accelerate"],
    "gnnkit.kernels": [
        "spmm",
        "sddmm",
        "segment_reduce",
        "segment_softmax",
        "gat_attention",
        "gatv2_attention",
        "segment_matmul",
        "spmm_scaled",
        "gather_rows",
        "gather_cached",
        "sample_neighbors",
        "sample_hops",
        "relabel",
        "common_neighbors",
        "pair_blocks",
        "PairSets",
        "Sets",
        "group_by",
        "transpose_csr",
        "backend_name",
        "content_hash",
        "norm_relu",
    ],
}


@pytest.mark.parametrize("package", PROMISED)
def test_exported_names_are_those_promised(package: str) -> None:
    assert sorted(importlib.import_module(package).__all__) == sorted(PROMISED[package])


@pytest.mark.parametrize("package", PACKAGES)
def test_every_exported_name_resolves(package: str) -> None:
    module = importlib.import_module(package)
    names = module.__all__
    assert len(names) == len(set(names))
    assert [name for name in names if not hasattr(module, name)] == []


def test_dir_lists_names_before_their_first_use(tmp_path: Path) -> None:
    done = python("import gnnkit\nassert set(gnnkit.__all__) <= set(dir(gnnkit))", tmp_path)
    assert done.returncode == 0, done.stderr


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'gnnkit' has no attribute 'nothing'$"):
        _ = importlib.import_module("gnnkit").nothing


HEAVY = (
    "torch",
    "torch_geometric",
    "numba",
    "numpy",
    "scipy",
    "sklearn",
    "matplotlib",
    "typer",
    "rich",
    "networkx",
    "dgl",
    "ogb",
    "cupy",
)


def python(script: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_importing_gnnkit_loads_nothing_heavy_until_a_name_is_used(tmp_path: Path) -> None:
    script = f"""
import sys, gnnkit
gnnkit.__version__, dir(gnnkit)
heavy = [name for name in {HEAVY!r} if name in sys.modules]
assert not heavy, heavy
gnnkit.Adjacency
assert "torch" in sys.modules
heavy = [name for name in {HEAVY!r} if name in sys.modules and name not in ("torch", "numpy")]
assert not heavy, heavy
"""
    done = python(script, tmp_path)
    assert done.returncode == 0, done.stderr


def test_command_line_tool_starts_without_torch(tmp_path: Path) -> None:
    """Help and completion answer at once."""
    entry = PYPROJECT["project"]["scripts"]["gnnkit"]
    module, _, function = entry.partition(":")
    script = f"import sys, {module} as cli\nassert callable(cli.{function})\nassert 'torch' not in sys.modules"
    done = python(script, tmp_path)
    assert done.returncode == 0, done.stderr


# ------------------------------------------------------------------ wheel and sdist


def command(*arguments: str, cwd: Path) -> None:
    """Run a Python tool, quietly unless it fails."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=cwd, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Build, from a copy of what packaging reads: an sdist, the wheel made from it, and a wheel directly."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for folder in FOLDERS.values():
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    command("build", "--no-isolation", "--outdir", str(out / "direct"), "--wheel", ".", cwd=copy)
    shutil.rmtree(copy / "build", ignore_errors=True)
    command("build", "--no-isolation", "--outdir", str(out / "sdist"), ".", cwd=copy)
    (wheel,), (sdist,), (again,) = (
        (out / "direct").glob("*.whl"),
        (out / "sdist").glob("*.tar.gz"),
        (out / "sdist").glob("*.whl"),
    )
    return {"wheel": wheel, "sdist": sdist, "wheel from sdist": again}


def shipped_files() -> dict[str, bytes]:
    """Give what a wheel must hold: every file of the three folders, under its place in the package."""
    files = {}
    for package, folder in FOLDERS.items():
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                place = Path(*package.split(".")) / path.relative_to(ROOT / folder)
                files[place.as_posix()] = path.read_bytes()
    return files


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wheel", "wheel from sdist"])
def test_a_wheel_holds_every_file_of_the_package_and_no_other(built: dict[str, Path], kind: str) -> None:
    with zipfile.ZipFile(built[kind]) as wheel:
        held = {name: wheel.read(name) for name in wheel.namelist() if ".dist-info/" not in name}
    expected = shipped_files()
    assert "gnnkit/py.typed" in expected
    assert sorted(held) == sorted(expected)
    assert [name for name in held if held[name] != expected[name]] == []


@pytest.mark.slow
def test_the_sdist_holds_what_a_build_needs(built: dict[str, Path]) -> None:
    with tarfile.open(built["sdist"]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "gnnkit/py.typed"} <= names
    assert not any("__pycache__" in name or name.startswith(".venv") for name in names)


CHECK = """
import importlib.resources, json, sys
from pathlib import Path
import torch
import gnnkit, gnnkit.datasets, gnnkit.kernels
from gnnkit.kernels import backend_name, segment_softmax, spmm

adj = gnnkit.Adjacency.from_edge_index(torch.tensor([[0, 1, 2], [1, 0, 1]]), num_nodes=3)
x = torch.tensor([[1.0], [2.0], [4.0]], requires_grad=True)
out = adj.spmm(x, adj.softmax(torch.zeros(3)))
out.sum().backward()
print(json.dumps({
    "files": [m.__file__ for m in (gnnkit, gnnkit.datasets, gnnkit.kernels, sys.modules["gnnkit.adjacency"])],
    "typed": importlib.resources.files("gnnkit").joinpath("py.typed").is_file(),
    "backend": backend_name(x),
    "version": gnnkit.__version__,
    "out": out.flatten().tolist(),
    "grad": x.grad.flatten().tolist(),
}))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "backend"), [("wheel", "numba"), ("wheel from sdist", "torch")])
def test_an_installed_wheel_works_away_from_the_checkout(
    built: dict[str, Path], tmp_path: Path, kind: str, backend: str
) -> None:
    target, elsewhere = tmp_path / "target", tmp_path / "elsewhere"
    elsewhere.mkdir()
    options = "--no-deps --no-index --no-compile --disable-pip-version-check --target"
    command("pip", "install", *options.split(), str(target), str(built[kind]), cwd=elsewhere)
    done = python(CHECK, elsewhere, PYTHONPATH=str(target), GNNKIT_BACKEND=backend)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert all(Path(file).is_relative_to(target) for file in found["files"]), found["files"]
    assert found["typed"]
    assert found["version"] == PYPROJECT["project"]["version"]
    assert found["backend"] == backend
    assert found["out"] == [2.0, 2.5, 0.0]
    assert found["grad"] == [0.5, 1.0, 0.5]
    for template in (ROOT / "gnnkit" / "bench").glob("*.j2"):
        assert (target / "gnnkit" / "bench" / template.name).read_bytes() == template.read_bytes()
