"""The Python SDK of the Model Context Protocol: its client, with its own OAuth.

    python mcp_client.py FLOW REVISION

It is given the URL of the server, and a place to keep what it learns. Only where the client
is registered by hand it has to know its client ID, and the issuer that this is for. TLS is
verified with the file in SSL_CERT_FILE.
"""

import asyncio
import json
import os
import sys
import urllib.parse
import urllib.request
import warnings

from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata
from mcp_types import ResourceUpdatedNotification

SERVER, CALLBACK = os.environ["SERVER"], os.environ["REDIRECT_URI"]

warnings.simplefilter("ignore")  # the SDK's own, of methods that the newer revision does not have


class Storage:
    """What the SDK keeps."""

    def __init__(self, client=None):
        self.client, self.tokens = client, None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client_info):
        self.client = client_info


def names(scopes: str) -> str:
    """Returns the names of scopes, without what they begin with."""
    return " ".join(sorted(scope.rsplit("/", 1)[-1] for scope in scopes.split()))


class Browser:
    """The browser of a user."""

    def __init__(self, user):
        self.user, self.asked, self.back = user, [], {}

    async def open(self, page: str) -> None:
        self.asked.append(names(dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(page).query))["scope"]))
        person = urllib.parse.urlencode({"url": page, "user": f"{self.user}@contoso.example"})
        with urllib.request.urlopen(f"{os.environ['PEOPLE']}/?{person}") as answer:
            leaving = json.load(answer)["url"]
        self.back = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(leaving).query))

    async def answer(self) -> AuthorizationCodeResult:
        return AuthorizationCodeResult(code=self.back["code"], state=self.back.get("state"), iss=self.back.get("iss"))


async def use(user: str, revision: str, known: OAuthClientInformationFull | None = None) -> dict:
    """Lists and calls tools, and waits for a notification."""
    storage, browser = Storage(known), Browser(user)
    provider = OAuthClientProvider(
        SERVER, OAuthClientMetadata(client_name="test", redirect_uris=[CALLBACK]), storage,
        redirect_handler=browser.open, callback_handler=browser.answer,
    )  # fmt: skip
    updated = asyncio.Queue()

    async def on_message(message) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            updated.put_nowait(str(message.params.uri))

    mode = "legacy" if revision == "2025-11-25" else "auto"
    async with (
        create_mcp_http_client(auth=provider) as http,
        Client(streamable_http_client(SERVER, http_client=http), mode=mode, message_handler=on_message) as client,
    ):
        tools = await client.list_tools()

        async def call(name, **arguments):
            result = await client.call_tool(name, arguments)
            if result.is_error:
                raise RuntimeError(result.content[0].text)
            return result.structured_content

        before = await call("todo_list")
        first = len(browser.asked)
        if mode == "legacy":
            await client.subscribe_resource(before["uri"])
            item = await call("todo_add", title="tea")
            notified = await asyncio.wait_for(updated.get(), 30)
        else:
            async with client.listen(resource_subscriptions=[before["uri"]]) as changes:
                item = await call("todo_add", title="tea")
                notified = (await asyncio.wait_for(anext(aiter(changes)), 30)).uri
        after = await call("todo_list")
        await call("todo_delete", id=item["id"])
        return {
            "revision": client.protocol_version, "tools": " ".join(sorted(tool.name for tool in tools.tools)),
            "before": len(before["items"]), "after": ", ".join(i["title"] for i in after["items"]),
            "notified": notified == before["uri"], "signedIn": browser.asked[:first], "then": browser.asked[first:],
        }  # fmt: skip


async def main() -> None:
    flow, revision = sys.argv[1:]
    known = None
    if flow == "known":
        known = OAuthClientInformationFull(
            client_id=os.environ["CLIENT_ID"], redirect_uris=[CALLBACK], token_endpoint_auth_method="none",
            issuer=os.environ["ISSUER"],
        )  # fmt: skip
    print(json.dumps(await use("bob" if known else "alice", revision, known)))


asyncio.run(main())
