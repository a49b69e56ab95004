"""`/openapi.json` is what the doors do: schemathesis asks them all that it allows, and some of what it does not."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from handlers.app import DOORS
from handlers.base import JsonHandler
from handlers.openapi import document

from .client import get
from .process import Server, running_server
from .v2_models import tensor, write_models

CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
DESCRIPTION: Final[dict[str, Any]] = json.loads(json.dumps(document(DOORS)))
OPERATIONS: Final = [(method, path) for path, item in DESCRIPTION["paths"].items() for method in item]
POSITIVE, NEGATIVE = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
ASKED: Final = [
    *((method, path, POSITIVE) for method, path in OPERATIONS),
    *(
        (method, path, NEGATIVE)
        for method, path in OPERATIONS
        if "requestBody" in DESCRIPTION["paths"][path][method] or "{version}" in path
    ),
]
"""A door without a body is asked nothing that its description does not allow: any name of a model is one."""

CASES: Final = 40  # of each operation and mode
MODEL: Final = "add"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give a server whose models are all in order."""
    root = tmp_path_factory.mktemp("sound")
    write_models(root, ["add", "double"])
    with running_server("--models", str(root)) as server:
        yield server


@pytest.mark.parametrize(("method", "path", "mode"), ASKED)
def test_no_door_fails_or_answers_what_is_not_written(
    sound: Server, method: str, path: str, mode: GenerationMode
) -> None:
    schema = schemathesis.openapi.from_dict(DESCRIPTION)
    operation = schema[path][method.upper()]
    address = sound.ws.replace("ws", "http", 1)
    seen: set[int] = set()

    @seed(0)
    @settings(
        max_examples=CASES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        if "model" in case.path_parameters and len(str(case.path_parameters["model"])) % 3:
            case.path_parameters["model"] = MODEL  # a random name would be all that is ever looked at
        if "version" in case.path_parameters and len(str(case.path_parameters["version"])) % 3:
            case.path_parameters["version"] = "1"
        seen.add(case.call_and_validate(base_url=address, checks=CHECKS, timeout=10).status_code)

    ask()
    fits = mode is POSITIVE and not path.endswith(("/infer", "/predict", "/{session}"))  # for these nothing random fits
    is_closed = path.startswith("/v2/repository/models/")  # without --model-control explicit
    assert seen & ({403} if is_closed else {200} if fits else {400, 404})
    sound.check_log()


def test_the_table_of_doors_knows_every_method_of_each_handler() -> None:
    for door in DOORS:
        if issubclass(door.handler, JsonHandler) and door.operations:
            assert set(door.operations) == set(door.handler.methods()), door.path


def test_every_answer_of_the_inference_protocol_has_a_schema(sound: Server) -> None:
    served = get(sound, "/openapi.json")
    assert served.json == DESCRIPTION
    assert served.json["openapi"].startswith("3.1")
    infer = served.json["paths"]["/v2/models/{model}/infer"]["post"]
    assert infer["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/InferRequest")
    assert set(infer["responses"]) == {"200", "400", "401", "403", "404", "413", "500", "503"}
    names = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(served.json)))
    assert names <= set(served.json["components"]["schemas"])
    assert tensor("a", [1, 3], "FP32", []).keys() <= set(
        served.json["components"]["schemas"]["InferInput"]["properties"]
    )


def test_the_page_brings_all_it_needs_and_may_load_nothing_else(zoo: Server) -> None:
    page = get(zoo, "/docs")
    assert page.status == 200
    assert page.headers.get_content_type() == "text/html"
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "http" not in policy
    links = re.findall(r'(?:src|href)="([^"]+)"', page.body.decode())
    assert len(links) == 4
    for link in links:
        assert link.startswith("/docs/")
        assert get(zoo, link).status == 200
    assert b'"/openapi.json"' in get(zoo, "/docs/start.js").body
    assert len(get(zoo, "/docs/swagger-ui-bundle.js").body) > 1_000_000
    for wrong in ("/docs/other.js", "/docs/..%2f..%2f__init__.py", "/docs/swagger-ui.css/x"):
        assert get(zoo, wrong).status == 404
