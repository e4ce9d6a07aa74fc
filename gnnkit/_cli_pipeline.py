"""The command behind ``torchrun … -m gnnkit.pipeline``."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer


def pipeline(
    dataset: Annotated[str, typer.Option("--dataset", help="A dataset; `gnnkit datasets` lists them.")],
    model: Annotated[str, typer.Option("--model", help="gcn, sage, resgcn, gcnii or gat.")],
    mode: Annotated[str, typer.Option(help="pipeline: stages; graph: ways; hybrid: both.")] = "pipeline",
    layers: Annotated[int | None, typer.Option(help="Number of hops.")] = None,
    hidden: Annotated[int | None, typer.Option(help="Width of the hops.")] = None,
    stages: Annotated[int | None, typer.Option(help="Stages of layers; default as the mode and processes say.")] = None,
    ways: Annotated[int | None, typer.Option(help="Ways of nodes in each stage; default as --stages.")] = None,
    chunks: Annotated[int | None, typer.Option(help="Chunks of nodes; default 4 a stage, 1 with one stage.")] = None,
    epochs: Annotated[int | None, typer.Option(help="How many.")] = None,
    refresh: Annotated[str | None, typer.Option(help="Epochs between refreshes of historical rows, or none.")] = None,
    recompute: Annotated[bool, typer.Option("--recompute", help="Compute activations again, keep them not.")] = False,
    precision: Annotated[str | None, typer.Option(help="full or bf16.")] = None,
    checkpoint_every: Annotated[int | None, typer.Option(help="Epochs that a killed run can lose.")] = None,
    seeds: Annotated[int, typer.Option(min=1, max=10_000, help="Run the seeds 0 … SEEDS - 1.")] = 1,
    root: Annotated[
        str | None, typer.Option(help="Folder of the raw data; default GNNKIT_DATA, else the user's cache.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<number>.")] = "auto",
    settings: Annotated[list[str] | None, typer.Option("--set", help="path=value, e.g. train.lr=0.01.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the stored runs, which all processes share.")] = Path("runs"),
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write the result here as well, or - alone on stdout."),
    ] = None,
) -> None:
    """Train a deep network on one graph by a pipeline: `torchrun --nproc-per-node N -m gnnkit.pipeline …`.

    Alone, `gnnkit pipeline …` executes the whole plan in one process. The same command continues an interrupted run.
    """
    from rich.console import Console

    from gnnkit.bench._pipeline import pipeline_json, run_pipeline
    from gnnkit.bench._progress import watch
    from gnnkit.bench._summary import summarise
    from gnnkit.bench._terminal import terminal_table, write_json
    from gnnkit.datasets import card
    from gnnkit.pipeline._launch import torchrun_place
    from gnnkit.pipeline._transport import PeerError

    flags = {
        "plan.mode": mode,
        "model.num_layers": layers,
        "model.hidden_channels": hidden,
        "plan.stages": stages,
        "plan.ways": ways,
        "plan.chunks": chunks,
        "train.epochs": epochs,
        "train.refresh": refresh,
        "train.recompute": True if recompute else None,
        "train.precision": precision,
        "train.checkpoint_every": checkpoint_every,
    }
    overrides = [f"{path}={value}" for path, value in flags.items() if value is not None] + (settings or [])
    first = torchrun_place()[0] == 0
    console = Console(stderr=str(json_file) == "-")
    watched = watch(console, f"{dataset} {model}", seeds, card(dataset, root).metric) if first else nullcontext()
    with watched as progress:
        try:
            record = run_pipeline(
                dataset,
                model,
                seeds=range(seeds),
                root=root,
                device=device,
                overrides=overrides,
                out=out,
                progress=progress,
            )
        except PeerError as error:  # no defect of this process
            raise ConnectionError(str(error)) from error
    if record is None:  # rank 0 tells
        return
    console.print(terminal_table([summarise(record)], console.width))
    console.print(f"stored in {record.folder}", highlight=False, soft_wrap=True)
    if json_file is not None:
        write_json(pipeline_json(record), json_file)
