"""Credentials that are none: guessed, stolen, expired, foreign, forged or used twice; and scopes that end before."""

import base64
import hashlib
import hmac
import itertools
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Final

from websockets.exceptions import InvalidStatus

from ..access_parts import Keys, ask, closed, receive, socket
from ..client import Http
from ..process import Server, until
from .conftest import ISSUER, SECRET
from .hostile import DOUBLE
from .scene import Arena

PAUSE: Final = 0.005  # seconds between attempts
CROWD: Final = 20
TOKEN: Final = re.compile(r"[\w.-]+")  # what a client sends as a subprotocol
PUBLIC: Final = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n"


def part(value: Any) -> str:
    octets = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def signed(head: Any, claims: Any, secret: str = SECRET, digest: str = "sha256") -> str:
    """Return a token, whatever its head and claims are."""
    text = f"{part(head)}.{part(claims)}"
    return f"{text}.{part(hmac.digest(secret.encode(), text.encode(), digest))}"


HEAD: Final = {"alg": "HS256", "typ": "JWT"}
WISHES: Final = {"sub": "visitor", "scope": "admin", "iss": ISSUER, "exp": int(time.time()) + 3600}


def with_claims(**claims: Any) -> str:
    kept = {name: value for name, value in {**WISHES, **claims}.items() if value is not None}
    return signed(HEAD, kept)


def with_head(**head: Any) -> str:
    return signed({**HEAD, **head}, WISHES)


def without_signature(algorithm: Any) -> str:
    return f"{part({**HEAD, 'alg': algorithm})}.{part(WISHES)}."


NO_ALGORITHMS: Final[tuple[Any, ...]] = ("none", "None", "NONE", "nOnE", "", None, [], 0)
FORGED: Final = {
    **{f"no algorithm: {name}": without_signature(name) for name in NO_ALGORITHMS},
    "no signature": signed(HEAD, WISHES).rpartition(".")[0] + ".",
    "two parts": signed(HEAD, WISHES).rpartition(".")[0],
    "four parts": signed(HEAD, WISHES) + ".x",
    "half a signature": signed(HEAD, WISHES)[:-20],
    "other claims": ".".join((part(HEAD), part({**WISHES, "sub": "root"}), signed(HEAD, WISHES).rpartition(".")[2])),
    "another secret": signed(HEAD, WISHES, "guessed, and as long as it has to be..."),
    "an empty secret": signed(HEAD, WISHES, ""),
    "a public key as the secret": signed(HEAD, WISHES, PUBLIC),
    "RS256 signed by HMAC": signed({**HEAD, "alg": "RS256"}, WISHES),
    "an algorithm that is not taken": signed({**HEAD, "alg": "HS512"}, WISHES, digest="sha512"),
    "kid as a path": signed({**HEAD, "kid": "../../../../dev/null"}, WISHES, ""),
    "kid as a URL": signed({**HEAD, "kid": "https://evil.example/key"}, WISHES, "evil"),
    "kid as SQL": signed({**HEAD, "kid": "' UNION SELECT 'evil' --"}, WISHES, "evil"),
    "kid as a command": signed({**HEAD, "kid": "|echo evil"}, WISHES, "evil"),
    "kid without end": with_head(kid="k" * 5000),
    "kid as a list": with_head(kid=["k"]),
    "a key of its own": with_head(jwk={"kty": "oct", "k": part(b"evil")}),
    "a key elsewhere": with_head(jku="https://evil.example/jwks.json"),
    "a certificate elsewhere": with_head(x5u="https://evil.example/cert.pem"),
    "a certificate of its own": with_head(x5c=["MIIB"]),
    "an extension": with_head(crit=["exp"]),
    "no payload in base64": with_head(b64=False, crit=["b64"]),
    "expired": with_claims(exp=int(time.time()) - 3600),
    "not valid yet": with_claims(nbf=int(time.time()) + 3600),
    "no end": with_claims(exp=None),
    "an end that is no number": with_claims(exp="tomorrow"),
    "an endless end": signed(HEAD, b'{"sub":"visitor","scope":"admin","iss":"' + ISSUER.encode() + b'","exp":1e999}'),
    "no subject": with_claims(sub=None),
    "a subject that is a list": with_claims(sub=["visitor"]),
    "an endless subject": with_claims(sub="v" * 5000),
    "a foreign issuer": with_claims(iss="https://evil.example"),
    "no issuer": with_claims(iss=None),
    "a foreign audience": with_claims(aud="somebody else"),
    "scopes that are a number": with_claims(scope=7),
    "a scope that is none": with_claims(scope="predict"),
    "claims that are a list": signed(HEAD, []),
    "claims that are too deep": signed(HEAD, b"[" * 5000),
    "a head that is too deep": signed(b"[" * 5000, WISHES),
    "a head that is no UTF-8": signed(b'{"alg":"\xff"}', WISHES),
    "no token": "a.b.c",
}


def shown(keys: Keys) -> Iterator[tuple[str, str]]:
    """Yield credentials that are none, with what is wrong with each."""
    identifier, secret = keys.texts["visitor"].removeprefix("wsk_").split("_", 1)
    yield from FORGED.items()
    yield "a guessed key", f"wsk_{'A' * 12}_{'A' * 43}"
    yield "a guessed secret", f"wsk_{identifier}_{'A' * 43}"
    yield "another case", f"wsk_{identifier}_{secret.swapcase()}"
    yield "half a key", keys.texts["visitor"][:-20]
    yield "an empty secret", f"wsk_{identifier}_"
    yield "a stolen key that was revoked", keys.texts["gone"]
    yield "a key that has expired", keys.texts["late"]
    yield "a path", "wsk_../../keys_" + "A" * 43
    yield "something huge", "x" * 8000


