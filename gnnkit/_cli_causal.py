"""The commands ``gnnkit causal …``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

causal = typer.Typer(help="Causal effects on networks.", no_args_is_help=True)


@causal.callback()
def _about() -> None:
    """Keep `study` a command of its own; Typer would take the place of a group with one command."""


@causal.command()
def study(
    mode: Annotated[
        str, typer.Option(help="paper: as published; repaired: effects that vary, with overlap.")
    ] = "paper",
    graph: Annotated[str, typer.Option(help="ba, er, sbm; paper: or cora; repaired: or a dataset.")] = "ba",
    effect: Annotated[str, typer.Option(help="Paper: simple_h, local_x, higher_order or interaction.")] = "simple_h",
    network: Annotated[str, typer.Option(help="Paper: gcn or gat.")] = "gcn",
    nodes: Annotated[int, typer.Option(help="Of a drawn graph.")] = 1000,
    noise: Annotated[float, typer.Option(help="Of the outcome.")] = 0.5,
    share: Annotated[float, typer.Option(help="Repaired: part of the effects' variance through the graph.")] = 1.0,
    heterogeneity: Annotated[float, typer.Option(help="Repaired: how far effects vary.")] = 1.5,
    selection: Annotated[float, typer.Option(help="Repaired: how far treatment depends on the nodes.")] = 1.0,
    homophily: Annotated[float, typer.Option(help="Repaired: how alike neighbours are.")] = 0.0,
    peers: Annotated[bool, typer.Option("--peers", help="Ask EconML's estimators too.")] = False,
    seeds: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 10,
    first: Annotated[int, typer.Option(min=0, help="The first seed.")] = 0,
    root: Annotated[
        str | None, typer.Option(help="Folder of the raw data; default GNNKIT_DATA, else the user's cache.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the stored studies.")] = Path("runs/causal"),
    report: Annotated[Path | None, typer.Option(help="Write table, plot and HTML page to this folder.")] = None,
) -> None:
    """Estimate simulated effects by every learner over seeds; the same command continues an interrupted study."""
    from rich.console import Console

    from gnnkit.bench._causal import run_study
    from gnnkit.bench._causal_report import study_table, write_study
    from gnnkit.causal import Study

    asked = Study(mode, graph, effect, network, nodes, noise, share, heterogeneity, selection, homophily, peers)
    console = Console()
    console.print(f"{mode} study, {seeds} seed{'s' * (seeds > 1)} from {first}", highlight=False)

    def told(row: dict[str, object]) -> None:
        error = row["errors"][asked.graph_aware]  # type: ignore[index]
        text = f"seed {row['seed']}: {asked.graph_aware} {error:.3f}  {row['wall_seconds']:.1f} s"
        console.print(text, highlight=False)

    record = run_study(asked, range(first, first + seeds), root=root, out=out, told=told)
    console.print(study_table(record))
    console.print(f"stored in {record.folder}", highlight=False, soft_wrap=True)
    for path in write_study(record, report) if report is not None else ():
        console.print(f"wrote {path}", highlight=False, soft_wrap=True)
