"""The Corpus tab as a person uses it: good files and bad ones, texts of ours, pages, names, deletion."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page as Tab
from playwright.sync_api import expect

from nanollm.data.builtin import VARIABLE
from nanollm.data.corpus import CorpusStore
from nanollm.runs.store import RunStore
from tests.browser.conftest import Come
from tests.serving import Page, serve

TEXT = "the cat sat on the mat, and the rat ran from the cat.\n"
CAT = "Кошка сидела на окне и смотрела на снег.\n"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A page that looks for Tiny Shakespeare where it is not, whatever the machine's network."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(home / "nowhere.txt"))
        with serve(home) as page:
            yield page


@pytest.fixture
def tab(come: Come, page: Page) -> Tab:
    """The Corpus tab, filled in."""
    tab = come(page.address, "?tab=corpus").tab
    expect(tab.locator("#corpus-card .preview")).to_contain_text("PENNOW", ignore_case=True)
    expect(tab.locator("#corpus-outlook .ladder dt")).to_have_count(4)
    return tab


def upload(tab: Tab, path: Path, content: bytes) -> None:
    path.write_bytes(content)
    tab.locator("#corpus-upload input[type=file]").set_input_files(path)


def facts(tab: Tab, characters: int) -> None:
    expect(tab.locator("#corpus-card .facts")).to_contain_text(f"{characters:,} characters")


def kept(page: Page) -> CorpusStore:
    return CorpusStore(page.home / "data" / "corpora")


def test_a_file_is_turned_over_page_by_page(tab: Tab, tmp_path: Path) -> None:
    lines = [f"line {n:06} of many\n" for n in range(60_000)]
    upload(tab, tmp_path / "long.txt", "".join(lines).encode())
    facts(tab, 60_000 * len(lines[0]))
    preview, number = tab.locator("#corpus-card .preview"), tab.locator("#corpus-card .pager input")
    expect(preview).to_contain_text("line 000000")
    tab.locator("#corpus-card .after").click()
    expect(preview).to_contain_text("line 001000")
    number.press_sequentially("13")
    number.press("Enter")
    expect(preview).to_contain_text("line 012000")
    number.press_sequentially("60")
    number.press("Enter")
    expect(preview).to_contain_text("line 059999")
    expect(tab.locator("#corpus-card .after")).to_be_disabled()
    number.press_sequentially("999")
    number.press("Enter")
    expect(number).to_have_value("60")
    expect(tab.locator("#corpus-card .legend")).to_contain_text("the last 120,000 held out")


def test_a_file_in_another_encoding_is_read_as_the_person_says(tab: Tab, page: Page, tmp_path: Path) -> None:
    upload(tab, tmp_path / "cat.txt", (CAT * 50).encode("cp1251"))
    expect(tab.locator("#corpus-problem")).to_contain_text("not valid UTF-8")
    tab.locator("#corpus-readings label", has_text="Кошка").click()
    facts(tab, len(CAT) * 50)
    expect(tab.locator("#corpus-card .preview")).to_contain_text(CAT.strip())
    expect(tab.locator("#corpus-problem")).to_be_hidden()
    expect(tab.locator("#corpus-readings")).to_be_hidden()
    info = next(one for one in kept(page).list() if one.name == "cat.txt")
    assert kept(page).read(info.sha256) == CAT * 50


def test_what_is_no_text_is_refused_and_leaves_nothing(tab: Tab, page: Page, tmp_path: Path) -> None:
    before = kept(page).list()
    picture = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9
    for name, content, sentence in (("blank", b" \n", "empty"), ("picture", picture, "not valid UTF-8")):
        upload(tab, tmp_path / f"{name}.txt", content)
        expect(tab.locator("#corpus-problem")).to_contain_text(sentence)
        expect(tab.locator("#corpus-readings")).to_be_hidden()
        expect(tab.locator("#corpus-upload")).to_contain_text("Drop File")  # ready for another
    assert kept(page).list() == before


@pytest.mark.slow
def test_a_pasted_text_shows_what_hides_in_it(tab: Tab) -> None:
    tab.locator("#corpus-paste textarea").fill(TEXT * 9 + "od\u200bd<b>&amp;${1+1}\ue000")
    tab.locator("#corpus-use").click()
    facts(tab, len(TEXT) * 9 + 19)
    expect(tab.locator("#corpus-paste textarea")).to_have_value("")
    odd = tab.locator("#corpus-card .unusual")
    expect(odd.locator("summary")).to_have_text("Unusual characters: 2")
    odd.locator("summary").click()
    expect(odd).to_contain_text("1 × U+200B ZERO WIDTH SPACE: invisible")
    expect(odd).to_contain_text("1 × U+E000: private use")
    tab.locator("#corpus-card .signs summary").click()
    expect(tab.locator("#corpus-card .frequencies")).to_contain_text("␣")
    expect(tab.locator("#corpus-card .preview")).to_contain_text("<b>&amp;${1+1}")
    tab.locator("#corpus-outlook .sizes summary").click()
    expect(tab.locator("#corpus-outlook .sizes")).to_contain_text("Too little text")


@pytest.mark.slow
def test_texts_of_ours_come_when_chosen(tab: Tab, page: Page) -> None:
    tab.locator("#corpus-texts .ours .pick", has_text="Python documentation").click()
    expect(tab.locator("#corpus-texts .chosen")).to_contain_text("Python documentation")
    expect(tab.locator("#corpus-card .facts")).to_contain_text(re.compile("[0-9]{3},[0-9]{3} characters"))
    assert any(one.builtin == "python-documentation" for one in kept(page).list())
    # What cannot be had says why, and changes nothing.
    tab.locator("#corpus-texts .ours .pick", has_text="Tiny Shakespeare").click()
    expect(tab.locator("#corpus-problem")).to_contain_text("nowhere.txt', which cannot be read")
    expect(tab.locator("#corpus-texts .chosen")).to_contain_text("Python documentation")


@pytest.mark.slow
def test_a_name_is_changed_and_a_text_that_a_run_needs_stays(tab: Tab, page: Page, tmp_path: Path) -> None:
    upload(tab, tmp_path / f"{'long name ' * 15}.txt", (TEXT * 100).encode())
    facts(tab, len(TEXT) * 100)
    row = tab.locator("#corpus-texts .yours li.chosen")
    row.locator(".more").click()
    row.locator("button", has_text="Rename").click()
    row.locator("input").fill("<i>cats</i>")
    row.locator("input").press("Enter")
    expect(row.locator(".title")).to_have_text("<i>cats</i>")
    info = next(one for one in kept(page).list() if one.name == "<i>cats</i>")

    store = RunStore(page.home / "checkpoints")
    run = store.create(settings={"num_steps": 5}, corpus=info, preset="nano", title="needs it", queued=False)

    def delete() -> None:
        row.locator(".more").click()
        row.locator("button", has_text="Delete").click()
        row.locator("button.danger").click()

    delete()
    expect(tab.locator("[data-testid=toast-body]")).to_contain_text("'needs it' still needs this text")
    assert kept(page).get(info.sha256) == info
    store.delete(run.id)
    delete()
    expect(tab.locator("#corpus-texts .chosen")).to_contain_text("sample.txt")
    assert info not in kept(page).list()


@pytest.mark.slow
def test_a_text_is_taken_to_train(tab: Tab, tmp_path: Path) -> None:
    upload(tab, tmp_path / "to train on.txt", (TEXT * 60).encode())
    facts(tab, len(TEXT) * 60)
    tab.locator("#corpus-train").click()
    tab.locator("body[data-tab=train]").wait_for()
    expect(tab.locator("#train-corpus input")).to_have_value("to train on.txt")


def test_a_text_that_went_meanwhile_leaves_list_and_card(tab: Tab, page: Page, tmp_path: Path) -> None:
    upload(tab, tmp_path / "soon gone.txt", (TEXT * 50).encode())
    facts(tab, len(TEXT) * 50)
    tab.get_by_role("tab", name="Train", exact=True).click()
    tab.locator("body[data-tab=train]").wait_for()
    info = next(one for one in kept(page).list() if one.name == "soon gone.txt")
    kept(page).delete(info.sha256)
    tab.get_by_role("tab", name="Corpus", exact=True).click()
    expect(tab.locator("#corpus-card .name")).to_have_text("sample.txt")
    expect(tab.locator("#corpus-texts .chosen")).to_contain_text("sample.txt")


@pytest.mark.slow
def test_whoever_stays_learns_how_long_each_size_takes_here(tab: Tab) -> None:
    tab.locator("#corpus-outlook .sizes summary").click()
    expect(tab.locator("#corpus-outlook .sizes")).to_contain_text(re.compile(r"About \d.* here\."), timeout=120_000)