def is_refused_everywhere(server: Server, text: str) -> bool:
    """Return whether a credential is refused at each of the places where one can come, by 401 or 4500."""
    bearer = {"Authorization": f"Bearer {text}"}
    statuses = [
        ask(server, "GET", "/v1/models", bearer).status,
        ask(server, "POST", "/v1/models/double/predict", bearer, '{"data":[1,2,3,4]}').status,
        ask(server, "POST", "/v2/models/double/infer", bearer, "{}").status,
        ask(server, "POST", "/v1/tickets", bearer).status,
        ask(server, "GET", "/v1/models", {"Cookie": f"access_token={text}; token={text}"}).status,
        ask(server, "GET", f"/v1/models?access_token={text[:2000]}").status,
    ]
    protocols = ["waterspout.v1.json", f"bearer.{text}"]
    for options in ({"headers": bearer}, {"protocols": protocols} if TOKEN.fullmatch(text) else {"headers": bearer}):
        try:
            with socket(server, DOUBLE, **options):
                statuses.append(101)
        except InvalidStatus as refused:
            statuses.append(refused.response.status_code)
    with socket(server, "/v1/stream") as guest:
        guest.send(json.dumps({"op": "auth", "token": text}))
        assert receive(guest)["error"]["code"] == "unauthenticated"
        return {*statuses} <= {400, 401} and closed(guest) == 4500


def test_what_is_no_credential_opens_nothing(guarded_arena: Arena, visitors: Keys) -> None:
    server = guarded_arena.server
    until(lambda: ask(server, "GET", "/v1/models", visitors.bearer("late")).status == 401)
    assert ask(server, "GET", "/v1/models", {"Authorization": f"Bearer {signed(HEAD, WISHES)}"}).status == 200
    with guarded_arena.under_attack() as attack:
        for what, text in shown(visitors):
            assert is_refused_everywhere(server, text), what
            attack.lasts(PAUSE)
    assert all(text not in server.log for _, text in shown(visitors))


def test_keys_are_guessed_in_vain(guarded_arena: Arena, visitors: Keys) -> None:
    identifier = visitors.texts["visitor"].split("_")[1]
    with guarded_arena.under_attack() as attack, Http(guarded_arena.server) as http:
        for number in itertools.count():
            secret = part(hashlib.sha256(str(number).encode()).digest())
            headers = {"Authorization": f"Bearer wsk_{identifier}_{secret}"}
            reply = http.request("GET", "/v1/models", headers=headers)
            assert (reply.status, reply.headers["WWW-Authenticate"]) == (401, "Bearer")
            if not attack.lasts(PAUSE):
                break


def test_of_many_who_play_a_ticket_one_gets_in(guarded_arena: Arena, visitors: Keys) -> None:
    server = guarded_arena.server
    with guarded_arena.under_attack() as attack:
        while attack.lasts(pause=0.1):
            ticket = ask(server, "POST", "/v1/tickets", visitors.bearer("visitor")).json["ticket"]
            statuses: list[int] = []

            def play(ticket: str = ticket, statuses: list[int] = statuses) -> None:
                try:
                    with socket(server, f"{DOUBLE}?ticket={ticket}"):
                        statuses.append(101)
                except InvalidStatus as refused:
                    statuses.append(refused.response.status_code)

            players = [threading.Thread(target=play) for _ in range(5)]
            for player in players:
                player.start()
            for player in players:
                player.join()
            assert sorted(statuses) == [101, 401, 401, 401, 401]


OTHER_MODELS: Final = (
    "sum",
    "*",
    "doubl*",
    "DOUBLE",
    "double ",
    "double/1",
    "double/../sum",
    "double\x00",
    "",
    "nowhere",
)
OTHER_TOPICS: Final = ("*", "*/*", "sum/*", "dou*/*", "double*/*", "sum/../double/1", "$stats", "$alerts", "$*", "**/x")


def test_a_scope_does_not_reach_further_on_a_multiplexed_socket(guarded_arena: Arena, visitors: Keys) -> None:
    bearer, server = visitors.bearer("visitor"), guarded_arena.server
    with (
        guarded_arena.under_attack() as attack,
        socket(server, "/v1/stream", headers=bearer) as stream,
        socket(server, "/v1/watch", headers=bearer) as watcher,
    ):
        for model, topic in itertools.cycle(itertools.product(OTHER_MODELS, OTHER_TOPICS)):
            stream.send(json.dumps([{"model": model, "data": [1, 2, 3, 4]}, {"model": "double", "data": [1, 2, 3, 4]}]))
            assert receive(stream)["error"]["code"] in ("forbidden", "invalid_message"), model
            assert receive(stream)["outputs"] == {"y": [2, 4, 6, 8]}
            watcher.send(json.dumps({"op": "subscribe", "topics": ["double/none", topic]}))
            assert receive(watcher)["error"]["code"] in ("forbidden", "invalid_message"), topic
            if not attack.lasts(PAUSE):
                break


def test_sockets_of_a_stolen_key_end_when_it_is_revoked(guarded_arena: Arena, visitors: Keys) -> None:
    server, stolen = guarded_arena.server, visitors.add("stolen", "predict:*")
    bearer = {"Authorization": f"Bearer {stolen}"}
    until(lambda: ask(server, "GET", "/v1/models", bearer).status == 200)
    with guarded_arena.under_attack() as attack, ExitStack() as stack:
        thieves = [stack.enter_context(socket(server, "/v1/stream", headers=bearer)) for _ in range(CROWD)]
        visitors.revoke(stolen)
        assert [closed(thief) for thief in thieves] == [4500] * CROWD
        assert ask(server, "GET", "/v1/models", bearer).status == 401
        attack.hold()
