"""Microsoft's Agents SDK: the tokens that an agent gets from the sidecar.

It reads calls, one JSON object a line, and answers each with a line. The settings are
variables, as for an agent: CONNECTIONS__…__SETTINGS__AUTHTYPE=EntraAuthSideCar, and
SIDECAR_URL where the sidecar is not at http://localhost:5178.
"""

import asyncio
import json
import os
import sys

from microsoft_agents.activity import load_configuration_from_env
from microsoft_agents.authentication.entra_auth_sidecar import SidecarAuth
from microsoft_agents.hosting.core import ConnectionManager


async def ask(provider: SidecarAuth, call: dict) -> str:
    """Makes one call and returns the token."""
    tenant, agent = call.get("tenant"), call.get("agent")
    match call["name"]:
        case "healthy":
            return str(await provider.is_healthy()).lower()
        case "app":
            return await provider.get_access_token("", call["scopes"], call.get("refresh", False))
        case "application":
            return await provider.get_agentic_application_token(tenant, agent)
        case "instance":
            token, _ = await provider.get_agentic_instance_token(tenant, agent)
            return token
        case "user":
            return await provider.get_agentic_user_token(tenant, agent, call["user"], call.get("scopes"))
    raise LookupError(call["name"])


async def main() -> None:
    manager = ConnectionManager(provider_factory=SidecarAuth, **load_configuration_from_env(os.environ))
    provider = manager.get_default_connection()
    while line := await asyncio.to_thread(sys.stdin.readline):
        try:
            answer = {"token": await ask(provider, json.loads(line))}
        except Exception as error:  # pylint: disable=broad-except # each kind is an answer
            answer = {"error": type(error).__name__, "message": str(error)}
        print(json.dumps(answer), flush=True)
    await provider.close()


asyncio.run(main())
