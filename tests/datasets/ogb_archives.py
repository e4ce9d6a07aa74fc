"""Three molecules in the layout of an official set, as a folder and as an archive."""

from __future__ import annotations

import csv
import gzip
import zipfile
from pathlib import Path


def write_official(root: Path, name: str = "ogbg-molesol") -> Path:
    """Write three molecules in the layout of an official set."""
    folder = root / "ogb" / name.replace("-", "_")
    tables: dict[str, list[list[float]]] = {
        "raw/edge": [[0, 1], [1, 2], [0, 1], [0, 1]],
        "raw/num-node-list": [[3], [2], [2]],
        "raw/num-edge-list": [[2], [1], [1]],
        "raw/node-feat": [[5, 0, 1, 5, 0, 0, 0, 0, 0]] * 7,
        "raw/edge-feat": [[0, 0, 0]] * 4,
        "raw/graph-label": [[0.5], [1.5], [2.5]],
        "split/scaffold/train": [[0]],
        "split/scaffold/valid": [[1]],
        "split/scaffold/test": [[2]],
    }
    for place, rows in tables.items():
        path = folder / f"{place}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(path, "wt", newline="") as file:
            csv.writer(file).writerows(rows)
    (folder / "RELEASE_v1.txt").write_text("a test")
    return folder


def zip_folder(folder: Path, archive: Path, inside: str = "") -> None:
    """Pack a folder's files."""
    with zipfile.ZipFile(archive, "w") as file:
        for path in folder.rglob("*"):
            if path.is_file():
                file.write(path, inside + str(path.relative_to(folder)))
