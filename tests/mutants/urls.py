"""The guards of URLs: what a line, a host, a name or a redirect must not be."""

from __future__ import annotations

from tests.mutants.guard import Guard

_TESTS = (
    "tests/unit/contract/urls/test_lines.py",
    "tests/unit/contract/urls/test_intake.py",
    "tests/unit/contract/urls/test_properties.py",
)


def _urls(text: str, instead: str = "") -> Guard:
    return Guard("contract/urls/lines.py", text, _TESTS, instead)


def _hosts(text: str, instead: str = "") -> Guard:
    return Guard("contract/urls/hosts.py", text, _TESTS, instead)


def _naming(text: str, instead: str = "") -> Guard:
    return Guard("contract/urls/naming.py", text, ("tests/unit/contract/urls/test_naming.py",), instead)


def _redirects(text: str, instead: str = "") -> Guard:
    return Guard("worker/engine/http/redirects.py", text, ("tests/unit/worker/engine/http/test_redirects.py",), instead)


GUARDS = (
    _urls("if line == 1:", "if True:"),
    _urls("exact = exact.strip(_BLANKS)", "exact = exact.strip()"),
    _urls("if len(exact) > _LONGEST_LINE:", "if False:"),
    _urls("    except UnicodeDecodeError:", "    except KeyError:"),
    _urls("exact = text.encode()", "pass"),
    _urls("return _refusal(exact, expect.reason, line)", "expect = None"),
    _urls('and "/." not in url', ""),
    _urls("and len(url) <= LONGEST_URL", ""),
    _urls("    if length > LONGEST_URL:", "    if False:"),
    _urls("    except UnicodeEncodeError:", "    except KeyError:"),
    _urls('if control and control[0] == "\\0":', "if False:"),
    _urls("    if control:", "    if False:"),
    _urls("if len(start) > _LONGEST_ORIGIN:", "if False:"),
    _urls("len(origin.wire) + len(rest) > LONGEST_URL", "False"),
    _urls('if "\\\\" in authority:', "if False:"),
    _urls('if "@" in authority:', "if False:"),
    _urls("if not 0 < port < 65536:", "if False:"),
    _urls("if port in BAD_PORTS:", "if False:"),
    _urls('return quote(text, safe="!$&\'()*+,;=:@/?%[]")', "return text"),
    _urls('safe="!$&\'()*+,;=:@/?%[]"', 'safe="!$&\'()*+,;=:@/?[]"'),
    _urls("if len(values) < len(found):", "if False:"),
    _urls("if not _VALUES[key].fullmatch(value):", "if False:"),
    _urls("re.IGNORECASE | re.ASCII | re.DOTALL", "re.IGNORECASE | re.DOTALL"),
    _urls('=(.*)", re.IGNORECASE | re.ASCII)', '=(.*)", re.IGNORECASE)'),
    _urls('_UNSHOWABLE.sub("\\N{REPLACEMENT CHARACTER}", text[:_LONGEST_SHOWN])', "text[:_LONGEST_SHOWN]"),
    _urls('_CONTROL = re.compile(r"[\\x00-\\x1f\\x7f-\\x9f]")', '_CONTROL = re.compile(r"[\\x00-\\x1f\\x7f]")'),
    _hosts("if len(spelling) > _LONGEST_SPELLING:", "if False:"),
    _hosts('if "%" in spelling', "if False"),
    _hosts("    except UnicodeDecodeError:", "    except KeyError:"),
    _hosts("    except idna.InvalidCodepoint:", "    except KeyError:"),
    _hosts("idna.uts46_remap(name, std3_rules=False)", "name"),
    _hosts("if len(name) > 253:", "if False:"),
    _hosts("if not _LABEL.fullmatch(label):", "if False:"),
    _hosts('if label.startswith("xn--") and', "if False and"),
    _hosts("and idna.uts46_remap(label, std3_rules=False) == label", ""),
    _hosts("if _LOOKS_NUMERIC.fullmatch(labels[-1]):", "if False:"),
    _hosts("len(numbers) > 4 or", ""),
    _hosts("or any(number > 255 for number in leading)", ""),
    _hosts("or last >= 256 ** (5 - len(numbers))", ""),
    _hosts("    if not match:", "    if False:"),
    _hosts('8 if match["octal"] else 10', "10"),
    _hosts("if mapped is not None else str(address)", "if False else str(address.exploded)"),
    _hosts('ascii_name.removesuffix(".")', "ascii_name"),
    _naming("if not _NAME.fullmatch(name):", "if False:"),
    _naming('_NAME = re.compile(r"[0-9a-f]{32}")', '_NAME = re.compile(r"[0-9a-f]*")'),
    _redirects("if status not in FOLLOWED:", "if False:"),
    _redirects("if len(trail) > longest:", "if False:"),
    _redirects("if not reference:", "if False:"),
    _redirects("if Asked(to.target, cookies_for(to)) in trail:", "if False:"),
    _redirects("if Asked(to.target, cookies_for(to)) in trail:", "if Asked(to.target) in trail:"),
    _redirects("if Asked(to.target, cookies_for(to)) in trail:", "if to.target in {each.target for each in trail}:"),
    _redirects('current.startswith("https:") and to.scheme == "http"', "False"),
    _redirects('current.startswith("https:") and ', ""),
    _redirects("    except UnicodeDecodeError:\n        return _NOT",
        '    except UnicodeDecodeError:\n        return location.decode("latin-1")\n        return _NOT'),
    _redirects('.strip(" \\t")', ""),
    _redirects("given['query'] or query", "given['query']"),
    _redirects('.replace("\\t", "")', ""),
    _redirects('.replace("\\\\", "/")', ""),
    _redirects("reference[:end].replace(", "reference.replace("),
    _redirects('and not text.startswith("//")', ""),
    _redirects('scheme[1].lower() == own["scheme"] and', ""),
    _redirects('or _names_host(text, own["authority"])', ""),
    _redirects('or re.fullmatch(r".+:[0-9]+", first) is not None', ""),
    _redirects("first.lower() == authority[2:] or", ""),
    _redirects("return f\"{scheme[1]}://{text.lstrip('/')}\"", 'return f"{scheme[1]}:{text}"'),
    _redirects("return f\"{own['scheme']}://{text.lstrip('/')}\"", "return f\"{own['scheme']}:{text}\""),
)  # fmt: skip
