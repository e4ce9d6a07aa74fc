"""``torchrun … -m gnnkit.pipeline`` is ``gnnkit pipeline`` in every process."""

import sys

from gnnkit.cli import main

main(["pipeline", *sys.argv[1:]])
