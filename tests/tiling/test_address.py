"""Nothing secret is shown, and nothing that is not secret is lost."""

from __future__ import annotations

import logging
import pickle
import re
import sys
from string import ascii_letters, digits
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tiling.address import Redacting, public, redacted
from tiling.errors import BadData, BadInput, TilegateError
from tiling.source import SourceSpec

WORD = st.text(ascii_letters + digits, min_size=1, max_size=8)
SECRET = st.text(ascii_letters + digits + "-._~%+/=!$&()*;:@", min_size=3, max_size=20).map(lambda s: f"Sesame{s}9")
HARMLESS = st.sampled_from(["no such file", "HTTP 403", "tile r0001c0002 (rows 3-9)", "größer", "a, b; c", "", "50 %"])


@st.composite
def addresses(draw: st.DrawFn) -> tuple[str, str, str, str]:
    """(address, its harmless host, its harmless path, its secret)."""
    secret = draw(SECRET)
    scheme, host = draw(st.sampled_from(["https", "http", "s3", "gs", "ftp", "HTTPS"])), draw(WORD).lower() + ".org"
    path = "/" + "/".join(draw(st.lists(WORD, min_size=1, max_size=3))) + ".tif"
    place = draw(st.sampled_from(["query", "user", "password", "fragment"]))
    user = {"user": f"{quote(secret, safe='')}@", "password": f"me:{quote(secret, safe='')}@"}.get(place, "")
    end = {"query": f"?v=1&sig={secret}&z=2", "fragment": f"#{secret}"}.get(place, "")
    prefix = draw(st.sampled_from(["", "/vsicurl/", "/vsicurl_streaming/", "/vsizip//vsicurl/"]))
    return f"{prefix}{scheme}://{user}{host}{path}{end}", host, path, secret


@given(addresses())
def test_a_public_address_is_scheme_host_and_path(given: tuple[str, str, str, str]) -> None:
    uri, host, path, _ = given
    shown = public(uri)
    parts = urlsplit(re.sub(r"^/vsi.*/(?=\w+://)", "", shown))
    assert shown.endswith(f"://{host}{path}")
    assert "Sesame" not in shown
    assert (parts.query, parts.fragment, parts.username, parts.password) == ("", "", None, None)
    assert public(shown) == shown


@given(addresses(), HARMLESS, HARMLESS, st.sampled_from(["{}", "'{}'", '"{}"', "<{}>", "({})", "{}:", "{}."]))
def test_in_a_sentence_only_the_secret_is_lost(
    given: tuple[str, str, str, str], before: str, after: str, marks: str
) -> None:
    uri, host, path, _ = given
    text = redacted(f"{before} {marks.format(uri)} {after}")
    assert text.startswith(f"{before} {marks.partition('{')[0]}")
    assert text.endswith(f" {after}")
    assert f"://{host}{path}" in text
    assert "Sesame" not in text
    assert redacted(text) == text


@given(st.text().filter(lambda text: "://" not in text))
@example("scan?sig=1#2.tif")
@example("user:pass@host/a.tif")
def test_a_local_path_stays_as_it_is(name: str) -> None:
    assert public(f"/data/{name}") == f"/data/{name}"
    assert public(f"C:\\{name}") == f"C:\\{name}"


@given(st.text())
def test_any_text_survives_and_twice_is_once(text: str) -> None:
    assert redacted(redacted(text)) == redacted(text)
    if "://" not in text and "=" not in text and "?" not in text and "%" not in text:
        assert redacted(text) == text


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://h/x.tif?X-Amz-Signature=ab&X-Amz-Date=1", "https://h/x.tif"),
        ("https://me:pass@h:8080/a@b.tif", "https://h:8080/a@b.tif"),
        ("s3://key:secret@bucket/x.tif", "s3://bucket/x.tif"),
        ("/vsicurl/https://h/x.tif?sv=1&sig=ab", "/vsicurl/https://h/x.tif"),
        ("/vsicurl?url=https%3A%2F%2Fh%2Fx.tif%3Fsig%3Dab&header.Authorization=Bearer%20c", "/vsicurl/https://h/x.tif"),
        ("/vsicurl?max_retry=3&url=http://h/x.tif", "/vsicurl/http://h/x.tif"),
        ("/vsizip//vsicurl/https://h/x.zip?sig=ab/inside.tif", "/vsizip//vsicurl/https://h/x.zip"),
        ('NETCDF:"https://h/x.nc?sig=ab":water', 'NETCDF:"https://h/x.nc'),
        ('HDF5:"/data/a.h5"://group/water', 'HDF5:"/data/a.h5"://group/water'),
        ("/vsis3/bucket/x.tif", "/vsis3/bucket/x.tif"),
        ("scene?.tif", "scene?.tif"),
        ("file:///data/a.tif", "file:///data/a.tif"),
    ],
)
def test_by_hand(uri: str, shown: str) -> None:
    assert public(uri) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("X-Amz-Signature=abc&x=1", "X-Amz-Signature=***&x=1"),
        (
            "x-amz-credential=AK/2/s3 and X-Amz-Security-Token=t/t==",
            "x-amz-credential=*** and X-Amz-Security-Token=***",
        ),
        ("token=abc", "token=***"),
        ("AWS_SECRET_ACCESS_KEY=a/b+c is set", "AWS_SECRET_ACCESS_KEY=*** is set"),
        ("sigma=2, tokens=3, my-token=4", "sigma=2, tokens=3, my-token=4"),
        ("got https://h/a.tif?sig=1,https://h/b.tif?sig=2: 403", "got https://h/a.tif,https://h/b.tif: 403"),
        ("at /vsicurl?url=https%3A%2F%2Fh%2Fx.tif%3Fsig%3Dab now", "at /vsicurl/https://h/x.tif now"),
        ("asked url=https%3A%2F%2Fh%2Fx%3Fpw%3Dab&a=b", "asked url=https://h/x"),
        ("/data/a?b.tif is gone", "/data/a?b.tif is gone"),
    ],
)
def test_in_a_text_by_hand(text: str, shown: str) -> None:
    assert redacted(text) == shown


@pytest.mark.parametrize("kind", [TilegateError, BadInput, BadData])
def test_an_error_tells_no_secret_not_even_from_another_process(kind: type[TilegateError]) -> None:
    error = kind("https://me:pw@h/x.tif?sig=SECRET is gone")
    for told in (error, pickle.loads(pickle.dumps(error))):
        assert type(told) is kind
        assert str(told) == "https://h/x.tif is gone"
        assert "SECRET" not in repr(told)
    assert kind("a", 1).args == ("a", 1)


def test_an_image_of_several_files_is_named_without_secrets() -> None:
    spec = SourceSpec(uris=("https://h/a.tif?sig=SECRET", "/data/b?c.tif"))
    assert spec.uri == "https://h/a.tif,/data/b?c.tif"
    assert spec.uris[0].endswith("SECRET")


def test_a_log_tells_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    log, handler = logging.getLogger("stranger"), logging.StreamHandler(sys.stderr)
    handler.addFilter(Redacting())
    log.addHandler(handler)
    url = "https://h/x.tif?sig=SECRET"
    log.warning("cannot read %s: %d", url, 403)
    log.warning("token=SECRET")
    log.warning("%d", url)  # a bug in the caller's format
    try:
        int(url)
    except ValueError:
        log.exception("while reading")
    log.removeHandler(handler)
    told = capsys.readouterr().err
    assert "cannot read https://h/x.tif: 403" in told
    assert "'https://h/x.tif'" in told
    assert "SECRET" not in told
