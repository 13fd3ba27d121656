"""The page itself; `tests/browser` opens it in a browser."""

import html.parser
from dataclasses import dataclass

import pytest

from smalti.core.table import Table
from smalti.report.html import Drawn, Page, Section, data_uri, render

VOID = {"meta", "link", "img", "input", "br"}


@dataclass
class Said:
    claim: str
    verdict: str
    evidence: str = "one thing; another thing"
    source: str = "A Fig. 1"
    scope: str = "all sigma; n = 64"


class Checked(html.parser.HTMLParser):
    """Tags must close in order; ids, links and texts are collected."""

    def __init__(self, page):
        super().__init__()
        self.open, self.ids, self.links, self.images, self.text = [], [], [], [], ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values["href"]] if tag == "a" else []
        self.images += [values] if tag == "img" else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another"

    def handle_data(self, data):
        if not {"style", "title"} & set(self.open):
            self.text += f"{data} "  # cells stand apart


def page(**more):
    table = Table(
        ("denoiser", "x", "n"), [{"denoiser": f"d{i}", "x": float("nan") if i else 1 / 3, "n": i} for i in range(40)]
    )
    drawn = Drawn("p1", data_uri(b"<svg/>", "svg"), (10, 20), 'an "alternative"', "<b>caption</b>", {"PDF": "f/p1.pdf"})
    sections = [
        Section("w1", "One & two", "Fig. 1", None, [drawn], ["noted"], [("t", table, "tables/t.csv")], 3.25),
        Section("w2", "Missing", "Fig. 2", "needs a network"),
    ]
    claims = [Said("It holds.", "supported"), Said("It fails.", "not supported", "short")]
    given = {"claims": claims, "sections": sections, "counts": Table(("table", "n"), [{"table": "t", "n": 12345}])}
    return render(Page(**{"title": "T", "lead": ["First.", "Second."], **given, **more}))


def test_it_is_whole_html_and_all_of_its_own_links_lead_somewhere():
    found = Checked(page())
    assert len(set(found.ids)) == len(found.ids)
    assert {link[1:] for link in found.links if link.startswith("#")} <= set(found.ids)
    assert {"f/p1.pdf", "tables/t.csv"} <= set(found.links)


def test_what_is_given_is_text_and_never_markup():
    text = page()
    assert "<b>caption</b>" not in text
    assert "<b>caption</b>" in Checked(text).text
    assert Checked(text).images == [
        {"src": "data:image/svg+xml;base64,PHN2Zy8+", "alt": 'an "alternative"', "width": "10", "height": "20"}
    ]


def test_verdicts_are_counted_and_all_evidence_is_there():
    text = " ".join(Checked(page()).text.split())
    assert "1 supported 1 not supported" in text
    assert "one thing 1 more another thing" in text
    assert "No claims were evaluated" in Checked(page(claims=[])).text


def test_long_tables_are_cut_and_say_so():
    text = " ".join(Checked(page()).text.split())
    assert "d29 " in text
    assert "d30 " not in text
    assert "The first 30 rows; all with every digit: tables/t.csv" in text
    assert "0.3333" in text
    assert "12,345" in text
    assert "nan" not in text


def test_missing_exhibits_say_why():
    text = Checked(page()).text
    assert "Not shown here: needs a network." in text
    assert "Fig. 2, not shown" in text


@pytest.mark.parametrize("part", ["facts", "command", "files"])
def test_empty_parts_are_left_out(part):
    full = {"facts": {"Heading": [("a", "b")]}, "command": "smalti x", "files": {"the log": "run.log"}}
    said = {"facts": "Heading", "command": "smalti x", "files": "run.log"}[part]
    assert said in page(**full)
    assert said not in page(**{name: value for name, value in full.items() if name != part})
