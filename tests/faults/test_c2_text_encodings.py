"""Guarantee C2: any bytes are decoded to a clean text or refused with a message, never with a traceback."""

from __future__ import annotations

import codecs
import encodings.aliases
import io
import warnings
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanollm.data import corpus
from nanollm.data import decoding as plaintext
from nanollm.data.corpus import CorpusStore
from nanollm.data.encodings import likely_encodings
from nanollm.errors import InputError

MARKS = [b"", b"", codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE]
ENCODINGS = sorted({*encodings.aliases.aliases.values(), "idna", "punycode", "undefined", "unicode_escape", "nonsense"})


@st.composite
def damaged_bytes(draw: st.DrawFn) -> bytes:
    """A text in a random encoding with a random byte order mark, damaged by cuts, splices and insertions."""
    text = draw(
        st.text(st.one_of(st.sampled_from("\r\n\0 aé漢🦊"), st.characters(exclude_categories=["Cs"])), max_size=12)
    )
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "latin-1"]))
    data = draw(st.sampled_from(MARKS)) + text.encode(encoding, "replace")
    place = draw(st.integers(0, len(data)))
    return draw(
        st.sampled_from([data, data[:place], data[place:], data[:place] + draw(st.binary(max_size=4)) + data[place:]])
    )


@settings(max_examples=2000)
@given(damaged_bytes(), st.one_of(st.none(), st.just("latin-1"), st.sampled_from(ENCODINGS)), st.integers(1, 5))
def test_any_bytes_are_decoded_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, encoding: str | None, chunk: int
) -> None:
    folder = Path(tmp_path_factory.getbasetemp()) / "strange"
    folder.mkdir(exist_ok=True)
    store, file = CorpusStore(folder / "corpora"), folder / "file.txt"
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated escape sequences
        patch.setattr(plaintext, "CHUNK", chunk)
        patch.setattr(corpus, "CHUNK", chunk)
        try:
            pieces = list(plaintext.decode_file(io.BytesIO(data), encoding=encoding, limit=99))
            plaintext.TextCounter(pieces).require_text()
        except InputError as error:
            assert 0 < len(str(error)) < 200
            with pytest.raises(InputError):
                store.add(data, "strange", encoding=encoding)
            return
        text = "".join(pieces)
        assert text.strip() and "\r" not in text and "\0" not in text
        file.write_bytes(data)
        info = store.add_file(file, encoding=encoding)
        assert info == store.get(info.sha256) and store.read(info.sha256) == text
        assert info.characters == len(text)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1", "cp1252", "mac_roman", "koi8_r"])
def test_decoding_in_chunks_equals_decoding_at_once(encoding: str) -> None:
    """For every single byte, alone and after valid text."""
    for byte in range(256):
        for data in (bytes([byte]), "ab".encode(encoding) + bytes([byte, byte])):
            try:
                expected = data.decode(encoding)
            except UnicodeDecodeError:
                with pytest.raises(InputError, match="is not valid"):
                    list(plaintext.decode_file(io.BytesIO(data), encoding=encoding, limit=99))
            else:
                pieces = plaintext.decode_file(io.BytesIO(data), encoding=encoding, limit=99)
                assert "".join(pieces) == expected.replace("\r", "\n")


@settings(max_examples=500)
@given(damaged_bytes())
def test_suggested_encodings_can_decode_the_file(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """The files are short, so the suggested encoding was checked on the whole file."""
    path = Path(tmp_path_factory.getbasetemp()) / "offered.txt"
    path.write_bytes(data)
    found = likely_encodings(path)
    assert len({reading.excerpt for reading in found if len(reading.excerpt) < 22}) <= len(found) <= 17
    for reading in found:
        assert "\0" not in reading.excerpt and "\n" not in reading.excerpt
        with suppress(plaintext.WrongEncodingError):  # the last character may be incomplete
            pieces = list(corpus.read_file(path, encoding=reading.encoding))
            assert "\0" not in "".join(pieces)
