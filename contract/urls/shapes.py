"""Recognises lines that are not URLs, and says how to extract the URLs: one sentence for each kind of line.

Other formats are not read; the sentence names the command that converts them to a list.
"""

from __future__ import annotations

import re

_HOW_MUCH = 2048  # characters inspected
_URL = re.compile(r"https?://", re.IGNORECASE)
_QUOTES = "\"'`\u201c\u201d\u2018\u2019\u00ab\u201e"
_TITLE = re.compile(r"\W*\w*(?:url|uri|link|href|src)\w*\W*", re.IGNORECASE)  # of a column
_UTF16 = re.compile("\0?(?:[^\0]\0){3}|(?:\0[^\0]){3}")
_JSON_LINE = re.compile(r"""\{|\[\s*[\[{"']|"[^"]*"\s*:|[\[\]{}],?\Z""")
_MARKDOWN = re.compile(r"(?:[-*+]\s+)?!?\[[^\]]*\]\(")
_BULLET = re.compile(r"(?:[-*+\u2022]|\d+[.)])\s+https?://", re.IGNORECASE)
_OPTION = re.compile(r"[A-Za-z][A-Za-z0-9_-]*=")
# What other downloaders, and people, write after a URL (aria2c(1), "Input File"); more if the URL has no query.
_KNOWN_OPTION = re.compile(
    r"(?:out|output|dir|name|file|filename|header|referer|user-agent|checksum|gid|split|sha1|sha512|crc32c?)=",
    re.IGNORECASE,
)
_ENDS_LIKE_A_URL = re.compile(r".*(?:[/?=&%]|\.[A-Za-z][A-Za-z0-9]{1,4}\Z)", re.DOTALL)

_JSON = "This looks like JSON: one URL per line is read; jq -r extracts a field: jq -r .url LIST."
_OPTIONS = "Only sha256=, md5= and size= may follow a URL; remove anything else."
_CAPTION = "Text follows the URL after a space; keep the URL alone, or write a space within it as %20."


def shape_of(line: str) -> str | None:
    """Say what a refused line looks like; None if it looks like nothing known, or like a URL."""
    text = line[:_HOW_MUCH]
    if _URL.match(text):
        return _encoding(text)
    return _encoding(text) or _markup(text) or _columns(text) or _surroundings(text)


def fault_of_rest(text: str) -> str | None:
    """Say what is wrong with the text after a URL and a blank; None if the blank may belong to the URL.

    It may if the last word ends like a URL, or if the blank is in the query: ``http://h/my file.jpg``.
    """
    first, *rest = text.split()
    if "\t" in text:
        return _tsv(text)
    if any(_KNOWN_OPTION.match(word) or ("?" not in first and _OPTION.match(word)) for word in rest):
        return _OPTIONS
    if "?" in first or _ENDS_LIKE_A_URL.fullmatch(rest[-1]):
        return None
    return _columns(text) if "," in first else _CAPTION


def _encoding(text: str) -> str | None:
    if text.startswith("\ufeff"):
        return "The line begins with a byte order mark, as in files put together with cat; remove it."
    if text.startswith(("\xff\xfe", "\xfe\xff")) or _UTF16.match(text):
        return "The list is UTF-16; convert it: iconv -f UTF-16 -t UTF-8 LIST."
    if "\0" in text and _URL.search(text.partition("\0")[2]):
        return "The URLs are separated by NUL characters; convert the list: tr '\\0' '\\n' < LIST."
    if "\r" in text:
        return "The lines end with CR alone; convert the list: tr '\\r' '\\n' < LIST."
    return None


def _markup(text: str) -> str | None:
    if _JSON_LINE.match(text):
        return _JSON
    if text.startswith("<"):
        if _URL.match(text, 1):
            return "The URL is in angle brackets; remove them."
        return "This looks like HTML or XML: one URL per line is read; put its addresses into a list."
    if _MARKDOWN.match(text):
        return "This looks like a Markdown link: keep the URL alone, without text and brackets."
    return None


def _columns(text: str) -> str | None:
    if "\t" in text:
        return _tsv(text)
    for separator in ",;|":
        column = _column(text, separator)
        if column:
            unquoted = " | tr -d '\"'" if '"' in text else ""
            cut = f"cut -d'{separator}' -f{column}{unquoted}"
            return f"This looks like CSV: one URL per line is read; {cut} extracts a column."
    return None


def _tsv(text: str) -> str:
    cut = f"cut -f{_column(text, chr(9)) or 1}"
    return f"This looks like tab-separated columns: one URL per line is read; {cut} extracts a column."


def _column(text: str, separator: str) -> int | None:
    """Return the number of the column that holds the URL, or whose title says so; None if there is none."""
    cells = text.split(separator)
    for number, cell in enumerate(cells, start=1):
        if len(cells) > 1 and (_URL.match(cell.strip().strip(_QUOTES)) or _TITLE.fullmatch(cell.strip())):
            return number
    return None


def _surroundings(text: str) -> str | None:
    if text[0] in _QUOTES:
        return "The URL is in quotes; remove them."
    if _BULLET.match(text):
        return "The line begins with a bullet or a number; keep the URL alone."
    if _KNOWN_OPTION.match(text):
        return _OPTIONS
    if _URL.search(text, 1):
        return "The line does not start with the URL; keep the URL alone."
    return None
