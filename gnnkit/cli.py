"""The command line: parse, call, print."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from gnnkit._cli_causal import causal
from gnnkit._cli_pipeline import pipeline
from gnnkit._cli_plan import plan

app = typer.Typer(
    name="gnnkit",
    help="Train and evaluate graph neural networks by honest, resumable protocols.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_debug = False

Root = Annotated[str | None, typer.Option(help="Folder of the raw data; default GNNKIT_DATA, else the user's cache.")]


@app.callback(no_args_is_help=True)
def _main(debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
    global _debug
    _debug = debug


@app.command()
def bench(
    name: Annotated[str, typer.Argument(help="A dataset; `gnnkit datasets` lists them.")],
    model: Annotated[str, typer.Option("--model", help="A model; `gnnkit models` lists them.")],
    seeds: Annotated[int, typer.Option(min=1, max=10_000, help="Run the seeds 0 … SEEDS - 1.")] = 10,
    root: Root = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<number>.")] = "auto",
    settings: Annotated[list[str] | None, typer.Option("--set", help="path=value, e.g. train.lr=0.02.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the stored runs.")] = Path("runs"),
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write the result here as well, or - alone on stdout."),
    ] = None,
) -> None:
    """Train and test a model on a dataset over seeds; the same command continues an interrupted run."""
    from gnnkit import datasets as sets
    from gnnkit.bench import run_benchmark, summarise
    from gnnkit.bench._progress import watch
    from gnnkit.bench._summary import to_json
    from gnnkit.bench._terminal import terminal_table, write_json

    console = _console(stderr=str(json_file) == "-")
    with watch(console, f"{name} {model}", seeds, sets.card(name, root).metric) as progress:
        record = run_benchmark(
            name,
            model,
            seeds=range(seeds),
            root=root,
            device=device,
            overrides=settings or (),
            out=out,
            progress=progress,
        )
    summary = summarise(record)
    console.print(terminal_table([summary], console.width))
    console.print(f"stored in {record.folder}", highlight=False, soft_wrap=True)
    if json_file is not None:
        write_json(to_json(summary), json_file)


app.command()(pipeline)
app.command()(plan)
app.add_typer(causal, name="causal")


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders of runs such as runs/.")],
    out: Annotated[Path, typer.Option(help="Folder to write the report to.")] = Path("report"),
    leaderboard: Annotated[
        bool, typer.Option("--leaderboard", help="Print what a submission to OGB asks for, and write nothing.")
    ] = False,
) -> None:
    """Print the table of stored runs and write it as CSV, LaTeX, PNG curves and one HTML page."""
    from gnnkit.bench import find_runs, summarise, write_report
    from gnnkit.bench._terminal import terminal_table

    records = find_runs(runs)
    if leaderboard:
        from gnnkit.bench._leaderboard import leaderboard as submission

        for number, fields in enumerate([submission(record) for record in records]):
            if number:
                print()
            _print_facts(_console(), fields)
        return
    paths = write_report(records, out)
    console = _console()
    console.print(terminal_table([summarise(record) for record in records if record.results], console.width))
    for path in paths:
        console.print(f"wrote {path}", highlight=False, soft_wrap=True)


@app.command()
def datasets(
    name: Annotated[str | None, typer.Argument(help="Show this dataset's card.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch and process it now.")] = False,
    root: Root = None,
) -> None:
    """List the datasets, or show one with its task, metric, splits, source and licence."""
    from gnnkit import datasets as sets

    console = _console()
    if name is None:
        if download:
            raise ValueError("--download: expected the name of a dataset (got none)")
        columns = ("name", "graphs", "nodes", "edges", "features", "classes", "metric")
        cards = [sets.card(each) for each in sets.names()]
        rows = [
            (
                c.name,
                *map(_count, (c.num_graphs, c.num_nodes, c.num_edges, c.num_features, c.num_classes)),
                c.metric,
            )
            for c in cards
        ]
        _print_table(console, columns, rows)
        return
    card = sets.card(name, root)
    if download:
        sets.load(name, root)
    facts = {
        "title": card.title,
        "task": card.task,
        "metric": card.metric,
        "size": f"{_count(card.num_graphs)} graph{'s' * (card.num_graphs > 1)}, {_count(card.num_nodes)} nodes, "
        f"{_count(card.num_edges)} edges (directed), {card.num_features:,} features, {card.num_classes} classes",
        "splits": card.splits,
        "source": card.source,
        "licence": card.licence,
        "raw files": str(sets.data_root(root) / card.folder) if card.folder else "none needed",
    }
    _print_facts(console, facts)


@app.command()
def models() -> None:
    """List the models of the benchmark."""
    from gnnkit.bench._models import ABOUT
    from gnnkit.pipeline import adapters

    console = _console()
    _print_facts(console, ABOUT)
    console.print(f"\ngnnkit pipeline, deep: {', '.join(adapters.MODELS)}", highlight=False)


def _warm(console: Any) -> None:
    from gnnkit.bench._warm import total, warm

    console.print("\nfirst calls, float32; a loop counts at the first call that needs it")
    done = list(warm())
    rows: list[tuple[str, ...]] = [
        (w.name, f"{w.seconds:.2f}", str(w.compiled), str(w.loaded)) for w in (*done, total(done))
    ]
    _print_table(console, ("call", "seconds", "compiled", "from the cache"), rows)


@app.command()
def doctor(
    warm: Annotated[
        bool, typer.Option("--warm", help="Compile the CPU loops of common layers now, and say how long it took.")
    ] = False,
) -> None:
    """Say what this installation consists of and whether its parts work."""
    from gnnkit.bench._doctor import examine

    console = _console()
    facts, healthy = examine()
    _print_facts(console, facts)
    if warm:
        _warm(console)
    if not healthy:
        raise typer.Exit(1)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; the process exits with 0, with 1 after an error, with 130 after Ctrl-C."""
    # Waiting threads that spin take the core from the thread they wait for when other programs run:
    # 30 times slower epochs were seen on two busy cores. It must be set before torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    code: Any = 0
    try:
        code = app(arguments, prog_name="gnnkit", standalone_mode=False)
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        if _debug:
            raise
        usage = getattr(error, "format_message", None)  # typer's own errors; their class moved between releases
        if usage is not None:
            if not usage():  # without a command typer has printed the help
                sys.exit(getattr(error, "exit_code", 2))
            _fail(usage(), getattr(error, "exit_code", 2), alike=True)
        expected = isinstance(error, ValueError | OSError | ImportError | FloatingPointError)
        kind = "" if expected else f"unexpected {type(error).__name__} (--debug shows where): "
        _fail(kind + str(error), 1)
    if code == 130:
        _fail("interrupted; the same command continues", 130)
    sys.exit(code or 0)


def _fail(message: str, code: int, alike: bool = False) -> None:
    """Print and exit; what all processes of torchrun say alike is said by rank 0 first, which ends the others."""
    under_torchrun = {"TORCHELASTIC_RUN_ID", "RANK"} <= os.environ.keys() and os.environ.get("WORLD_SIZE", "1") != "1"
    if alike and under_torchrun:
        from gnnkit.pipeline._launch import let_rank_0_speak

        let_rank_0_speak()
    rank = f"rank {os.environ['RANK']}: " if under_torchrun and not alike else ""
    print(f"gnnkit: {rank}{' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


def _console(stderr: bool = False) -> Any:
    from rich.console import Console

    return Console(stderr=stderr)


def _count(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def _print_table(console: Any, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        numeric = column in ("graphs", "nodes", "edges", "features", "classes")
        table.add_column(column, justify="right" if numeric else "left", no_wrap=column == "name", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _print_facts(console: Any, facts: dict[str, str]) -> None:
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, value)
    console.print(table)


if __name__ == "__main__":
    main()
