"""Raw files to processed ones: checked by checksum, processed once, nothing half-written."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shlex
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from gnnkit.datasets._card import Card
from gnnkit.datasets._root import cache_dir


def digest(paths: list[Path]) -> str:
    """Return the SHA-256 over the names and contents of files, as 64 hexadecimal digits."""
    total = hashlib.sha256()
    for path in sorted(paths):
        with path.open("rb") as file:
            total.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def verify(name: str, paths: list[Path], expected: str) -> None:
    """Require that files are the published ones, before anything in them is unpickled.

    Raises:
        ValueError: Their digest differs: truncated, altered, or another release.
    """
    if (got := digest(paths)) != expected:
        raise ValueError(
            f"{name}: expected the published raw files, SHA-256 {expected[:16]}…, in {paths[0].parent} "
            f"(got {got[:16]}…): remove the folder to download it again"
        )


def fetch(
    name: str,
    folder: Path,
    download: Callable[[Path], None],
    check: Callable[[Path], None],
    root: Path,
) -> None:
    """Download raw files into ``folder``, which appears complete and checked or not at all.

    Args:
        name: The dataset, for messages.
        folder: Where the raw files belong.
        download: Writes the files into the folder that it is given.
        check: Raises when the files in the folder that it is given are not right.
        root: The data root, for messages.

    Raises:
        FileNotFoundError: The files are missing and cannot be had; names the folder and the command.
    """
    hint = f"gnnkit datasets {name} --download --root {shlex.quote(str(root))}"
    new = [parent for parent in folder.parents if not parent.exists()]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise FileNotFoundError(
            f"{name}: expected raw files in {folder} (got none, and the folder is not writable: {error.strerror}); "
            f"choose another with --root, or where there is a network run: {hint}"
        ) from error
    try:
        download(scratch)
        check(scratch)
        if folder.exists():  # with some of the files, or with those of other sets
            for path in sorted(scratch.iterdir()):
                path.replace(folder / path.name)
        else:
            scratch.rename(folder)
    except Exception as error:  # whatever the network library raises
        reason = _line(error)
        raise FileNotFoundError(
            f"{name}: expected raw files in {folder} (got none, and the download failed: {reason}); "
            f"where there is a network run: {hint}"
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        with contextlib.suppress(OSError):  # not empty: the files are there
            for parent in new:
                parent.rmdir()


def read_url(url: str) -> bytes:
    """Return what an address holds."""
    import urllib.request

    with urllib.request.urlopen(url, timeout=30) as response:
        content: bytes = response.read()
    return content


def obtain(name: str, root: Path, below: str, sources: dict[str, str], expected: str | None) -> str:
    """Return the digest of raw files, which are downloaded when one is missing.

    Args:
        name: The dataset, for messages.
        root: The data root.
        below: Where the raw files belong in it.
        sources: The address of each file.
        expected: Their digest as published; None where it is not known.

    Raises:
        ValueError: They are not the published ones.
        FileNotFoundError: The files are missing and cannot be had.
    """

    def files(parent: Path) -> list[Path]:
        return [parent / file for file in sources]

    def download(scratch: Path) -> None:
        for file, url in sources.items():
            (scratch / file).write_bytes(read_url(url))

    def check(parent: Path) -> None:
        if expected is not None:
            verify(name, files(parent), expected)

    if not all(path.is_file() for path in files(root / below)):
        fetch(name, root / below, download, check, root)
    check(root / below)
    for path in files(root / below):
        if path.suffix == ".npz":
            _require_archive(name, path)
    return digest(files(root / below))


def _require_archive(name: str, path: Path) -> None:
    """Require a whole archive: NumPy leaves a file open when it meets one that is cut short."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except zipfile.BadZipFile as error:
        damaged = str(error)
    if damaged is not None:
        raise ValueError(f"{name}: expected a whole archive {path}; remove it to download it again (got {damaged})")


def is_processed(label: str, source_digest: str) -> bool:
    """Whether `processed` would find its folder."""
    return place(label, source_digest).exists()


def check_totals(name: str, dataset: Any, card: Card, folder: Path) -> None:
    """Require as many graphs, nodes and edges as the card says: text that was cut short may still be read.

    Raises:
        ValueError: There are others.
    """
    expected = (card.num_graphs, card.num_nodes, card.num_edges)
    try:
        totals: Any = (
            len(dataset),
            sum(graph.num_nodes for graph in dataset),
            sum(graph.num_edges for graph in dataset),
        )
    except Exception as error:  # tables of rows that do not belong together
        totals = _line(error)
    if totals != expected:
        raise ValueError(
            f"{name}: expected {expected} graphs, nodes and edges in {folder}; remove the folder to download it "
            f"again (got {totals})"
        )


def place(label: str, source_digest: str) -> Path:
    """Return where `kept` keeps something."""
    versions = f"torch{version('torch')}-pyg{version('torch-geometric')}"
    return cache_dir() / "processed" / f"{label}-{source_digest[:16]}-{versions}"


def kept(label: str, source_digest: str, make: Callable[[Path], Any], read: Callable[[Path], Any]) -> Any:
    """Make something of raw files once and keep it in a folder of the user's cache.

    The folder is keyed by the digest of the raw files and the versions that wrote it, and it is renamed
    into place when complete: a killed process leaves nothing that a later one would read.

    Args:
        label: What it is.
        source_digest: Of the raw files.
        make: Writes into the folder that it is given, and returns what ``read`` would.
        read: Reads the folder; whatever it raises for damaged bytes leads to a warning and a new ``make``.
    """
    folder = place(label, source_digest)
    if folder.exists():
        try:
            return read(folder)
        except Exception as error:  # whatever torch raises for damaged bytes; the raw files are verified
            warnings.warn(f"{folder}: damaged ({type(error).__name__}), made anew", stacklevel=2)
            shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{label}-", dir=folder.parent) as scratch:
        target = Path(scratch) / "processed"
        target.mkdir()
        made = make(target)
        with contextlib.suppress(OSError):  # another process was faster, with the same content
            os.rename(target, folder)  # noqa: PTH104 (Path.rename replaces on some systems)
    return made


def save(content: Any, path: Path) -> None:
    """Write tensors and plain values with torch.

    Raises:
        OSError: They could not be written; torch does not say why.
    """
    try:
        torch.save(content, path)
    except RuntimeError as error:
        free = shutil.disk_usage(path.parent).free
        raise OSError(f"{path}: expected to write it (got {free:,} bytes of free space and: {_line(error)})") from error


def processed(
    cls: type,
    label: str,
    source_digest: str,
    check: Callable[[Any], None] = lambda dataset: None,
    /,
    **kwargs: Any,
) -> Any:
    """Make a PyG dataset whose processed files are `kept`, whatever folder holds the raw ones.

    Raises:
        ValueError: The raw files are damaged.
    """

    def make(folder: Path) -> Any:
        try:
            with _quiet():
                dataset = _located(cls, folder)(**kwargs)
        except OSError:  # no room, no permission
            raise
        except Exception as error:  # whatever damaged bytes lead to
            reason = _line(error)
            place = f" below {kwargs['root']}" if "root" in kwargs else ""
            raise ValueError(
                f"{label}: expected whole raw files{place}; remove them to download them again (got {reason})"
            ) from error
        check(dataset)
        return dataset

    return kept(label, source_digest, make, lambda folder: _located(cls, folder)(**kwargs))


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _located(cls: type, folder: Path) -> type:
    return type(cls.__name__, (cls,), {"processed_dir": property(lambda _: str(folder))})


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep PyG's "Processing…" off the terminal."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield
