"""Flame graphs: stacks are read and tidied, the tree adds up, the picture is well-formed."""

import re
import xml.etree.ElementTree as ET
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import flamegraph, stacks
from bench.flame import LookFailed, picture
from bench.flamegraph import Frame, Stack, clipped, draw, grown, placed

_ROOT = "main (bench/flame.py:9);run_forever (loop.c:1);task_step (_asynciomodule.c:2)"
_TAKE = "Edge.answer (collector/asgi.py:95);Pipeline._take (collector/pipeline.py:{line})"
SVG = "{http://www.w3.org/2000/svg}"


def _frames(*names: str) -> Stack:
    return tuple(Frame(name, "collector") for name in names)


# --- stacks


def test_frames_are_named_by_module_and_function() -> None:
    """What is called where in our packages, in C, in libraries; lines do not tell frames apart."""
    take_7, take_9 = (f"{_ROOT};{_TAKE.format(line=line)}" for line in (7, 9))
    raw = "\n".join(
        [
            f"{take_7};JSONDecoder_decode (msgspec/_core.cpython-311.so) 3",
            f"{take_9};0x7f00 (msgspec/_core.cpython-311.so) 2",
            f"{take_9};Py_DECREF (object.h:5);unicode_dealloc (unicode.c:3) 1",
            f"{_ROOT};Files.sync (storage/files.py:9);os_sync (posix.c:2);fdatasync (libc.so.6) 4",
        ]
    )
    take = (Frame("asgi.Edge.answer", "collector"), Frame("pipeline.Pipeline._take", "collector"))
    assert stacks.read(raw) == {
        (*take, Frame("msgspec.JSONDecoder_decode", "msgspec")): 3,
        (*take, Frame("msgspec", "msgspec")): 2,
        (*take, Frame("unicode_dealloc", "python")): 1,
        (
            Frame("files.Files.sync", "storage"),
            Frame("os_sync", "python"),
            Frame("fdatasync", "disk"),
        ): 4,
    }


@pytest.mark.parametrize(
    "line",
    [
        "run (storage/upkeep.py:61);get (queue.h:1);PyThread_acquire_lock_timed (libpython.so) 9",
        f"{_ROOT};uv__io_poll (linux.c:1452);epoll_pwait (libc.so.6) 9",
        f"{_ROOT};scopes (bench/inprocess.py:9);bytes_join (bytes.c:3) 9",
        "0x7fd3 (granian/_granian.so);syscall (libc.so.6) 9",
    ],
    ids=["thread", "loop", "ours", "server"],
)
def test_waiting_and_the_measurement_are_left_out(line: str) -> None:
    """A thread that waits is not at work; who hands the requests over is not the collector."""
    assert stacks.read(line) == Counter()


def test_the_event_loop_is_one_frame() -> None:
    """Its own functions say nothing to who looks for ours, below them or between them."""
    loop = Frame("event loop", "event loop")
    above = "App.call (collector/asgi.py:3);a (loop.c:1);b (loop.c:2)"
    raw = f"{_ROOT};Handle__run (loop.c:5) 2\n{_ROOT};{above} 1"
    assert stacks.read(raw) == {(loop,): 2, (Frame("asgi.App.call", "collector"), loop): 1}


def test_how_a_worker_was_started_is_left_out() -> None:
    """A worker that serves is drawn as one that is only handed requests."""
    start = "serve (collector/supervisor.py:50);start (granian/common.py:9);run_forever (loop.c:1)"
    raw = f"{start};App.call (collector/asgi.py:3) 2\n{start};Handle__run (loop.c:5) 1"
    app = Frame("asgi.App.call", "collector")
    assert stacks.read(raw) == {(app,): 2, (Frame("event loop", "event loop"),): 1}


# --- the tree and the picture

_STACKS = st.dictionaries(
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=5).map(lambda names: _frames(*names)),
    st.integers(1, 1_000),
    min_size=1,
    max_size=20,
)


