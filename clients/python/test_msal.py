"""MSAL Python: each way to get a token, and a call with it.

Beside the authority it needs one setting, instance_discovery=False: else it asks Microsoft
whether the authority's host is one of theirs.
"""

import pathlib

import msal
import pytest

from kit import (
    APP_SCOPE, AUTHORITY, DAEMON, EVERYONE, MIDDLE_TIER, NATIVE, ROBOT, ROBOT_CERTIFICATE, ROBOT_KEY, ROBOT_THUMBPRINT,
    SECRET, TODO_SCOPE, USER_SCOPE, WEB, WEB_REDIRECT, all_owners, items_of_the_api, own_items, preset, sent_back, visit,
)


def confidential(client_id: str, credential) -> msal.ConfidentialClientApplication:
    return msal.ConfidentialClientApplication(client_id, client_credential=credential, authority=AUTHORITY, instance_discovery=False)


def web() -> msal.ConfidentialClientApplication:
    return confidential(WEB, SECRET)


def public() -> msal.PublicClientApplication:
    return msal.PublicClientApplication(NATIVE, authority=AUTHORITY, instance_discovery=False)


def token_of(result: dict) -> str:
    assert "access_token" in result, result
    return result["access_token"]


def check_refresh(app: msal.ClientApplication, old: str) -> None:
    """Checks that the app has Alice's account, the cached token, and can get a new one."""
    account = app.get_accounts()[0]
    assert account["username"] == "alice@contoso.example"
    assert token_of(app.acquire_token_silent([USER_SCOPE], account)) == old
    new = token_of(app.acquire_token_silent_with_error([USER_SCOPE], account, force_refresh=True))
    assert new != old and own_items(new) == {"alice"}


def test_secret() -> None:
    result = confidential(DAEMON, SECRET).acquire_token_for_client([APP_SCOPE])
    assert all_owners(token_of(result)) == EVERYONE


@pytest.mark.parametrize("named_by", ["certificate", "thumbprint"])
def test_certificate(named_by: str) -> None:
    credential = {"private_key": pathlib.Path(ROBOT_KEY).read_text()}
    if named_by == "certificate":
        credential["public_certificate"] = pathlib.Path(ROBOT_CERTIFICATE).read_text()
    else:
        credential["thumbprint"] = ROBOT_THUMBPRINT
    result = confidential(ROBOT, credential).acquire_token_for_client([APP_SCOPE])
    assert all_owners(token_of(result)) == EVERYONE


def test_on_behalf_of() -> None:
    result = confidential(MIDDLE_TIER, SECRET).acquire_token_on_behalf_of(preset("alice"), [TODO_SCOPE])
    assert items_of_the_api(token_of(result)) == {"alice"}


@pytest.mark.parametrize(("make", "redirect", "more"), [
    (web, WEB_REDIRECT, {}),
    (web, WEB_REDIRECT, {"response_mode": "form_post"}),
    (public, "http://localhost:50123", {}),
])
def test_code(make, redirect: str, more: dict) -> None:
    app = make()
    flow = app.initiate_auth_code_flow([USER_SCOPE], redirect_uri=redirect, **more)
    back = visit(flow["auth_uri"])
    assert back["url"].partition("?")[0].rstrip("/") == redirect
    result = app.acquire_token_by_auth_code_flow(flow, sent_back(back))
    assert own_items(token_of(result)) == {"alice"}
    assert result["id_token_claims"]["preferred_username"] == "alice@contoso.example"
    check_refresh(app, result["access_token"])


def test_device_code() -> None:
    app = public()
    flow = app.initiate_device_flow([USER_SCOPE])
    visit(flow["verification_uri"], code=flow["user_code"])
    result = app.acquire_token_by_device_flow(flow)
    assert own_items(token_of(result)) == {"alice"}
    check_refresh(app, result["access_token"])
