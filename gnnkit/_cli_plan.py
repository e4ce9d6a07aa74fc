"""The command that predicts the best split of a network over GPUs."""

from __future__ import annotations

from typing import Annotated

import typer


def plan(
    layers: Annotated[int, typer.Option(help="Number of hops.")],
    hidden: Annotated[int, typer.Option(help="Width of the hops.")],
    gpus: Annotated[int, typer.Option(help="Number of GPUs.")],
    nodes: Annotated[float, typer.Option(help="Nodes of the graph, such as 111e6.")],
    edges: Annotated[float, typer.Option(help="Edges as the layers read them: an undirected one counts twice.")],
    features: Annotated[int, typer.Option(help="Width of the features.")] = 128,
    classes: Annotated[int, typer.Option(help="Width of the outputs.")] = 128,
    model: Annotated[str, typer.Option(help="gcn, sage, resgcn, gcnii or gat.")] = "gcn",
    hardware: Annotated[str, typer.Option(help="v100, a100, h100 or h200.")] = "a100",
    link_gbps: Annotated[float | None, typer.Option(help="Gigabits a second of each GPU's link, each way.")] = None,
    replication: Annotated[
        list[str] | None, typer.Option(help="WAYS=RATIO: measured replicas a node of a cut into so many parts.")
    ] = None,
) -> None:
    """Predict the best split of stages and ways for a network on a graph, and say when pipelining will not help."""
    from rich.console import Console
    from rich.table import Table

    from gnnkit.pipeline._search_text import COLUMNS, LEGEND, best_line, search_by_name, table_rows

    found = search_by_name(
        layers,
        hidden,
        gpus,
        nodes,
        edges,
        features=features,
        classes=classes,
        model=model,
        hardware=hardware,
        link_gbps=link_gbps,
        replication=replication or (),
    )
    console = Console()
    console.print("PREDICTION: nothing of this was measured", style="bold")
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    for row in table_rows(found):
        table.add_row(*row)
    console.print(table)
    console.print(LEGEND, highlight=False, markup=False)
    console.print(best_line(found), style="bold", highlight=False)
    console.print(found.verdict, highlight=False)
    console.print("It assumes:", style="bold")
    for line in found.assumptions:
        console.print(f"- {line}", highlight=False, markup=False)
