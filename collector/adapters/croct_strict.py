"""Members that no published schema knows, for sites that want a beacon with one refused.

Releases of the SDK add members without notice, and a refusal silences the page; so this is asked
for by a site (`croct_strict`) and is never the default. Runs only on beacons that are valid.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final, get_args

import msgspec

from collector.adapters.croct_events import AnyPayload
from collector.adapters.croct_violations import (
    VIOLATIONS_MAX,
    bare,
    container,
    fields,
    options_of,
    pointer_to,
)
from collector.event import Event
from collector.refusal import Violation

_anything: Final = msgspec.json.Decoder()


def unknown_members(event: Event) -> tuple[Violation, ...]:
    """A violation for each member of a valid beacon that is not known; at most `VIOLATIONS_MAX`."""
    return tuple(islice(_of_beacon(event), VIOLATIONS_MAX))


def _of_beacon(event: Event) -> Iterator[Violation]:
    context = event.row.context
    if isinstance(context, dict) and "unknown" in context:
        yield Violation("Unknown member of the beacon or of its context")
    if isinstance(event.row.metadata, msgspec.Raw):
        yield from _walk(_anything.decode(event.row.metadata), AnyPayload, "/payload")


def _walk(value: object, kind: Any, path: str) -> Iterator[Violation]:
    options = options_of(kind)
    if isinstance(value, list) and (option := container(options, list)) is not None:
        (item_kind,) = get_args(bare(option))
        for index, item in enumerate(value):
            yield from _walk(item, item_kind, f"{path}/{index}")
    if isinstance(value, dict):
        structs = [option for option in options if isinstance(option, type(msgspec.Struct))]
        if structs:
            yield from _walk_struct(value, structs, path)


def _walk_struct(value: dict[str, object], structs: list[Any], path: str) -> Iterator[Violation]:
    tag = value.get("type")
    struct = next((one for one in structs if one.__struct_config__.tag == tag), structs[0])
    known = {field.encode_name: field.type for field in fields(struct)}
    for name, member in value.items():
        if name in known:
            yield from _walk(member, known[name], f"{path}/{name}")
        elif name != struct.__struct_config__.tag_field:
            yield Violation("Unknown member", pointer_to(path, name))
