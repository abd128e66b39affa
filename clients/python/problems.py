"""A check of schemathesis: every problem document is as the service's description says.

schemathesis itself compares an answer with what is described for its status. This looks
at every problem document, whatever its status, and compares it with its own type.
"""

import atexit

import jsonschema_rs
import schemathesis

PROBLEM = "application/problem+json"
checked = 0
atexit.register(lambda: print(f"problem documents checked: {checked}"))


@schemathesis.check
def problem_documents(ctx, response, case) -> None:
    global checked
    content_type = response.headers.get("content-type", [""])[0]
    if response.status_code >= 400 and not case.operation.path.startswith(("/api/", "/app/")):
        assert content_type == PROBLEM, f"{response.status_code} comes with {content_type}, want a problem document"
    if content_type != PROBLEM or case.method == "HEAD":
        return
    checked += 1
    document, described = response.json(), case.operation.schema.raw_schema["components"]
    jsonschema_rs.Draft202012Validator(described["schemas"]["Problem"]).validate(document)
    name = document["type"].rpartition("/")[2]
    assert name in described["examples"], f"{name} is not described"
    example = described["examples"][name]["value"]
    assert document["type"].endswith(example["type"]), f"{document['type']} is not the URL of {example['type']}"
    assert document["title"] == example["title"], f"{name} has the title {document['title']}"
    assert document["status"] == example["status"] == response.status_code, f"{name} has the status {document['status']}"
    assert response.headers.get("x-request-id") == [document["requestId"]], "X-Request-ID is another one"

