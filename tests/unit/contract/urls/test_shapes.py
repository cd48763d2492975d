"""Each kind of wrong line has a sentence that says how to extract its URLs; odd URLs are not among them."""

import pytest

from tests.support.lines import entry, refusal

WRONG = {
    "\ufeffhttp://h/a": "byte order mark",
    "http://h/a\rhttp://h/b": "end with CR alone",
    "http://h/a\rhttp://h/b" + "\rhttp://h/c" * 9_000: "end with CR alone",
    "http://h/a\0http://h/b": "separated by NUL",
    "h\0t\0t\0p\0:\0": "is UTF-16",
    "\0h\0t\0t\0p\0:\0": "is UTF-16",
    '"http://h/a"': "in quotes",
    "'http://h/a'": "in quotes",
    "\u201chttp://h/a\u201d": "in quotes",
    "<http://h/a>": "angle brackets",
    "<a href='http://h/a'>a</a>": "HTML or XML",
    "[a cat](http://h/a)": "Markdown",
    "![a cat](http://h/a)": "Markdown",
    "* [a cat](http://h/a)": "Markdown",
    "- http://h/a": "bullet",
    "12. http://h/a": "bullet",
    "a cat http://h/a": "does not start with the URL",
    "http://h/a.jpg a red cat": "Text follows the URL",
    "http://h/a caption": "Text follows the URL",
    "http://h a caption": "Text follows the URL",
    "http://h/a.jpg A cat. sha256=" + "0" * 64: "Text follows the URL",
    "http://h/a  out=bla": "Only sha256=, md5= and size=",
    "http://h/a name=foo.jpg": "Only sha256=, md5= and size=",
    "http://h/a other=1": "Only sha256=, md5= and size=",
    "http://h/a sha1=abc": "Only sha256=, md5= and size=",
    "http://h/a?b=c out=foo.jpg": "Only sha256=, md5= and size=",
    "  out=foo.jpg": "Only sha256=, md5= and size=",
    "id,url,caption": "CSV: one URL per line is read; cut -d',' -f2 extracts",
    "1,http://h/a,a cat": "CSV: one URL per line is read; cut -d',' -f2 extracts",
    "1;2;http://h/a": "CSV: one URL per line is read; cut -d';' -f3 extracts",
    '"1","http://h/a","a, cat"': "cut -d',' -f2 | tr -d '\"' extracts",
    "http://h/a.jpg,a cat": "CSV: one URL per line is read; cut -d',' -f1 extracts",
    "http://h/a\ta cat": "tab-separated columns: one URL per line is read; cut -f1 extracts",
    "1\thttp://h/a": "tab-separated columns: one URL per line is read; cut -f2 extracts",
    '{"url": "http://h/a"}': "JSON",
    '[{"url": "http://h/a"},' + '{"url": "http://h/a"},' * 9_000: "JSON",
    '  "url": "http://h/a",': "JSON",
    "[": "JSON",
    "www.h.example/a": "put one of them before it",
    "http://user:secret@h/a,b": "user name or password",
    "//h/a, and more": "put one of them before it",
}


@pytest.mark.parametrize(("line", "said"), WRONG.items(), ids=lambda text: ascii(text)[:40])
def test_a_wrong_line_is_refused_according_to_its_shape(line: str, said: str) -> None:
    reason = refusal(line, line=2).reason

    assert said in reason
    assert "secret" not in reason


@pytest.mark.parametrize(
    "url",
    [
        "http://h/my file.jpg", "http://h/my holiday photos/", "http://h/The Cat v1.2 final.pdf",
        "http://h/search?q=a red cat", "http://h/a.jpg,w_200", "http://h/a,http://h/b", "http://h/a;b|c",
        'http://h/"a"', "http://h/<a>", "http://h/[a](b)", "http://h/{a}", "http://h/a=b", "http://h/\ufeff",
    ],
)  # fmt: skip
def test_an_odd_url_is_a_url(url: str) -> None:
    assert entry(url, line=2).url == url