@given(_STACKS)
def test_the_tree_adds_up(found: dict[Stack, int]) -> None:
    """A frame's samples are its own and its children's; the root has all, packages share them."""
    root = grown(found)
    assert root.samples == sum(found.values()) == sum(flamegraph.by_package(root).values())
    waiting = [root]
    while waiting:
        node = waiting.pop()
        assert node.samples == node.own + sum(c.samples for c in node.children.values())
        waiting.extend(node.children.values())


@given(_STACKS)
def test_frames_stand_on_their_callers(found: dict[Stack, int]) -> None:
    """No frame is wider than its samples, sticks out of its caller, or overlaps a neighbour."""
    root = grown(found)
    rows: dict[int, list[flamegraph.Placed]] = {}
    for one in placed(root):
        rows.setdefault(one.level, []).append(one)
    [whole] = rows[0]
    for level, row in rows.items():
        row.sort(key=lambda one: one.x)
        for one in row:
            assert one.width == pytest.approx(whole.width * one.node.samples / root.samples)
        for left, right in pairwise(row):
            assert left.x + left.width <= right.x + 1e-6
        for one in row if level else []:
            [below] = [b for b in rows[level - 1] if one.node in b.node.children.values()]
            assert below.x - 1e-6 <= one.x
            assert one.x + one.width <= below.x + below.width + 1e-6


@given(_STACKS)
def test_the_picture_is_the_same_for_the_same_stacks(found: dict[Stack, int]) -> None:
    """In whatever order they were seen, so that a new picture shows what changed."""
    backwards = dict(reversed(found.items()))
    assert draw(grown(found), "t", "n") == draw(grown(backwards), "t", "n")


def test_the_picture_is_well_formed() -> None:
    """Whatever stands in a name: every frame has its box inside the picture and its words."""
    found = {_frames("a<b>&\"'", "deep" * 40): 3, _frames("other"): 1}
    svg = draw(grown(found), "<title> & more", "note & more")
    picture = ET.fromstring(svg)  # noqa: S314 it is our own
    assert picture.tag == f"{SVG}svg"
    words = [title.text or "" for title in picture.iter(f"{SVG}title")]
    assert words[0] == "<title> & more"
    assert any(text.startswith("a<b>&\"': 75.0%") for text in words)
    _, _, width, height = map(float, picture.attrib["viewBox"].split())
    for box in picture.iter(f"{SVG}rect"):
        x, y = float(box.get("x", 0)), float(box.get("y", 0))
        assert 0 <= x <= x + float(box.attrib["width"]) <= width
        assert 0 <= y <= y + float(box.attrib["height"]) <= height
    assert not list(picture.iter(f"{SVG}script"))


def test_names_are_cut_to_their_frames() -> None:
    """A name that fits is whole, one that does not ends in dots, a stump is left out."""
    assert clipped("pipeline.take", 200) == "pipeline.take"
    assert clipped("pipeline.take", 60) == "pipelin\N{HORIZONTAL ELLIPSIS}"
    assert clipped("pipeline.take", 20) == ""


def test_frames_that_nobody_could_see_are_not_drawn() -> None:
    """One sample in ten thousand is a tenth of a pixel."""
    found = {_frames("wide"): 9_999, _frames("narrow"): 1}
    picture = draw(grown(found), "t", "n")
    assert ("wide" in picture, "narrow" in picture) == (True, False)


def test_a_package_has_its_colour_in_every_picture() -> None:
    """Two pictures can be compared, whichever packages stand in them."""
    first = draw(grown({(Frame("a", "storage"),): 1}), "t", "n")
    second = draw(grown({(Frame("b", "storage"),): 1, (Frame("c", "disk"),): 2}), "t", "n")
    fills = [set(re.findall(r'height="17" rx="1" fill="(#\w+)"', svg)) for svg in (first, second)]
    assert len(fills[0]) == 2, "one for the whole, one for storage"
    assert fills[0] < fills[1]


def test_nothing_at_work_is_no_picture() -> None:
    """An idle process is said to be one."""
    with pytest.raises(LookFailed, match="nothing was at work"):
        picture("0x7fd3 (granian/_granian.so);syscall (libc.so.6) 9", "t", 200)
