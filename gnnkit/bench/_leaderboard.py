"""What a submission to an OGB leaderboard asks for, from a stored run, or why the run does not qualify."""

from __future__ import annotations

from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from gnnkit.bench._html import command
from gnnkit.bench._summary import higher_is_better, joined
from gnnkit.datasets._ogb_cards import CARDS

if TYPE_CHECKING:
    from gnnkit.bench._store import RunRecord

_SEEDS = 10
_FEWER = {"ogbn-papers100M": 3}  # by OGB's rules, for its size
_BOARDS = ("ogbn-", "ogbl-", "ogbg-molhiv", "ogbg-molpcba", "ogbg-ppa", "ogbg-code2")


def leaderboard(record: RunRecord) -> dict[str, str]:
    """Give the fields of a submission (https://ogb.stanford.edu/docs/leader_overview/) in their order.

    Scores are raw, as OGB's Evaluator gives them, mean ± unbiased standard deviation over the seeds 0 to 9. What a run
    cannot know (contact, paper, repository) is left to the reader.

    Args:
        record: A stored run on one of OGB's datasets.

    Raises:
        ValueError: The dataset is none of OGB's, seeds are missing, or a stored score is not the one at the best
            validation epoch.
    """
    spec, name = record.spec, record.spec["dataset"]
    if name not in CARDS:
        raise ValueError(f"leaderboard: expected a run on one of OGB's own datasets (got {name} in {record.folder})")
    rows = {row["seed"]: row for row in record.results if row["seed"] < _SEEDS}
    needed = _FEWER.get(name, _SEEDS)
    if missing := [seed for seed in range(needed) if seed not in rows]:
        raise ValueError(
            f"leaderboard: expected the seeds 0 to {needed - 1} in {record.folder} "
            f"(got {len(rows)}; missing {', '.join(map(str, missing))})"
        )
    for row in rows.values():
        _check_selection(record, row)
    ogb = joined(row["versions"].get("ogb") for row in rows.values())
    details = [spec["recipe"], *spec["overrides"]]
    fields = {
        "Dataset": name,
        "OGB version": ogb,
        "Method": f"{spec['model']} ({', '.join(details)})",
        "External data": "No",
        "Test": _score([row["test"] for row in rows.values()], name),
        "Validation": _score([row["valid"] for row in rows.values()], name),
        "Seeds": f"{min(rows)} to {max(rows)}",
        "#Params": joined(f"{row['parameters']:,}" for row in rows.values()),
        "Hardware": f"{spec['hardware']}; {joined(row['device'] for row in rows.values())}",
        "Command": command(record),
        "Commit": joined(row["commit"] for row in rows.values()),
        "Yours to add": "contact, paper, public repository",
    }
    if "-dirty" in fields["Commit"]:
        fields["Note"] = "the source had uncommitted changes: OGB asks for code that reproduces the result"
    if not name.startswith(_BOARDS):
        fields["Remark"] = f"OGB keeps no leaderboard for {name}"
    return fields


def _score(values: list[float], name: str) -> str:
    evaluator: Any = CARDS[name].evaluator
    return f"{fmean(values):.4f} ± {stdev(values):.4f} ({evaluator.metric})"


def _check_selection(record: RunRecord, row: dict[str, Any]) -> None:
    """Require that a stored score is that of the epoch which validation, and nothing else, has chosen."""
    history = record.history(row["seed"])
    where = f"seed {row['seed']} in {record.folder}"
    if not {"parameters", "best_epoch"} <= row.keys() or not history:
        raise ValueError(f"leaderboard: expected parameters, best epoch and the log of epochs for {where} (got less)")
    if record.spec["config"]["train"].get("monitor") == "loss":
        sign, key = -1, "valid_loss"
    else:
        sign, key = (1 if higher_is_better(record.spec["metric"]) else -1), "valid"
    best = max(sign * epoch[key] for epoch in history if key in epoch and epoch[key] == epoch[key])
    chosen = next((epoch for epoch in history if epoch["epoch"] == row["best_epoch"]), None)
    same = chosen is not None and all(chosen[part] == row[part] for part in ("test", "valid"))
    if chosen is None or not same or sign * chosen[key] != best:
        raise ValueError(
            f"leaderboard: expected the scores of the best validation epoch for {where} "
            f"(got test {row['test']:.4f}, validation {row['valid']:.4f} of epoch {row['best_epoch']})"
        )
