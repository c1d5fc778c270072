"""What was told of a question, on a page: the answer and its age, or how far it is, or why not.

Every panel is made here, so that none of them forgets to say that it is incomplete.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from collector.dashboard.frame import notice
from collector.dashboard.html import Child, Html, tag
from collector.panels import Failed, Found, Pending, Told
from collector.receipt import time_text

Records = Sequence[Mapping[str, Any]]
# A page with this in it is loaded anew by live.js, and offers that to those without scripts.
PENDING: Final = "pending"


def section(title: str, *children: Child) -> Html:
    """A part of a page with a heading."""
    name = title.lower().replace(" ", "-")
    return tag(
        "section",
        tag("h2", title, attributes={"id": name}),
        children,
        attributes={"aria-labelledby": name},
    )


def panel(title: str, told: Told, show: Callable[[Records], Child]) -> Html:
    """A section about one question; `show` makes its body from the rows by column."""
    return section(title, answer(told, show))


def answer(told: Told, show: Callable[[Records], Child]) -> Child:
    """The body of a section; see `panel`."""
    if isinstance(told, Failed):
        return notice(told.why, is_bad=True)
    if isinstance(told, Pending):
        return tag("p", "Being counted. ", _progress(told.share), attributes={"class": PENDING})
    return [show(told.records), _age(told)]


def _progress(share: float | None) -> Html:
    attributes: dict[str, Any] = {"max": "100", "aria-label": "Progress"}
    if share is not None:
        attributes["value"] = f"{100 * share:.0f}"
    return tag("progress", attributes=attributes)


def _age(found: Found) -> Html:
    time = time_text(found.as_of_us)
    return tag(
        "p",
        "As of ",
        tag("time", f"{time[11:19]} UTC", attributes={"datetime": time}),
        ", without what came in the last seconds" if found.lacks_newest else None,
        attributes={"class": "age"},
    )
