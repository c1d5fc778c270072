"""Addresses in bodies that are kept: what is masked, and what stays as it was sent."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.masking import MASK, hides_addresses, is_address, mask_addresses

_M = MASK.decode()


def masked(text: str) -> str:
    """`text` with the member of Zenovay masked."""
    return mask_addresses(text.encode(), "clientIp").decode()


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ('{"serverContext":{"clientIp":"8.8.8.8"}}', f'{{"serverContext":{{"clientIp":{_M}}}}}'),
        ('{"clientIp" :\n null,"x":1}', f'{{"clientIp" :\n {_M},"x":1}}'),
        ('{"clientIp":{"v4":["8.8.8.8","]"]}}', f'{{"clientIp":{_M}}}'),
        (r'{"client\u0049p":"8.8.8.8"}', rf'{{"client\u0049p":{_M}}}'),
        ('{"CLIENTIP":"8.8.8.8"}', f'{{"CLIENTIP":{_M}}}'),
        ('{"clientIp":134744072}', f'{{"clientIp":{_M}}}'),
        (r'{"clientIp":"\u0038.8.8.8 \" x"}', f'{{"clientIp":{_M}}}'),
        ('[{"clientIp":"8.8.8.8"},{"clientIp":"a"}]', f'[{{"clientIp":{_M}}},{{"clientIp":{_M}}}]'),
    ],
)
def test_the_member_is_masked_in_any_spelling(sent, kept):
    """At any depth, of any type; what comes out is still JSON."""
    assert masked(sent) == kept
    json.loads(kept)


@pytest.mark.parametrize(
    "sent",
    [
        '{"ip":"at 8.8.8.8","text":"\\"clientIp\\":\\"x\\""}',
        '["clientIp","x"]',
        '{"clientIpAddress":"x"}',
        '{"time":"12:30:45","a":"a::z","b":"1.2.3","c":"a::b c"}',
        '{"url":"https://8.8.8.8/?ip=8.8.8.8"}',
        "{}",
    ],
)
def test_what_senders_put_elsewhere_stays(sent):
    """A body that is kept is to be read; only the protocol's own member is known to be personal."""
    assert masked(sent) == sent


@pytest.mark.parametrize(
    "sent",
    [
        '{"serverContext":{"clientIp":"8.8.8.8","userAgent":"x',
        '{"clientIp":"8.8.8.8',
        '{"a: "clientIp": "8.8.8.8"}',
        "clientIp=8.8.8.8&x=1",
        '{"clientIp":"::ffff:8.8.8.8"',
        '{"clientIp":"2A00:1450::200E"',
        "{clientIp: 2a00:1450::200e}",
        '{"clientIp":"2a00:1450::200e%eth0","x":}',
        '{"x":"2a00:1450::8.8.8.8"',
    ],
)
def test_of_a_broken_body_every_address_is_masked(sent):
    """Nobody can say where a member begins in what is no JSON."""
    kept = masked(sent).lower()
    assert "8.8.8.8" not in kept
    assert "1450" not in kept
    assert "address removed" in kept


@pytest.mark.parametrize("member", ["", "clientIp"])
@pytest.mark.parametrize(
    "address",
    [
        *("8.8.8.8", "2a00:1450::200e", "::1", "::ffff:8.8.8.8", "fe80::1%eth0", "8.8.8.8:443"),
        *("[2a00:1450::200e]", "[2a00:1450::200e]:80", "8.8.8.8, 10.0.0.1", r"8\u002e8.8.8"),
        *("8%2E8%2e8.8", "2a00%3A1450%3A%3A200e", " 8.8.8.8 "),
    ],
)
def test_a_text_that_is_an_address_is_masked_whatever_it_is_called(address, member):
    """In JSON of any protocol, as value, element and name."""
    sent = f'{{"a":{{"ip":"{address}","b":["{address}",1]}},"{address}":2,"c":"{address}x y"}}'
    kept = mask_addresses(sent.encode(), member).decode()
    assert kept == f'{{"a":{{"ip":{_M},"b":[{_M},1]}},{_M}:2,"c":"{address}x y"}}'


@pytest.mark.parametrize(
    "sent", ["8.8.8.8 {", '"ip is 8.8.8.8"', "ip=8.8.8.8&x=1", '{"a":"8.8.8.8']
)
def test_without_such_a_member_a_broken_body_is_masked_as_well(sent):
    """Whatever the protocol: in what is no object or array, everything that reads like one."""
    kept = mask_addresses(sent.encode(), "")
    assert b"8.8.8.8" not in kept
    assert b"[address removed]" in kept


@pytest.mark.parametrize(
    ("sent", "hides"),
    [
        (b"ip=8%2E8%2E8%2E8", True),
        (b"{ip:8\\u002e8.8.8", True),
        (b"ip=8\\x2e8.8.8", True),
        (b"ip=8%252E8.8.8", True),
        (b"ip=2a00%3A1450%3A%3A200e", True),
        (b"ip=8.8.8.8&url=https%3A%2F%2Fexample.com", False),
        (b"8.8.8.8 12:30:45 %zz \\u12", False),
    ],
)
def test_an_address_that_would_not_be_masked_is_found(sent, hides):
    """Percent-encoded or escaped: such a body is not to be kept."""
    assert hides_addresses(sent) is hides


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("clientIp"), inner),
)


def _cleaned(value: object) -> object:
    if isinstance(value, dict):
        return {
            _cleaned(name): json.loads(MASK) if name.lower() == "clientip" else _cleaned(inner)
            for name, inner in value.items()
        }
    if isinstance(value, str) and is_address(value):
        return json.loads(MASK)
    return [_cleaned(inner) for inner in value] if isinstance(value, list) else value


@given(
    _JSON.filter(lambda value: isinstance(value, dict | list)),
    st.booleans(),
    st.sampled_from([None, 1]),
)
def test_json_is_masked_as_if_it_had_been_read(value, ascii_only, indent):
    """The member is gone wherever it was, and nothing else has changed."""
    body = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "replace")
    assert json.loads(mask_addresses(body, "clientIp")) == _cleaned(json.loads(body))


@given(st.binary() | st.lists(st.sampled_from([b'"', b"\\", b"clientIp", b":", b"{", b"1.2.3.4"])))
def test_any_bytes_can_be_masked(parts):
    """Nothing raises, and an address is left only in what is JSON, outside the member."""
    body = parts if isinstance(parts, bytes) else b"".join(parts)
    once = mask_addresses(body, "clientIp")
    if b"1.2.3.4" in once:
        json.loads(body)


@pytest.mark.parametrize(
    "unit", [b'\\"', b'"', b'{"clientIp":', b"a:", b"1.", b'"clientIp":[', b'":"', b"clientIp\\"]
)
def test_no_body_takes_long(unit):
    """Time grows with the size of a body, not with its square."""
    body = b"clientIp" + unit * (1_000_000 // len(unit)) + b"\\"
    began_s = time.process_time()
    mask_addresses(body, "clientIp")
    hides_addresses(body)
    assert time.process_time() - began_s < 3
