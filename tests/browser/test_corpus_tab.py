"""The Corpus tab in a browser: uploads, encodings, built-in texts, preview pages, renaming and deletion."""

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
from tests.browser.conftest import OpenVisit
from tests.serving import Page, serve

TEXT = "the cat sat on the mat, and the rat ran from the cat.\n"
CAT = "Кошка сидела на окне и смотрела на снег.\n"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A page whose download of Tiny Shakespeare always fails."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(home / "nowhere.txt"))
        with serve(home) as page:
            yield page


@pytest.fixture
def tab(open_visit: OpenVisit, page: Page) -> Tab:
    """The Corpus tab after loading."""
    tab = open_visit(page.address, "?tab=corpus").tab
    expect(tab.locator("#corpus-card .preview")).to_contain_text("PENNOW", ignore_case=True)
    expect(tab.locator("#corpus-outlook .ladder dt")).to_have_count(4)
    return tab


def upload(tab: Tab, path: Path, content: bytes) -> None:
    path.write_bytes(content)
    tab.locator("#corpus-upload input[type=file]").set_input_files(path)


def expect_characters(tab: Tab, characters: int) -> None:
    expect(tab.locator("#corpus-card .facts")).to_contain_text(f"{characters:,} characters")


def stored_texts(page: Page) -> CorpusStore:
    return CorpusStore(page.home / "data" / "corpora")


def test_a_long_file_is_previewed_in_pages(tab: Tab, tmp_path: Path) -> None:
    lines = [f"line {n:06} of many\n" for n in range(60_000)]
    upload(tab, tmp_path / "long.txt", "".join(lines).encode())
    expect_characters(tab, 60_000 * len(lines[0]))
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


def test_a_file_is_read_in_the_encoding_that_the_user_selects(tab: Tab, page: Page, tmp_path: Path) -> None:
    upload(tab, tmp_path / "cat.txt", (CAT * 50).encode("cp1251"))
    expect(tab.locator("#corpus-problem")).to_contain_text("not valid UTF-8")
    tab.locator("#corpus-readings label", has_text="Кошка").click()
    expect_characters(tab, len(CAT) * 50)
    expect(tab.locator("#corpus-card .preview")).to_contain_text(CAT.strip())
    expect(tab.locator("#corpus-problem")).to_be_hidden()
    expect(tab.locator("#corpus-readings")).to_be_hidden()
    info = next(one for one in stored_texts(page).list() if one.name == "cat.txt")
    assert stored_texts(page).read(info.sha256) == CAT * 50


def test_invalid_files_are_refused_and_not_stored(tab: Tab, page: Page, tmp_path: Path) -> None:
    before = stored_texts(page).list()
    image = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9
    for name, content, message in (("blank", b" \n", "empty"), ("image", image, "not valid UTF-8")):
        upload(tab, tmp_path / f"{name}.txt", content)
        expect(tab.locator("#corpus-problem")).to_contain_text(message)
        expect(tab.locator("#corpus-readings")).to_be_hidden()
        expect(tab.locator("#corpus-upload")).to_contain_text("Drop File")  # ready for another file
    assert stored_texts(page).list() == before


@pytest.mark.slow
def test_unusual_characters_of_a_pasted_text_are_listed(tab: Tab) -> None:
    tab.locator("#corpus-paste textarea").fill(TEXT * 9 + "od\u200bd<b>&amp;${1+1}\ue000")
    tab.locator("#corpus-use").click()
    expect_characters(tab, len(TEXT) * 9 + 19)
    expect(tab.locator("#corpus-paste textarea")).to_have_value("")
    unusual = tab.locator("#corpus-card .unusual")
    expect(unusual.locator("summary")).to_have_text("Unusual characters: 2")
    unusual.locator("summary").click()
    expect(unusual).to_contain_text("1 × U+200B ZERO WIDTH SPACE: invisible")
    expect(unusual).to_contain_text("1 × U+E000: private use")
    tab.locator("#corpus-card .signs summary").click()
    expect(tab.locator("#corpus-card .frequencies")).to_contain_text("␣")
    expect(tab.locator("#corpus-card .preview")).to_contain_text("<b>&amp;${1+1}")
    tab.locator("#corpus-outlook .sizes summary").click()
    expect(tab.locator("#corpus-outlook .sizes")).to_contain_text("Too little text")


