"""Run the claims and rebuild the README's table from their results.

python benchmarks/run_claims.py             every script in benchmarks/claims/
python benchmarks/run_claims.py spmm gat    those named
python benchmarks/run_claims.py --check     run nothing; exit 1 if the README's table is stale
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
CLAIMS = ROOT / "benchmarks" / "claims"
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- claims:begin -->", "<!-- claims:end -->"
_HEADER = "| claim | measured | result | command | commit | hardware |\n|---|---|---|---|---|---|\n"


def main(
    arguments: list[str] | None = None,
    *,
    readme: Path = README,
    results: Path = RESULTS,
    claims: Path = CLAIMS,
) -> int:
    """Run or check; returns the exit status: 1 when a claim fails or the table is stale."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", help="claims to run, by the stem of their script (default: all)")
    parser.add_argument("--check", action="store_true", help="only compare the README's table with the results")
    options = parser.parse_args(arguments)

    text = readme.read_text(encoding="utf-8")
    expected = with_table(text, results)  # before running: missing markers should not cost minutes
    if options.check:
        print("the README's table matches" if text == expected else f"stale: run {Path(__file__).name}")
        return int(text != expected)

    passed = {script.stem: run(script) for script in _scripts(claims, options.names)}
    readme.write_text(with_table(readme.read_text(encoding="utf-8"), results), encoding="utf-8")
    print("\nsummary")
    for name, ok in passed.items():
        print(f"  {'PASS' if ok else 'FAIL'} {name}")
    return int(not all(passed.values()))


def _scripts(claims: Path, names: list[str]) -> list[Path]:
    found = {script.stem: script for script in sorted(claims.glob("*.py"))}
    unknown = [name for name in names if name not in found]
    if unknown:
        raise ValueError(f"expected names among {', '.join(found)} (got {', '.join(unknown)})")
    return [found[name] for name in names or found]


def run(script: Path) -> bool:
    """Run one claim in a process of its own; a crash counts as a failure."""
    print(f"== {script.stem}", flush=True)
    return subprocess.run([sys.executable, str(script)], cwd=ROOT, check=False).returncode == 0


def with_table(text: str, results: Path) -> str:
    """Return the README's text with the table between its markers rebuilt from ``results/*.json``.

    Raises:
        ValueError: The text does not hold each marker once, the beginning first.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        counts = f"{text.count(BEGIN)} and {text.count(END)} of them"
        raise ValueError(f"expected the README to hold {BEGIN} and then {END}, once each (got {counts})")
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    rows = [_row(json.loads(path.read_text(encoding="utf-8"))) for path in sorted(results.glob("*.json"))]
    return f"{head}{BEGIN}\n{_HEADER}{''.join(rows)}{END}{tail}"


def _row(result: dict[str, Any]) -> str:
    machine = result["hardware"]
    hardware = f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_bytes'] / 2**30:.0f} GiB"
    outcome = result["result"] if result["passed"] else f"**FAIL** {result['result']}"
    command, commit = f"`{result['command']}`", f"`{result['commit']}`"
    cells = [result["name"], result["statement"], outcome, command, commit, hardware]
    # A bar would end the cell, a line break the table.
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |\n"


if __name__ == "__main__":
    sys.exit(main())
