"""Signatures and tokens of declarative providers: exact bytes, every mistake, and what is never shown."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Mapping

import pytest

from apikeyrouter.adapters import DeclarativeAdapter, Signing, signer
from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.model import Usage
from apikeyrouter.errors import InvalidConfigurationError
from apikeyrouter.ports import Answer, Call
from apikeyrouter.testing import CUT, HANG, AdapterSuite, PlainSecret, RawProvider, Refusal, chunked, response
from apikeyrouter.testing.raw import Received, Step

NOW = 1_767_225_600.25
KEY = "client-1:s3cret-s3cret"
SHOP = {"token_url": "https://auth.example.com/token"}


def adapter_of(base_url: str, auth: Mapping[str, object], **operation: object) -> DeclarativeAdapter:
    op = {"path": "/x", **operation}
    return DeclarativeAdapter(base_url=base_url, auth=auth, operations={"op": op}, clock=lambda: NOW)


def call_of(body: Mapping[str, object], key: str = KEY) -> Call:
    return Call(operation="op", model="", body=body, secret=PlainSecret(key), timeout=5, request_id="r")


async def signed(
    hmac: Mapping[str, object], body: Mapping[str, object], key: str = KEY, **operation: object
) -> tuple[Answer, list[Received]]:
    async with RawProvider([response(b"{}")]) as provider:
        adapter = adapter_of(provider.base_url, {"hmac": hmac}, **operation)
        answer = await adapter.send(call_of(body, key))
        await adapter.aclose()
        return answer, provider.requests


def proof(secret: str, said: bytes, algorithm: str = "sha256") -> bytes:
    return hmac.new(secret.encode(), said, algorithm).digest()


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha384", "sha512"])
async def test_every_algorithm_signs_the_bytes_that_are_sent(algorithm: str) -> None:
    given = {"header": "X-Sig", "sign": "{timestamp}.{method}.{body}", "algorithm": algorithm, "timestamp": "X-At"}
    _, (sent,) = await signed(given, {"name": "Åse"}, method="POST")
    said = b"1767225600.POST." + sent.body
    assert sent.header("x-at") == "1767225600"
    assert sent.header("x-sig") == proof(KEY, said, algorithm).hex()
    assert "Åse".encode() in sent.body


async def test_key_and_nonce_travel_beside_the_signature() -> None:
    given = {
        "header": "Authorization",
        "sign": "{key_id}\n{nonce}\n{host}\n{path}\n{query}\n{body_hash}",
        "value": "Acme {key_id}:{signature}",
        "encoding": "base64",
        "key_id": "X-Client",
        "nonce": "X-Nonce",
    }
    _, (sent,) = await signed(given, {"q": "a b&c"}, path="/x/{q}", params={"z": "{q}"})
    nonce, host = sent.header("x-nonce"), sent.header("host")
    empty = hashlib.sha256(b"").hexdigest()
    said = f"client-1\n{nonce}\n{host}\n/x/a%20b%26c\nz=a%20b%26c\n{empty}".encode()
    assert sent.header("x-client") == "client-1"
    expected = base64.b64encode(proof("s3cret-s3cret", said)).decode()
    assert sent.header("authorization") == f"Acme client-1:{expected}"
    assert nonce is not None
    assert len(nonce) == 32
    assert sent.target == "/x/a%20b%26c?z=a%20b%26c"


@pytest.mark.parametrize(
    ("form", "shown"),
    [
        ("unix", "1767225600"),
        ("unix_ms", "1767225600250"),
        ("iso", "2026-01-01T00:00:00Z"),
        ("http", "Thu, 01 Jan 2026 00:00:00 GMT"),
    ],
)
async def test_times_as_they_are_written(form: str, shown: str) -> None:
    given = {"header": "X-Sig", "sign": "{timestamp}", "timestamp": "Date", "timestamp_format": form}
    _, (sent,) = await signed(given, {})
    assert sent.header("date") == shown
    assert sent.header("x-sig") == proof(KEY, shown.encode()).hex()


async def test_a_key_that_is_not_two_is_refused_unsent() -> None:
    answer, requests = await signed({"header": "X", "sign": "{body}", "key_id": "X-Id"}, {}, "no-colon-in-here")
    assert requests == []
    assert answer.failure is not None
    assert (answer.failure.kind, answer.failure.sent) == (Kind.UNAUTHENTICATED, False)
    assert "no-colon" not in answer.failure.message


async def test_a_signer_that_fails_sends_nothing_and_quotes_nothing() -> None:
    @signer("broken")
    def sign(request: Signing) -> dict[str, str]:
        raise ValueError(f"cannot sign with {request.secret.reveal()}")

    async with RawProvider([response(b"{}")]) as provider:
        adapter = adapter_of(provider.base_url, {"signer": "broken"})
        answer = await adapter.send(call_of({}))
        await adapter.aclose()
    assert provider.requests == []
    assert answer.failure is not None
    assert answer.failure.kind is Kind.INVALID
    assert answer.failure.message == "signer 'broken' failed with ValueError; nothing was sent"


@pytest.mark.parametrize("name", ["Acme", "", "a b", "-a"])
def test_names_of_signers(name: str) -> None:
    with pytest.raises(InvalidConfigurationError, match="cannot be called"):
        signer(name)


@pytest.mark.parametrize(
    ("auth", "hints"),
    [
        ({"oauth2": {}}, ["token_url is not an http"]),
        ({"oauth2": {"token_url": "http://auth.example.com/t"}}, ["plain http"]),
        (
            {
                "oauth2": {
                    "token_url": "https://a.example/t",
                    "client": "hand",
                    "lifetime": "x",
                    "word": 1,
                    "params": {"a": []},
                }
            },
            ["client is 'hand'", "lifetime is 'x'", "'word'", "mapping of texts"],
        ),
        ({"hmac": {}}, ["what is signed"]),
        (
            {
                "hmac": {
                    "header": "X Y",
                    "sign": "{moon}",
                    "algorithm": "md5",
                    "encoding": "hexx",
                    "timestamp_format": "x",
                }
            },
            ["header needs", "{moon}", "md5", "hexx", "timestamp_format"],
        ),
        ({"signer": "nobody"}, ["'nobody' is not registered"]),
        ({"bearer": True, "hmac": {}}, ["write one of"]),
    ],
)
def test_every_mistake_is_named(auth: dict[str, object], hints: list[str]) -> None:
    with pytest.raises(InvalidConfigurationError) as caught:
        adapter_of("https://api.example.com", auth)
    said = " ".join(caught.value.problems)
    for hint in hints:
        assert hint in said


# -- tokens ----------------------------------------------------------------------------------------------------------

SOLD = b'{"access_token": "token-1", "token_type": "Bearer", "expires_in": "3600"}'


class TestByToken(AdapterSuite):
    """The suite, behind a token endpoint that always sells."""

    operation = "op"
    body: Mapping[str, object] = {}
    answer = b'{"found": 1}'
    text = {"found": 1}  # noqa: RUF012
    usage = Usage()
    key_is_sent = False
    patience_s = 0.5
    refusals = (
        Refusal(Kind.RATE_LIMITED, 429, b"{}", {"retry-after": "7"}, retry_after=7.0),
        Refusal(Kind.UNAUTHENTICATED, 401, b"{}"),
        Refusal(Kind.FORBIDDEN, 403, b"{}"),
        Refusal(Kind.INVALID, 400, b"{}"),
        Refusal(Kind.OVERLOADED, 503, b"{}"),
        Refusal(Kind.SERVER_ERROR, 500, b"{}"),
    )

    @pytest.fixture(autouse=True)
    async def _shop(self) -> object:
        async with RawProvider([response(SOLD)]) as shop:
            self.shop = shop
            yield shop

    def make(self, base_url: str) -> DeclarativeAdapter:
        return adapter_of(base_url, {"oauth2": {"token_url": f"{self.shop.base_url}/token", "client_id": "c-1"}})


async def bought(
    script: list[bytes | Step], *, client: str = "basic", key: str = KEY, **more: object
) -> tuple[Failure | None, RawProvider]:
    async with RawProvider([response(b"{}")]) as provider, RawProvider(script) as shop:
        auth = {"oauth2": {"token_url": f"{shop.base_url}/token", "client": client, **more}}
        adapter = adapter_of(provider.base_url, auth)
        call = call_of({}, key)
        call.timeout = 0.2 if HANG in script else 5
        answer = await adapter.send(call)
        await adapter.aclose()
        assert KEY not in repr(answer)
        shop.arrived.clear()
        if answer.failure is None:
            assert provider.requests[0].header("authorization") == "Bearer token-1"
        else:
            assert provider.requests == []
            assert not answer.failure.sent
            assert not answer.failure.billed
        return answer.failure, shop


async def test_credentials_by_header_or_body() -> None:
    failure, shop = await bought([response(SOLD)], scope="a b", params={"audience": "https://api"})
    assert failure is None
    assert shop.requests[0].header("authorization") == "Basic " + base64.b64encode(KEY.encode()).decode()
    assert shop.requests[0].body == b"grant_type=client_credentials&scope=a+b&audience=https%3A%2F%2Fapi"
    failure, shop = await bought([response(SOLD)], client="body")
    assert failure is None
    assert shop.requests[0].header("authorization") is None
    assert b"client_id=client-1&client_secret=s3cret-s3cret" in shop.requests[0].body


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (401, b'{"error": "invalid_client"}', Kind.UNAUTHENTICATED),
        (400, b'{"error": "invalid_client"}', Kind.UNAUTHENTICATED),
        (400, b'{"error": "invalid_scope"}', Kind.FORBIDDEN),
        (400, b'{"error": "invalid_request"}', Kind.INVALID),
        (429, b"{}", Kind.RATE_LIMITED),
        (503, b"<html>", Kind.OVERLOADED),
        (500, b"", Kind.SERVER_ERROR),
        (200, b"", Kind.MALFORMED),
        (200, b"[]", Kind.MALFORMED),
        (200, b'{"access_token": "a b"}', Kind.MALFORMED),
        (200, b'{"access_token": "a", "token_type": "mac"}', Kind.MALFORMED),
        (302, b"", Kind.MALFORMED),
    ],
)
async def test_whatever_the_token_endpoint_says(status: int, said: bytes, kind: Kind) -> None:
    failure, _ = await bought([response(said, status)])
    assert failure is not None
    assert failure.kind is kind
    assert failure.message.startswith("the token endpoint gave no token: ")


async def test_a_token_endpoint_that_hangs_takes_no_longer_than_the_request() -> None:
    failure, _ = await bought([HANG])
    assert failure is not None
    assert failure.kind is Kind.TIMEOUT


async def test_a_key_without_its_client_is_refused() -> None:
    failure, shop = await bought([response(SOLD)], key="only-the-secret")
    assert shop.requests == []
    assert failure is not None
    assert failure.kind is Kind.UNAUTHENTICATED


async def test_whoever_started_the_purchase_may_leave() -> None:
    async with RawProvider([response(b"{}")]) as provider, RawProvider([response(SOLD)]) as shop:
        adapter = adapter_of(provider.base_url, {"oauth2": {"token_url": f"{shop.base_url}/token"}})
        first, second = (asyncio.ensure_future(adapter.send(call_of({}))) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).failure is None
        assert len(shop.requests) == 1
        await adapter.aclose()


async def test_streams_travel_by_token_too() -> None:
    events = chunked(b'data: {"a": 1}\n\n', b"event: bye\ndata: plain\ndata: text\n\n")
    async with RawProvider([events]) as provider, RawProvider([response(SOLD)]) as shop:
        adapter = adapter_of(provider.base_url, {"oauth2": {"token_url": f"{shop.base_url}/token"}}, stream="sse")
        stream = await adapter.stream(call_of({}))
        chunks = [chunk async for chunk in stream]
        await adapter.aclose()
    assert [chunk.data for chunk in chunks] == [{"a": 1}, {"data": "plain\ntext"}]
    assert b"".join(chunk.raw for chunk in chunks) == b'data: {"a": 1}\n\nevent: bye\ndata: plain\ndata: text\n\n'
    assert provider.requests[0].header("authorization") == "Bearer token-1"
    assert provider.requests[0].header("accept") == "text/event-stream"


@pytest.mark.parametrize(
    ("sold", "lifetime", "renewed_after"),
    [
        (b'{"access_token": "token-1", "expires_in": 100}', {}, 80.0),
        (b'{"access_token": "token-1", "expires_in": "1000"}', {"lifetime": 50}, 940.0),
        (b'{"access_token": "token-1"}', {"lifetime": 50}, 40.0),
        (b'{"access_token": "token-1"}', {}, 240.0),
    ],
    ids=["as it says", "as it says in a text", "as the file says", "as nobody says"],
)
async def test_a_token_is_renewed_a_little_before_its_end(
    sold: bytes, lifetime: dict[str, float], renewed_after: float
) -> None:
    async with RawProvider([response(b"{}")]) as provider, RawProvider([response(sold)]) as shop:
        adapter, now = adapter_of(provider.base_url, {"oauth2": {"token_url": shop.base_url, **lifetime}}), [NOW]
        adapter.clock = lambda: now[0]
        for at, bought_so_far in ((0.0, 1), (renewed_after - 1.0, 1), (renewed_after + 1.0, 2)):
            now[0] = NOW + at
            assert (await adapter.send(call_of({}))).failure is None
            assert len(shop.requests) == bought_so_far
        await adapter.aclose()


async def test_credentials_in_a_header_are_encoded_as_a_form_is() -> None:
    """RFC 6749, section 2.3.1: so that a colon, or a letter beyond ASCII, is not taken for something else."""
    failure, shop = await bought([response(SOLD)], key="client-1:a:b/c+d")
    assert failure is None
    assert shop.requests[0].header("authorization") == "Basic " + base64.b64encode(b"client-1:a%3Ab%2Fc%2Bd").decode()


async def test_a_token_endpoint_that_hangs_up_costs_nothing() -> None:
    failure, _ = await bought([CUT])
    assert failure is not None
    assert failure.kind is Kind.NETWORK


async def test_a_key_that_is_named_in_the_signatures_header_only_is_two() -> None:
    given = {"header": "Authorization", "sign": "{body}", "value": "HMAC {key_id}:{signature}"}
    _, (sent,) = await signed(given, {"a": 1}, method="POST")
    assert sent.header("authorization") == f"HMAC client-1:{proof('s3cret-s3cret', sent.body).hex()}"


async def test_while_one_renews_the_others_go_on_with_the_old_token() -> None:
    sold = b'{"access_token": "token-1", "expires_in": 100}'
    async with RawProvider([response(b"{}")]) as provider, RawProvider([response(sold)]) as shop:
        adapter, now = adapter_of(provider.base_url, {"oauth2": {"token_url": shop.base_url}}), [NOW]
        adapter.clock = lambda: now[0]
        assert (await adapter.send(call_of({}))).failure is None
        now[0] += 90.0
        shop.script = [HANG]
        shop.arrived.clear()
        renewing = asyncio.ensure_future(adapter.send(call_of({})))
        await shop.arrived.wait()
        assert (await adapter.send(call_of({}))).failure is None
        assert not renewing.done()
        assert len(shop.requests) == 2
        renewing.cancel()
        await adapter.aclose()
