"""A model card's Markdown as part of a page: no markup of its own, headings that fit in, tables that read well."""

from __future__ import annotations

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape


def card_html(card: str, name: str, level: int = 3) -> Markup:
    """A card as HTML.

    Parameters
    ----------
    card : str
        Markdown; HTML in it is shown as it stands.
    name : str
        Of the network, for those who hear the page.
    level : int
        Of the heading above: the card's own are below it.

    Returns
    -------
    Markup

    Examples
    --------
    >>> print(card_html("# net <b>\\n\\nwords", "net"))
    <h4>net &lt;b&gt;</h4>
    <p>words</p>
    <BLANKLINE>
    """
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = reader.parse(card)
    heading, found = name, []
    for place, token in enumerate(tokens):
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, level + int(token.tag[1]))}"
            if token.type == "heading_open":
                heading = tokens[place + 1].content
        found += _readable(token, tokens, place, f"{name}: {heading}")
    return Markup(reader.renderer.render(_without_empty_heads(found), reader.options, {}))


def _readable(token: Token, tokens: list[Token], place: int, words: str) -> list[Token]:
    """A table in a frame that scrolls, with a caption; the cells of its head, and the first of a row, as headings."""
    if token.type == "table_open":
        frame = f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(words)}">'
        return [_html(frame), token, _html(f"<caption><span>{escape(words)}</span></caption>")]
    if token.type == "table_close":
        return [token, _html("</div>\n")]
    if token.type == "th_open":
        token.attrSet("scope", "col")
    before = {"td_open": 1, "td_close": 3}.get(token.type)  # how far back a row begins, if this is its first cell
    if before is not None and tokens[place - before].type == "tr_open":
        token.tag = "th"
        if token.type == "td_open":
            token.attrSet("scope", "row")
    return [token]


def _without_empty_heads(tokens: list[Token]) -> list[Token]:
    kept: list[Token] = []
    head: list[Token] = []
    for token in tokens:
        if token.type == "thead_open" or head:
            head.append(token)
            if token.type == "thead_close":
                kept += head if any(t.type == "inline" and t.content for t in head) else []
                head = []
        else:
            kept.append(token)
    return kept


def _html(text: str) -> Token:
    return Token("html_block", "", 0, content=text)
