"""report.pdf is made from the results that are here, and as the course wants it; the grader counts pages rightly."""

import importlib.util
import io
import re
import zlib
from pathlib import Path

import pytest
from pypdf import PdfReader, PdfWriter

from report.__main__ import PDF, digest, main

ROOT = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("grader", ROOT / "test.py")
grader = importlib.util.module_from_spec(spec)
spec.loader.exec_module(grader)


@pytest.fixture(scope="module")
def pdf():
    return PdfReader(PDF)


def test_it_is_up_to_date(pdf):
    assert pdf.metadata["/Keywords"] == f"inputs sha256:{digest()}", "run python -m report"


def test_a_changed_result_shows_in_the_digest(tmp_path, monkeypatch):
    monkeypatch.setattr("report.__main__.ROOT", tmp_path)
    file = tmp_path / "benchmarks" / "results" / "ablations" / "target.json"
    file.parent.mkdir(parents=True)
    found = set()
    for text in ("25.1", "25.2"):
        file.write_text(text)
        found.add(digest())
    file.rename(file.with_name("other.json"))
    assert len(found | {digest()}) == 3


def test_at_most_three_pages_of_a4(pdf):
    assert 1 <= len(pdf.pages) <= 3
    for page in pdf.pages:
        assert [float(side) for side in page.mediabox[2:]] == pytest.approx([595.28, 841.89], abs=0.01)


def fonts(resources):
    """All font dictionaries, those in the figures, too"""
    for font in resources.get("/Font", {}).values():
        font = font.get_object()
        yield from (part.get_object() for part in font.get("/DescendantFonts", [font]))
    for form in resources.get("/XObject", {}).values():
        yield from fonts(form.get_object().get("/Resources", {}))


def test_all_fonts_are_embedded(pdf):
    found = [font for page in pdf.pages for font in fonts(page["/Resources"])]
    assert len({font["/BaseFont"] for font in found}) >= 3
    for font in found:
        files = {"/FontFile", "/FontFile2", "/FontFile3"} & set(font["/FontDescriptor"].get_object())
        assert files, f"{font['/BaseFont']} is not embedded"


def test_the_same_command_gives_the_same_file(tmp_path, monkeypatch):
    pytest.importorskip("typst")
    made = [tmp_path / "first.pdf", tmp_path / "second.pdf"]
    for path in made:
        monkeypatch.setattr("report.__main__.PDF", path)
        main([])
    assert made[0].read_bytes() == made[1].read_bytes()
    assert not list(tmp_path.glob("*.part"))


# The grader's count of pages


def blank(pages):
    writer, out = PdfWriter(), io.BytesIO()
    for _ in range(pages):
        writer.add_blank_page(100, 100)
    writer.write(out)
    return out.getvalue()


def compressed(pages):
    """A PDF whose page tree, of two levels, is in a compressed object stream."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count %d >>" % pages,
        b"<< /Type /Pages /Parent 2 0 R /Kids [4 0 R] /Count 99 >>",
    ]
    offsets = [sum(len(o) + 1 for o in objects[:i]) for i in range(len(objects))]
    head = b" ".join(b"%d %d" % (i + 1, offset) for i, offset in enumerate(offsets)) + b" "
    body = zlib.compress(head + b"\n".join(objects))
    start = b"<< /Type /ObjStm /N %d /First %d /Filter /FlateDecode /Length %d >>" % (
        len(objects),
        len(head),
        len(body),
    )
    return b"%PDF-1.7\n9 0 obj\n" + start + b"\nstream\r\n" + body + b"\nendstream\nendobj\n"


def test_the_grader_counts_pages(pdf):
    assert grader.pdf_pages(PDF.read_bytes()) == len(pdf.pages)
    for pages in (1, 3, 4, 30):
        assert grader.pdf_pages(blank(pages)) == grader.pdf_pages(compressed(pages)) == pages


def test_the_grader_says_when_it_cannot_tell(pdf):
    broken = bytearray(compressed(2))
    broken[broken.index(b"stream\r\n") + 12] ^= 0xFF
    encrypted = PdfWriter(clone_from=io.BytesIO(blank(2)))
    encrypted.encrypt("secret", algorithm="RC4-128")
    out = io.BytesIO()
    encrypted.write(out)
    for data in (b"", b"no PDF at all", bytes(broken), out.getvalue(), blank(2) + blank(3)):
        assert grader.pdf_pages(data) is None


@pytest.mark.parametrize("data, words", [
    (None, "holds a report.pdf"),
    (blank(4), "report.pdf has 4 pages, at most 3"),
    (b"?", "can't be counted"),
    (blank(3), None),
])  # fmt: skip
def test_the_grader_warns(data, words, tmp_path, monkeypatch, capsys):
    package = tmp_path / "Proj_Miniproject2"
    package.mkdir()
    for name in ("__init__.py", "model.py", "bestmodel.pth"):
        (package / name).touch()
    if data is not None:
        (tmp_path / "report.pdf").write_bytes(data)
    monkeypatch.setattr(grader.graded, "package", package, raising=False)
    grader.Course("test_1_structure").test_1_structure()
    printed = capsys.readouterr().out
    assert words in printed if words else printed == ""


def test_no_result_is_typed_into_the_report():
    text = (ROOT / "report" / "report.typ").read_text()
    prose = re.sub(r"#let .*|#set .*|#show .*|num\(.*?\)|//.*", "", text)
    assert not re.findall(r"\b\d\d\.\d+\b(?!cm|pt)", prose)
