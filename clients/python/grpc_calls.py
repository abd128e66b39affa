"""Makes gRPC calls of all kinds through middletier, and checks what comes back.

Usage: grpc_calls.py ADDRESS TOKEN. It ends with 1 and says what was wrong.
The messages are google.protobuf.StringValue, written by hand: no code is generated.
"""

import sys
import threading

import grpc

PATIENCE = 30  # seconds


def encode(text: str) -> bytes:
    data = text.encode()
    assert len(data) < 128, "longer ones need a varint of two bytes"
    return b"\x0a" + bytes([len(data)]) + data if data else b""


def decode(message: bytes) -> str:
    return message[2:].decode()


def want(what: str, got, expected) -> None:
    if got != expected:
        sys.exit(f"{what}: got {got!r}, want {expected!r}")


def code_of(what: str, call) -> grpc.RpcError:
    """Returns the error that call ends with."""
    try:
        answer = call()
    except grpc.RpcError as error:
        return error
    sys.exit(f"{what}: got {answer!r}, want an error")


def endless(*texts: str):
    """Sends texts, and then nothing, without an end."""
    yield from texts
    threading.Event().wait(PATIENCE)


def main(address: str, token: str) -> None:
    with grpc.insecure_channel(address) as channel:
        alice = {"metadata": [("authorization", "Bearer " + token)], "timeout": PATIENCE}
        path = "/api/todo/todo.List/"
        add = channel.unary_unary(path + "Add", encode, decode)
        collect = channel.stream_unary(path + "Collect", encode, decode)
        count = channel.unary_stream(path + "Count", encode, decode)
        talk = channel.stream_stream(path + "Talk", encode, decode)

        want("unary", add("milk", **alice), "added milk")
        want("client streaming", collect(iter(["a", "b"]), **alice), "a b")
        want("server streaming", list(count("3", **alice)), ["1", "2", "3"])
        want("both ways", list(talk(iter(["hello", "world"]), **alice)), ["you said hello", "you said world"])

        want("client streaming, ended by the API", collect(endless("a", "enough"), **alice), "a")
        want("both ways, ended by the API", list(talk(endless("bye"), **alice)), ["you said bye"])
        stream = count("-1", **alice)
        want("a stream without an end", next(stream), "1")
        stream.cancel()
        want("a cancelled stream", code_of("a cancelled stream", lambda: next(stream)).code(), grpc.StatusCode.CANCELLED)
        late = code_of("a deadline", lambda: add("everything", metadata=alice["metadata"], timeout=0.5))
        want("a deadline", late.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        own = code_of("the API's own error", lambda: add("nothing", **alice))
        want("the API's own error", (own.code(), own.details()), (grpc.StatusCode.FAILED_PRECONDITION, "nothing is not – 100 % – enough"))

        anonymous = code_of("no token", lambda: add("milk", timeout=PATIENCE))
        want("no token", (anonymous.code(), anonymous.details()), (grpc.StatusCode.UNAUTHENTICATED, "The request has no bearer token."))
        headers = {name for name, _ in (*(anonymous.initial_metadata() or ()), *(anonymous.trailing_metadata() or ()))}
        want("the challenge", {"www-authenticate", "x-request-id"} - headers, set())
        for name, code in {"none": grpc.StatusCode.UNIMPLEMENTED, "gone": grpc.StatusCode.UNAVAILABLE}.items():
            elsewhere = channel.unary_unary(f"/api/{name}/todo.List/Add", encode, decode)
            want("API " + name, code_of("API " + name, lambda: elsewhere("milk", **alice)).code(), code)
        large = code_of("too much", lambda: collect(iter(["x" * 100] * 20), **alice))
        want("too much", large.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
