"""The files of a checkpoint: shards of tensors by torch.distributed.checkpoint, everything else as JSON."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import warnings
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

MANIFEST, INDEX = "manifest.json", ".metadata"  # the second is torch's own name

_METADATA = "torch.distributed.checkpoint.metadata"
_KNOWN = {
    (_METADATA, name)
    for name in ("ChunkStorageMetadata", "Metadata", "MetadataIndex", "StorageMeta", "TensorProperties")
} | {
    (_METADATA, "TensorStorageMetadata"),
    (_METADATA, "_MEM_FORMAT_ENCODING"),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
    ("pathlib", "PosixPath"),
    ("pathlib._local", "PosixPath"),
    ("pathlib", "WindowsPath"),
    ("pathlib._local", "WindowsPath"),
}


class _IndexUnpickler(pickle._Unpickler):
    """Knows what torch's index of shards is made of, and nothing else that a pickle may name.

    Names are not enough: a pickle may also give attributes to what it names, and so change a class for the process.
    So only new records get any, and all else is called with plain values alone.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _KNOWN or (module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}")

    def _make(self: Any) -> None:
        kind, arguments = self.stack[-2:]
        _require(isinstance(kind, type) and is_dataclass(kind) and arguments == (), "makes", kind)
        self.load_newobj()

    def _call(self: Any) -> None:
        kind, arguments = self.stack[-2:]
        plain = all(isinstance(each, int | str | tuple) for each in arguments)
        _require(plain and not is_dataclass(kind), "calls", kind)
        self.load_reduce()

    def _build(self: Any) -> None:
        record = self.stack[-2]
        _require(is_dataclass(record) and not isinstance(record, type), "changes", record)
        self.load_build()

    def _other(self: Any) -> None:
        _require(False, "makes", "something in a way of old pickles")

    dispatch: ClassVar[dict[int, Any]] = {
        **pickle._Unpickler.dispatch,
        pickle.NEWOBJ[0]: _make,
        pickle.REDUCE[0]: _call,
        pickle.BUILD[0]: _build,
        **dict.fromkeys([pickle.NEWOBJ_EX[0], pickle.INST[0], pickle.OBJ[0]], _other),
    }


def _require(fit: bool, does: str, what: object) -> None:
    if not fit:
        raise pickle.UnpicklingError(f"it {does} {what}")


class _Reader(FileSystemReader):
    """Reads shards by an index that is already there, and that came through `_IndexUnpickler`."""

    def __init__(self, folder: Path, index: Metadata) -> None:
        super().__init__(folder)
        self._index = index

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        return self._index


def write_tensors(folder: Path, tensors: dict[str, Tensor], alone: bool) -> None:
    """Write every process's tensors, each into a file of its own, and force them to disk; collective unless alone.

    Raises:
        OSError: A process could not write; the message names its rank.
    """
    with warnings.catch_warnings():  # it warns of a single process
        warnings.simplefilter("ignore")
        try:
            save(dict(tensors), storage_writer=FileSystemWriter(folder), no_dist=alone)
        except CheckpointException as error:  # no Exception, and a page of tracebacks
            rank, (reason, _) = next(iter(error.failures.items()))
            if not isinstance(reason, Exception):  # Ctrl-C
                raise reason from None
            said = f"rank {rank} could not write its part ({type(reason).__name__}: {reason})"
            raise OSError(f"{folder}: {said}") from None


def read_tensors(folder: Path, prefix: str, files: dict[str, Any]) -> dict[str, Tensor]:
    """Read the tensors whose names begin with ``prefix``, from the ``files`` that belong to the checkpoint.

    Raises:
        ValueError: The index is none of tensors in these files.
    """
    try:
        index = _IndexUnpickler(io.BytesIO((folder / INDEX).read_bytes())).load()
        named = {key: each for key, each in index.state_dict_metadata.items() if key.startswith(prefix)}
        strangers = {info.relative_path for info in index.storage_data.values()} - set(files)
        if strangers or not all(isinstance(each, TensorStorageMetadata) for each in named.values()):
            raise pickle.UnpicklingError(f"it names {', '.join(sorted(strangers)) or 'what is no tensor'}")
        tensors = {key: torch.empty(each.size, dtype=each.properties.dtype) for key, each in named.items()}
    except Exception as error:  # a pickle of a stranger raises whatever it leads to
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(f"{folder / INDEX}: expected an index of tensors (got {reason})") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            load(tensors, storage_reader=_Reader(folder, index), no_dist=True)
        except CheckpointException as error:
            failure, _ = next(iter(error.failures.values()))
            raise ValueError(f"{folder}: expected a checkpoint's tensors (got {failure})") from None
    return tensors


# ------------------------------------------------------------------ the rest of a state


def split(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Put the tensors of nested dicts and lists into ``tensors`` by name, and return the rest for JSON.

    Raises:
        ValueError: It holds something that is neither tensor nor plain value.
    """
    if isinstance(value, Tensor):
        tensors[path] = value.detach()
        return {"tensor": path}
    if isinstance(value, dict):  # keys keep their types: an optimiser's are numbers
        return {"dict": [[key, split(each, f"{path}/{key}", tensors)] for key, each in value.items()]}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [split(each, f"{path}/{i}", tensors) for i, each in enumerate(value)]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"{path}: expected tensors, plain values, dicts and lists of them (got {type(value).__name__})")


def join(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Undo `split`."""
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: join(each, tensors) for key, each in content}
    items = [join(each, tensors) for each in content]
    return tuple(items) if kind == "tuple" else items


# ------------------------------------------------------------------ checksums


def checksum(path: Path) -> dict[str, Any]:
    """Return the length and the SHA-256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"bytes": file.tell(), "sha256": digest}


def check_file(path: Path, expected: dict[str, Any]) -> None:
    """Require the length and the SHA-256 that the manifest says.

    Raises:
        ValueError: The file is missing, or damaged.
    """
    got = checksum(path) if path.is_file() else None
    if got != expected:
        said = "none" if got is None else f"{got['bytes']} of {expected['bytes']} bytes, or others"
        raise ValueError(f"{path}: expected the file as it was written (got {said}): the checkpoint is damaged")


def write_manifest(folder: Path, content: dict[str, Any]) -> None:
    """Write the manifest, its own SHA-256 in the last line, and force it and the folder to disk."""
    text = json.dumps(content).encode()
    with (folder / MANIFEST).open("wb") as file:
        file.write(text + b"\n" + hashlib.sha256(text).hexdigest().encode())
        file.flush()
        os.fsync(file.fileno())
    sync_folder(folder)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read what `write_manifest` wrote.

    Raises:
        ValueError: It is missing, or damaged.
    """
    path = folder / MANIFEST
    text, _, digest = (path.read_bytes() if path.is_file() else b"").rpartition(b"\n")
    if hashlib.sha256(text).hexdigest().encode() != digest:
        raise ValueError(f"{path}: expected a checkpoint's manifest (got none or a damaged one)")
    content: dict[str, Any] = json.loads(text)
    return content


def sync_folder(folder: Path) -> None:
    """Force the names in a folder to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
