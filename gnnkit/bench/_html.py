"""The report as one HTML page that needs no network and no script."""

from __future__ import annotations

import json
import shlex
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from gnnkit.bench._plots import svg_text
from gnnkit.bench._summary import is_share, joined, order, run_labels, score_text, summarise
from gnnkit.bench._tables import RIGHT, TEST, duration, memory, table_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gnnkit.bench._store import RunRecord


def html_text(records: Sequence[RunRecord]) -> str:
    """Give the report as an HTML page, identical bytes for identical runs.

    Runs without a finished seed are listed as unfinished.

    Args:
        records: Runs, at least one of them with a finished seed.

    Raises:
        ValueError: If no run has a finished seed.
    """
    finished = sorted((record for record in records if record.results), key=lambda r: order(summarise(r)))
    unfinished = [record for record in records if not record.results]
    if not finished:
        got = f"{len(unfinished)} without" if unfinished else "no runs"
        raise ValueError(f"expected at least one run with a finished seed (got {got})")
    header, rows = table_rows([summarise(record) for record in finished])
    runs = [_run(record, label) for record, label in zip(finished, run_labels(finished), strict=True)]
    return page(
        "report.html.j2",
        header=header,
        rows=rows,
        test_column=TEST,
        numbers={column for column, name in enumerate(header) if name in RIGHT},
        figure=Markup(svg_text(finished)),  # matplotlib has escaped every text in it
        runs=runs,
        unfinished=[{"name": record.folder.name, "command": command(record)} for record in unfinished],
        provenance=_provenance(finished),
        datasets=len({record.spec["dataset"] for record in finished}),
        seeds=sum(len(record.results) for record in finished),
    )


def page(template: str, **values: Any) -> str:
    """Fill one of this folder's templates, with the style that the pages share."""
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    folder = files(__package__)
    style = Markup(folder.joinpath("page.css").read_text(encoding="utf-8"))
    return environment.from_string(folder.joinpath(template).read_text(encoding="utf-8")).render(style=style, **values)


def command(record: RunRecord) -> str:
    """Give the command that repeats a run, quoted for a POSIX shell."""
    spec = record.spec
    if "mode" in spec:  # a pipeline's
        return _torchrun(record)
    words = ["gnnkit", "bench", spec["dataset"], "--model", spec["model"]]
    return shlex.join([*words, *_seeds(record), *_settings(spec["overrides"])])


def _torchrun(record: RunRecord) -> str:
    spec = record.spec
    processes = spec["config"]["processes"]
    launcher = "gnnkit pipeline" if processes == 1 else f"torchrun --nproc-per-node {processes} -m gnnkit.pipeline"
    words = launcher.split()
    words += ["--dataset", spec["dataset"], "--model", spec["model"], *_seeds(record)]
    return shlex.join([*words, *_settings(each for each in spec["overrides"] if not each.startswith("processes="))])


def _seeds(record: RunRecord) -> list[str]:
    """`--seeds n` means seeds 0 to n - 1; an interrupted run may have gaps below its last seed."""
    return ["--seeds", str(max(result["seed"] for result in record.results) + 1)] if record.results else []


def _settings(overrides: Iterable[str]) -> list[str]:
    return [word for override in overrides for word in ("--set", override)]


def flatten(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Give a nested configuration as dotted paths, as ``--set`` takes them, and JSON values."""
    for name, value in config.items():
        if isinstance(value, dict) and value:
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _run(record: RunRecord, label: str) -> dict[str, Any]:
    spec = record.spec
    return {
        "label": label,
        "name": record.folder.name,
        "dataset": spec["dataset"],
        "task": spec["task"],
        "metric": spec["metric"],
        "unit": " (%)" if is_share(spec["metric"]) else "",
        "recipe": spec["recipe"],
        "overrides": spec["overrides"],
        "config": list(flatten(spec["config"])),
        "command": command(record),
        "seeds": [
            {
                "seed": result["seed"],
                "scores": [score_text(spec["metric"], result[split]) for split in ("test", "valid", "train")],
                "best_epoch": result["best_epoch"],
                "epochs_run": result["epochs_run"],
                "time": duration(result["wall_seconds"]),
                "memory": memory(result["peak_memory_bytes"]),
            }
            for result in record.results
        ],
    }


def _provenance(records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """Give each distinct provenance once, with the names of the runs it holds for."""
    groups: dict[str, dict[str, Any]] = {}
    for record in records:
        summary = summarise(record)
        facts = {
            "Commit": summary.commit,
            "Device": summary.device,
            "Hardware": record.spec["hardware"],
            "Backend": joined(result["backend"] for result in record.results),
            "Versions": " · ".join(f"{name} {version}" for name, version in summary.versions.items()),
        }
        group = groups.setdefault(json.dumps(facts), {"facts": facts, "runs": []})
        group["runs"].append(record.folder.name)
    return list(groups.values())
