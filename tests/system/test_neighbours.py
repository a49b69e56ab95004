"""What one client does wrong is its own: others on the same server, and in the same batch, notice nothing."""

from contextlib import ExitStack

import pytest

from .client import ENCODINGS, encode, open_stream
from .conftest import StartServer
from .graphs import TABLE
from .process import Server

DOUBLE = "/v1/models/double/stream"
TOO_BIG = 1009


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_message_over_max_message_bytes_closes_with_1009(start_server: StartServer, encoding: str) -> None:
    server = start_server("--max-message-bytes", "1000")
    with open_stream(server, DOUBLE, encoding) as neighbour, open_stream(server, DOUBLE, encoding) as stream:
        event = {"id": "x" * (1000 - len(encode({"id": "", "data": 1}, encoding)) - 2), "data": 1}
        assert stream.refusal(event)["code"] == "invalid_message"  # the id is too long, the message just fits
        stream.send_raw(b" " * 1001 if encoding == "msgpack" else " " * 1001)
        assert stream.close_code() == TOO_BIG
        assert "outputs" in neighbour.ask({"data": [1, 2, 3, 4]})


def test_a_row_on_which_the_model_fails_fails_alone_in_its_batch(zoo: Server) -> None:
    indices = [1, 2, 99, 3, -100, 4]
    with open_stream(zoo, "/v1/models/fragile/stream") as stream:
        stream.send([{"id": number, "data": index} for number, index in enumerate(indices)])
        for number, index in enumerate(indices):
            answer = stream.receive()
            assert answer["id"] == number
            if 0 <= index < len(TABLE):
                assert answer["outputs"] == {"value": TABLE[index]}
            else:
                assert (answer["error"]["code"], answer["error"]["retryable"]) == ("inference_failed", False)


def test_sockets_that_share_a_batch_with_a_failing_row_get_their_predictions(zoo: Server) -> None:
    with ExitStack() as stack:
        streams = [
            stack.enter_context(open_stream(zoo, "/v1/models/gathering/stream?timings=1", encoding))
            for encoding in ENCODINGS * 2
        ]
        for stream in streams:
            stream.send({"data": 1})
        assert [stream.receive()["us"]["batch"] for stream in streams] == [4] * 4  # one batch of four sockets
        for stream, index in zip(streams, [1, 99, 2, 3], strict=True):
            stream.send({"data": index})
        answers = [stream.receive() for stream in streams]
        assert answers[1]["error"]["code"] == "inference_failed"
        assert all("outputs" in answers[number] for number in (0, 2, 3))
        for stream in streams:
            stream.send({"data": 1})
        assert [stream.receive()["us"]["batch"] for stream in streams] == [4] * 4
