"""Progress on a terminal: a bar where somebody watches, plain lines otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from gnnkit.bench._run import Progress
from gnnkit.bench._summary import score_text


@contextmanager
def watch(console: Console, title: str, num_seeds: int, metric: str) -> Iterator[Progress]:
    """Yield the progress that prints scores of ``metric`` to ``console``; the bar, if any, goes when the block ends."""
    if not console.is_terminal:
        yield Progress(begin=_say_begin(console), end=_say_end(console, metric))
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[score]}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        overall = bar.add_task(title, total=num_seeds, score="")
        current = bar.add_task("seed", total=None, score="")

        last = ""

        def begin(seed: int, done: int, total: int) -> None:
            nonlocal last
            last = ""
            bar.reset(current, total=total, description=f"seed {seed}, epoch", score="")
            bar.update(current, completed=done)
            _say_begin(console)(seed, done, total)

        def epoch(seed: int, row: dict[str, float]) -> None:
            nonlocal last
            if "valid" in row:  # not every epoch is evaluated
                last = f"  valid {score_text(metric, row['valid'])}"
            bar.update(current, completed=row["epoch"], score=f"loss {row['loss']:.3f}{last}")

        def end(row: dict[str, Any]) -> None:
            bar.advance(overall)
            _say_end(console, metric)(row)

        yield Progress(begin=begin, epoch=epoch, end=end)


def _say_begin(console: Console) -> Any:
    def begin(seed: int, done: int, total: int) -> None:
        if done:
            console.print(f"seed {seed}: continued after epoch {done}", highlight=False)

    return begin


def _say_end(console: Console, metric: str) -> Any:
    def end(row: dict[str, Any]) -> None:
        scores = f"test {score_text(metric, row['test'])}  valid {score_text(metric, row['valid'])}"
        effort = f"epochs {row['epochs_run']}  {row['wall_seconds']:.1f} s"
        console.print(f"seed {row['seed']}: {scores}  {effort}", highlight=False)

    return end
