"""Kinds of text in the configuration: what is refused, and the one spelling that is kept."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from collector import keys
from collector.config import PublicKey
from tests.support.config import APP_ID, DIGEST, KEY, SITE, fault, faults, read
from tests.support.geo import write_database


def _pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> str:
    public = key.public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.fixture(scope="module")
def private_key() -> ec.EllipticCurvePrivateKey:
    """A key on the curve that ES256 uses."""
    return ec.generate_private_key(ec.SECP256R1())


def test_networks_are_kept_in_one_spelling():
    """An address alone is a network of one."""
    proxies = read("[server]\ntrusted_proxies = ['10.0.0.0/8', '::1', '2001:DB8::/32']\n").server

    assert proxies.trusted_proxies == ("10.0.0.0/8", "::1/128", "2001:db8::/32")


@pytest.mark.parametrize(
    ("network", "wanted"),
    [("10.0.0.1/8", "write 10.0.0.0/8"), ("10.0.0.0/33", "not"), ("proxy", '"proxy"'), ("", '""')],
)
def test_networks_that_are_none(network, wanted):
    """Believing the wrong proxies means believing forged addresses."""
    assert wanted in fault(f"[server]\ntrusted_proxies = ['{network}']\n")


def test_domains_are_kept_as_browsers_send_them():
    """Case, trailing dots and scripts do not matter; what matters is what `Origin` will say."""
    site = read(
        SITE
        + "allowed_domains = ['Example.COM', 'a.b.', '*.Shop.de', 'münchen.de', 'straße.de',"
        + " '*.bücher.at', '127.0.0.1', '::1', '[2001:DB8::1]']\n"
    ).sites[0]

    assert site.allowed_domains == (
        "example.com",
        "a.b",
        "*.shop.de",
        "xn--mnchen-3ya.de",
        "xn--strae-oqa.de",
        "*.xn--bcher-kva.at",
        "127.0.0.1",
        "::1",
        "2001:db8::1",
    )


@pytest.mark.parametrize(
    ("domain", "wanted"),
    [
        ("https://example.com", "without a scheme"),
        ("example.com:443", "without a port"),
        ("[::1]:80", "without a port"),
        ("example.com/", "without a path"),
        ("example.com?x", "without a path"),
        ("me@example.com", "without user info"),
        ("*", "would let everybody in"),
        ("*.", "must be a host name"),
        ("*.*.com", "must be a host name"),
        ("www.*.com", "must be a host name"),
        ("*example.com", "must be a host name"),
        ("*.127.0.0.1", "only names have subdomains"),
        ("*.::1", "only names have subdomains"),
        ("a b.com", "must be a host name"),
        ("-a.com", "must be a host name"),
        ("a..com", "must be a host name"),
        ("[a.com]", "must be a host name"),
        ("1.2.3", "must be a host name"),
        ("a" * 64 + ".com", "must be a host name"),
        ("", "must be a host name"),
    ],
)
def test_domains_that_could_never_match_are_refused(domain, wanted):
    """An entry that no Origin can equal is told, with what to leave out."""
    line = fault(SITE + f"allowed_domains = ['{domain}']\n")

    assert "sites[0].allowed_domains[0]: must" in line
    assert wanted in line


def test_a_key_put_where_its_digest_belongs_is_not_repeated():
    """`check` output ends up in logs; a key or token in the wrong place stays out of it."""
    text = keys.new_key()
    lines = faults(f"[server]\nadmin_token_sha256 = '{text}'\n" + SITE + KEY.replace(DIGEST, text))

    assert all("is a key itself" in line for line in lines)
    assert len(lines) == 2
    assert text not in "".join(lines)


def test_digests_are_kept_in_lower_case():
    """Some tools print digests in capitals."""
    assert read(SITE + KEY.replace(DIGEST, DIGEST.upper())).keys[0].sha256 == DIGEST


@pytest.mark.parametrize("setting", ["geo_database", "scan_sessions"])
def test_files_must_be_there(tmp_path, setting):
    """A database that is named but missing would silently leave columns empty."""
    (tmp_path / "folder").mkdir()

    assert f'enrich.{setting}: names no file: there is no "{tmp_path}/x"' in fault(
        f"[enrich]\n{setting} = 'x'\n", tmp_path
    )
    assert "names no file" in fault(f"[enrich]\n{setting} = 'folder'\n", tmp_path)
    assert getattr(read(f"[enrich]\n{setting} = ''\n").enrich, setting) == ""


def test_a_geo_database_must_be_one(tmp_path):
    """Told by `check`, not by columns that stay empty."""
    (tmp_path / "x").write_bytes(b"no database")
    good = write_database(tmp_path / "good.mmdb", {"81.2.69.0/24": {"country": "NO"}})

    told = fault("[enrich]\ngeo_database = 'x'\n", tmp_path)

    assert "enrich.geo_database: names a file that cannot be used: it is no MaxMind DB file" in told
    enrich = read("[enrich]\ngeo_database = 'good.mmdb'\n", tmp_path).enrich
    assert enrich.geo_database == str(good)


def test_fraud_rules_are_known_ones():
    """A misspelt rule would never fire."""
    told = fault(SITE + "fraud_rules = ['crawler', 'crawlers']\n")

    assert 'sites[0].fraud_rules[1]: must be "crawler" or "headless" or ' in told
    assert 'not "crawlers"' in told
    assert read(SITE + "fraud_rules = []\n").sites[0].fraud_rules == ()
    default = ("crawler", "impossible_time", "replay_storm")
    assert read(SITE).sites[0].fraud_rules == default


def test_the_data_directory_must_not_be_a_file(tmp_path):
    """Told by `check`, not by a start that fails."""
    (tmp_path / "data").write_text("")

    assert "storage.directory: must be a folder" in fault("", tmp_path)


# --- public keys of Croct


def test_public_keys_as_text_file_and_table(tmp_path, private_key):
    """Three ways to write a key, one way to keep it."""
    pem = _pem(private_key)
    (tmp_path / "croct.pem").write_text(pem)
    text = (
        SITE
        + f'croct_public_keys = ["""\n{pem}""", "croct.pem",'
        + f' {{id = "{APP_ID.upper()}", pem = "croct.pem"}}]\n'
    )

    site = read(text, tmp_path).sites[0]

    assert site.croct_public_keys == (
        PublicKey(pem=pem),
        PublicKey(pem=pem),
        PublicKey(pem=pem, id=APP_ID),
    )


def test_private_keys_are_refused_and_not_repeated(tmp_path, private_key):
    """Whoever puts a private key into a configuration is told at once."""
    pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    (tmp_path / "private.pem").write_text(pem)

    as_text = fault(SITE + f'croct_public_keys = ["""{pem}"""]\n')
    as_file = fault(SITE + 'croct_public_keys = ["private.pem"]\n', tmp_path)
    as_api_key = fault(SITE + f'croct_public_keys = ["{APP_ID}:ES256;{"A" * 184}"]\n')

    assert "sites[0].croct_public_keys[0].pem: that is a private key" in as_text
    assert "that is a private key" in as_file
    assert "that is an API key with its private key" in as_api_key
    assert pem.splitlines()[1] not in as_text + as_file
    assert "AAAA" not in as_api_key


def test_other_keys_are_refused(tmp_path):
    """ES256 means P-256 and nothing else."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for text, wanted in (
        (_pem(ec.generate_private_key(ec.SECP384R1())), "must be a key on the curve P-256"),
        (_pem(ed25519.Ed25519PrivateKey.generate()), "must be a key on the curve P-256"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "not a public key in PEM"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "that is a certificate"),
        ("missing.pem", "neither PEM text nor a readable file: No such file"),
        ("binary", "names a file that is not PEM text"),
        ("", "must not be empty"),
        ("a" * 300, "neither PEM text nor a readable file: File name too long"),
    ):
        assert wanted in fault(SITE + f"croct_public_keys = ['''{text}''']\n", tmp_path)
    assert "must be text or a table, not a whole number" in fault(SITE + "croct_public_keys=[1]\n")
    assert "croct_public_keys[0].pem: must be text" in fault(
        SITE + "croct_public_keys=[{pem = 1}]\n"
    )


def test_the_id_of_a_public_key_is_a_uuid(tmp_path, private_key):
    """An id that is no UUID has no `kid`, so the key would never be asked."""
    (tmp_path / "croct.pem").write_text(_pem(private_key))

    line = fault(SITE + 'croct_public_keys = [{id = "x", pem = "croct.pem"}]\n', tmp_path)

    assert "sites[0].croct_public_keys[0].id: must be a UUID" in line
