"""What to paste into a page or a back end so that it sends events here: texts, with ids filled in.

Whatever is filled in is written as a literal of the language it stands in, so that no id, whatever
is in it, becomes code. Never a key: programs read it from the environment, as `COLLECTOR_KEY`.
"""

import shlex
from collections.abc import Sequence
from typing import Final

import msgspec

from collector.config import Site

# A scan that the examples claim to come from; real ones are in the address that a QR code opens.
_SCAN: Final = "0b6f0c3e-6f0a-4c55-9d0c-0d9f3c1b7a52"
_encoder: Final = msgspec.json.Encoder()


class Snippet(msgspec.Struct, frozen=True):
    """`name` is for programs, `title` for people; `note` says where the text belongs."""

    name: str
    title: str
    note: str
    text: str


def snippets(address: str, site: Site) -> Sequence[Snippet]:
    """Every snippet of a site. `address`: scheme, host and port of this collector, no slash."""
    return [
        _scanova(address, site),
        *([_croct(address, site)] if site.croct_app_id else []),
        _curl(address, site),
        *([_curl_zenovay(address, site)] if site.tracking_code else []),
        _node(address, site),
        _python(address, site),
        _ruby(address, site),
        _php(address, site),
    ]


# --- browsers


def _scanova(address: str, site: Site) -> Snippet:
    text = f"""\
<script>
window.scanova=window.scanova||function(){{(scanova.q=scanova.q||[]).push(arguments)}};
scanova('init', {_in_script(site.id)}, {{
  autoPageview: true, autoClicks: true, autoForms: true, autoScroll: true,
  requireScan: false
}});
</script>
<script async src="{address}/s.js"></script>
"""
    note = (
        "Into the head of every page. Then scanova('track', 'name', {...}) sends events of your "
        "own. Without requireScan: false, only visits that began with a scan are sent."
    )
    return Snippet("scanova", "Scanova snippet", note, text)


def _croct(address: str, site: Site) -> Snippet:
    text = f"""\
import croct from '@croct/plug';

croct.plug({{
    appId: {_in_script(site.croct_app_id)},
    baseEndpointUrl: {_in_script(address)},
}});
"""
    note = "Into the script of your pages, after npm install @croct/plug."
    return Snippet("croct", "Croct SDK", note, text)


# --- back ends


def _purchase(site: Site) -> dict[str, object]:
    return {
        "site_id": site.id,
        "event_name": "purchase",
        "scan_session_id": _SCAN,
        "conversion_value": {"amount": 49.5, "currency": "EUR"},
    }


def _curl(address: str, site: Site) -> Snippet:
    body = shlex.quote(_json(_purchase(site)))
    # The brackets of an IPv6 address are a pattern to some shells.
    text = f"""\
curl {shlex.quote(f"{address}/server-events")} \\
  -H "X-API-Key: $COLLECTOR_KEY" \\
  -H 'Content-Type: application/json' \\
  -d {body}
"""
    return Snippet("curl", "curl", "In a terminal.", text)


def _curl_zenovay(address: str, site: Site) -> Snippet:
    body = {
        "trackingCode": site.tracking_code,
        "events": [{"type": "event", "props": {"name": "signup"}, "ts": 0}],
    }
    # The time of the moment, in milliseconds, stands outside of the quotes.
    head, _, tail = _json(body).rpartition("0")
    data = f'{shlex.quote(head)}"$(date +%s)000"{shlex.quote(tail)}'
    text = f"""\
curl {shlex.quote(f"{address}/api/v1/events")} \\
  -H "Authorization: Bearer $COLLECTOR_KEY" \\
  -H 'Content-Type: application/json' \\
  -d {data}
"""
    return Snippet("curl-zenovay", "curl, Zenovay API", "In a terminal.", text)


_AGAIN: Final = "the same for every retry, so that none counts twice"


def _node(address: str, site: Site) -> Snippet:
    text = f"""\
const event = {{
  site_id: {_json(site.id)},
  event_name: 'purchase',
  event_id: crypto.randomUUID(), // {_AGAIN}
  scan_session_id: '{_SCAN}',
  conversion_value: {{amount: 49.5, currency: 'EUR'}},
}};
const answer = await fetch({_json(f"{address}/server-events")}, {{
  method: 'POST',
  headers: {{'Content-Type': 'application/json', 'X-API-Key': process.env.COLLECTOR_KEY}},
  body: JSON.stringify(event),
}});
console.log(answer.status, await answer.text());
"""
    return Snippet("node", "Node", "In a module (.mjs), Node 20 or newer, no package needed.", text)


def _python(address: str, site: Site) -> Snippet:
    text = f"""\
import json
import os
import urllib.request
import uuid

event = {{
    "site_id": {_json(site.id)},
    "event_name": "purchase",
    "event_id": str(uuid.uuid4()),  # {_AGAIN}
    "scan_session_id": "{_SCAN}",
    "conversion_value": {{"amount": 49.5, "currency": "EUR"}},
}}
request = urllib.request.Request(
    {_json(f"{address}/server-events")},
    data=json.dumps(event).encode(),
    headers={{"Content-Type": "application/json", "X-API-Key": os.environ["COLLECTOR_KEY"]}},
)
with urllib.request.urlopen(request, timeout=10) as answer:
    print(answer.status, answer.read().decode())
"""
    return Snippet("python", "Python", "Python 3.8 or newer, no package needed.", text)


def _ruby(address: str, site: Site) -> Snippet:
    text = f"""\
require 'json'
require 'net/http'
require 'securerandom'

event = {{
  site_id: {_in_ruby(site.id)},
  event_name: 'purchase',
  event_id: SecureRandom.uuid, # {_AGAIN}
  scan_session_id: '{_SCAN}',
  conversion_value: {{ amount: 49.5, currency: 'EUR' }}
}}
answer = Net::HTTP.post(
  URI({_in_ruby(f"{address}/server-events")}),
  event.to_json,
  'Content-Type' => 'application/json', 'X-API-Key' => ENV.fetch('COLLECTOR_KEY')
)
puts answer.code, answer.body
"""
    return Snippet("ruby", "Ruby", "No gem needed.", text)


def _php(address: str, site: Site) -> Snippet:
    text = f"""\
<?php
$event = [
    'site_id' => {_in_php(site.id)},
    'event_name' => 'purchase',
    // {_AGAIN}
    'event_id' => vsprintf('%s%s-%s-%s-%s-%s%s%s', str_split(bin2hex(random_bytes(16)), 4)),
    'scan_session_id' => '{_SCAN}',
    'conversion_value' => ['amount' => 49.5, 'currency' => 'EUR'],
];
$options = ['http' => [
    'method' => 'POST',
    'header' => [
        'Content-Type: application/json',
        'X-API-Key: ' . getenv('COLLECTOR_KEY'),
    ],
    'content' => json_encode($event),
    'ignore_errors' => true,
]];
echo file_get_contents(
    {_in_php(f"{address}/server-events")},
    false,
    stream_context_create($options)
);
"""
    return Snippet("php", "PHP", "No package needed.", text)


# --- literals


def _json(value: object) -> str:
    """As JSON, which is what JavaScript and Python take for a literal, too."""
    return _encoder.encode(value).decode()


def _in_script(text: str) -> str:
    """A literal in a script in a page: nothing in it ends the script."""
    found = _json(text).replace("<", "\\u003c").replace(">", "\\u003e")
    return found.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _in_ruby(text: str) -> str:
    """A literal in double quotes, in which `#{...}` would be run."""
    return _json(text).replace("#", "\\#")


def _in_php(text: str) -> str:
    """A literal in single quotes, in which nothing is run."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