@pytest.mark.slow
def test_a_builtin_text_is_added_when_selected(tab: Tab, page: Page) -> None:
    tab.locator("#corpus-texts .ours .pick", has_text="Python documentation").click()
    expect(tab.locator("#corpus-texts .chosen")).to_contain_text("Python documentation")
    expect(tab.locator("#corpus-card .facts")).to_contain_text(re.compile("[0-9]{3},[0-9]{3} characters"))
    assert any(one.builtin == "python-documentation" for one in stored_texts(page).list())
    # A failed download shows the reason and keeps the selection.
    tab.locator("#corpus-texts .ours .pick", has_text="Tiny Shakespeare").click()
    expect(tab.locator("#corpus-problem")).to_contain_text("nowhere.txt', which cannot be read")
    expect(tab.locator("#corpus-texts .chosen")).to_contain_text("Python documentation")


@pytest.mark.slow
def test_a_text_can_be_renamed_but_not_deleted_while_a_run_needs_it(tab: Tab, page: Page, tmp_path: Path) -> None:
    upload(tab, tmp_path / f"{'long name ' * 15}.txt", (TEXT * 100).encode())
    expect_characters(tab, len(TEXT) * 100)
    row = tab.locator("#corpus-texts .yours li.chosen")
    row.locator(".more").click()
    row.locator("button", has_text="Rename").click()
    row.locator("input").fill("<i>cats</i>")
    row.locator("input").press("Enter")
    expect(row.locator(".title")).to_have_text("<i>cats</i>")
    info = next(one for one in stored_texts(page).list() if one.name == "<i>cats</i>")

    store = RunStore(page.home / "checkpoints")
    run = store.create(settings={"num_steps": 5}, corpus=info, preset="nano", title="needs it", queued=False)

    def delete() -> None:
        row.locator(".more").click()
        row.locator("button", has_text="Delete").click()
        row.locator("button.danger").click()

    delete()
    expect(tab.locator("[data-testid=toast-body]")).to_contain_text("'needs it' still needs this text")
    assert stored_texts(page).get(info.sha256) == info
    store.delete(run.id)
    delete()
    expect(tab.locator("#corpus-texts .chosen")).to_contain_text("sample.txt")
    assert info not in stored_texts(page).list()


@pytest.mark.slow
def test_the_train_button_selects_the_text_in_train(tab: Tab, tmp_path: Path) -> None:
    upload(tab, tmp_path / "to train on.txt", (TEXT * 60).encode())
    expect_characters(tab, len(TEXT) * 60)
    tab.locator("#corpus-train").click()
    tab.locator("body[data-tab=train]").wait_for()
    expect(tab.locator("#train-corpus input")).to_have_value("to train on.txt")


def test_a_text_deleted_elsewhere_disappears_from_list_and_card(tab: Tab, page: Page, tmp_path: Path) -> None:
    upload(tab, tmp_path / "deleted later.txt", (TEXT * 50).encode())
    expect_characters(tab, len(TEXT) * 50)
    tab.get_by_role("tab", name="Train", exact=True).click()
    tab.locator("body[data-tab=train]").wait_for()
    info = next(one for one in stored_texts(page).list() if one.name == "deleted later.txt")
    stored_texts(page).delete(info.sha256)
    tab.get_by_role("tab", name="Corpus", exact=True).click()
    expect(tab.locator("#corpus-card .name")).to_have_text("sample.txt")
    expect(tab.locator("#corpus-texts .chosen")).to_contain_text("sample.txt")


@pytest.mark.slow
def test_measured_times_per_size_appear_after_a_while(tab: Tab) -> None:
    tab.locator("#corpus-outlook .sizes summary").click()
    expect(tab.locator("#corpus-outlook .sizes")).to_contain_text(re.compile(r"About \d.* here\."), timeout=120_000)
