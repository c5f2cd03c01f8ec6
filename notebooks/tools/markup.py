"""Markdown to HTML with MathML in place of TeX and coloured code: what a page needs, it holds."""

from __future__ import annotations

import re

from latex2mathml.converter import convert
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name

TAG = re.compile(r"\\tag\{([^}]*)\}")


def markup(text: str, inline: bool = False) -> str:
    """HTML of Markdown; `inline` for one line without a paragraph around it."""
    return READER.renderInline(text) if inline else READER.render(text)


def highlighted(code: str, language: str) -> str:
    return highlight(code, get_lexer_by_name(language), HtmlFormatter(cssclass="code"))


def _math(text: str, options: dict) -> str:
    """MathML of TeX; a number given by \\tag stands at the right."""
    if not options["display_mode"]:
        return convert(text)
    number = TAG.search(text)
    tail = f'<span class="number">({number[1]})</span>' if number else ""
    return f'<div class="equation">{convert(TAG.sub("", text), display="block")}{tail}</div>'


def _fence(self, tokens, index, options, env) -> str:
    return highlighted(tokens[index].content, tokens[index].info or "text")


READER = MarkdownIt("commonmark", {"html": True}).enable("table")
READER.use(dollarmath_plugin, renderer=_math, double_inline=True)
READER.add_render_rule("fence", _fence)
