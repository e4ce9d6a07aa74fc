"""Draw the formulas of docstrings while the site is built, so that a reader needs no script and no network."""

import io
import re
from html import escape
from typing import Any

from markdown import Markdown
from markdown.extensions import Extension
from markdown.preprocessors import Preprocessor
from matplotlib import rc_context
from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import math_to_image

DISPLAY = re.compile(r"\s*\.\. math:: (?P<tex>.+)")  # reStructuredText, on one line
INLINE = re.compile(r":math:`(?P<tex>[^`\\_^]+)`")  # what needs no drawing: letters, signs, brackets


class Formulas(Preprocessor):
    """Replace ``.. math:: TEX`` by a picture and ``:math:`TEX``` by italics."""

    def run(self, lines: list[str]) -> list[str]:
        return [self._line(line) for line in lines]

    def _line(self, line: str) -> str:
        if found := DISPLAY.fullmatch(line):
            return self.md.htmlStash.store(f'<p class="formula">{svg(found["tex"].strip())}</p>')
        return INLINE.sub(r"*\g<tex>*", line)


class FormulaExtension(Extension):
    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802 (Markdown's name)
        md.preprocessors.register(Formulas(md), "formulas", 29)  # after what strips its marks


def svg(tex: str) -> str:
    """Draw a formula in the colour of the text around it."""
    picture = io.StringIO()
    style = {"svg.hashsalt": "gnnkit", "mathtext.fontset": "stix", "savefig.facecolor": "none"}
    known = re.sub(r"\\le(?![a-z])", r"\\leq", tex)  # matplotlib does not know TeX's short name
    with rc_context(style):
        math_to_image(f"${known}$", picture, FontProperties(size=13), format="svg")
    drawn = picture.getvalue()
    # what is left is paths: no background, no style for the page around it, no id but those of the glyphs
    drawn = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r' id="[a-z]+_\d+"', "", drawn[drawn.index("<svg") :])
    return drawn.replace("<svg ", f'<svg role="img" aria-label="{escape(tex)}" style="fill: currentColor" ', 1)


def on_config(config: Any) -> Any:
    """Run by MkDocs as a hook: every page and every docstring is read with the extension."""
    config["markdown_extensions"].append(FormulaExtension())
    return config
