"""Write the table of datasets from their cards while the site is built, so that it cannot fall behind them."""

from typing import Any

MARK = "<!-- cards -->"
_COLUMNS = ("name", "task", "metric", "graphs", "nodes", "edges", "features", "targets", "split", "licence", "source")


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """Run by MkDocs as a hook on every page."""
    return markdown.replace(MARK, table()) if MARK in markdown else markdown


def table() -> str:
    """Give all cards as a Markdown table, in the order of `gnnkit.datasets.names`."""
    from gnnkit import datasets

    lines = [_COLUMNS, ["---:" if 3 <= column <= 6 else "---" for column in range(len(_COLUMNS))]]
    lines += [_row(datasets.card(name)) for name in datasets.names()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _row(card: Any) -> list[str]:
    sizes = (card.num_graphs, card.num_nodes, card.num_edges, card.num_features)
    counts = ["–" if size is None else f"{size:,}" for size in sizes]
    task = card.task.replace("_", " ")
    texts = [text.replace("|", "\\|") for text in (card.splits, card.licence, card.source)]
    return [f"`{card.name}`", task, card.metric, *counts, _targets(card), *texts]


def _targets(card: Any) -> str:
    if card.task == "link_prediction":
        return "links"
    if card.num_tasks is None:
        return f"{card.num_classes} classes"
    kind = "value" if card.task == "graph_regression" else "yes/no"
    return f"{card.num_tasks} × {kind}"
