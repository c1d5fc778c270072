"""`/s.js` as HTTP has it: for everybody, kept by browsers, sent anew only when it is another."""

import gzip
from pathlib import Path
from typing import Any

from tests.support import app

_PAGE = {"Origin": "https://shop.example"}


def _ask(tmp_path: Path, *requests: tuple[str, dict[str, str]]) -> list[app.Answer]:
    """The answers to requests for the script, one after the other: method and header fields."""

    async def ask() -> list[app.Answer]:
        async with app.running(tmp_path) as collector:
            return [
                await collector.request(method, "/s.js", headers=headers)
                for method, headers in requests
            ]

    answers: list[app.Answer] = app.run(ask())
    return answers


def test_every_page_may_run_the_script(tmp_path: Path) -> None:
    """It says that it is a script, and that pages of any origin may have it, once and for all."""
    plain, of_a_page = _ask(tmp_path, ("GET", {}), ("GET", _PAGE))
    for answer in (plain, of_a_page):
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
        assert answer.headers["cache-control"] == "public, max-age=14400"
        assert answer.headers["vary"] == "accept-encoding"
    assert plain.body == of_a_page.body
    assert plain.headers == of_a_page.headers


def test_a_copy_that_is_still_good_is_not_sent_again(tmp_path: Path) -> None:
    """304 and no body to whoever has it, also by a tag that a proxy made weak; else all of it."""
    [first] = _ask(tmp_path, ("GET", {}))
    tag = first.headers["etag"]
    assert tag.startswith('"'), "a strong one"
    known = [tag, f"W/{tag}", f'"other", {tag}', "*"]
    for answer in _ask(tmp_path, *[("GET", {"If-None-Match": one}) for one in known]):
        assert (answer.status, answer.body) == (304, b"")
        assert answer.headers["etag"] == tag
        assert answer.headers["cache-control"] == first.headers["cache-control"]
        assert "content-type" not in answer.headers
    unknown = ['"other"', "", tag.strip('"'), f'{tag[:-1]}-gzip"']
    for answer in _ask(tmp_path, *[("GET", {"If-None-Match": one}) for one in unknown]):
        assert (answer.status, answer.body) == (200, first.body)


def test_whoever_reads_gzip_gets_it(tmp_path: Path) -> None:
    """The same script in fewer bytes, under a tag of its own."""
    plain, packed = _ask(tmp_path, ("GET", {}), ("GET", {"Accept-Encoding": "br, gzip;q=0.8"}))
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert packed.headers["etag"] != plain.headers["etag"]
    again: dict[str, Any] = {"If-None-Match": packed.headers["etag"], "Accept-Encoding": "gzip"}
    [known] = _ask(tmp_path, ("GET", again))
    assert known.status == 304


def test_head_tells_what_get_would(tmp_path: Path) -> None:
    """HEAD has the tag, and 304 where GET has it."""
    [get, head] = _ask(tmp_path, ("GET", {}), ("HEAD", {}))
    assert (head.status, head.headers) == (200, get.headers)
    [known] = _ask(tmp_path, ("HEAD", {"If-None-Match": get.headers["etag"]}))
    assert known.status == 304
