"""azure-identity: its credentials, and a call with the token of each.

It needs two settings: authority, and disable_instance_discovery=True, else it asks
Microsoft whether the authority's host is one of theirs.
"""

import pathlib

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import CertificateCredential, ClientSecretCredential, DeviceCodeCredential, OnBehalfOfCredential

from kit import (
    APP_SCOPE, DAEMON, EVERYONE, MIDDLE_TIER, NATIVE, PLATFORM, ROBOT, ROBOT_CERTIFICATE, ROBOT_KEY, SECRET, TENANT,
    TODO_SCOPE, USER_SCOPE, all_owners, items_of_the_api, own_items, preset, visit,
)

HERE = {"authority": PLATFORM, "disable_instance_discovery": True}


def test_secret() -> None:
    credential = ClientSecretCredential(TENANT, DAEMON, SECRET, **HERE)
    assert all_owners(credential.get_token(APP_SCOPE).token) == EVERYONE


def test_wrong_secret() -> None:
    with pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
        ClientSecretCredential(TENANT, DAEMON, "wrong", **HERE).get_token(APP_SCOPE)


@pytest.mark.parametrize("chain", [False, True])
def test_certificate(chain: bool) -> None:
    pem = pathlib.Path(ROBOT_KEY).read_bytes() + pathlib.Path(ROBOT_CERTIFICATE).read_bytes()
    credential = CertificateCredential(TENANT, ROBOT, certificate_data=pem, send_certificate_chain=chain, **HERE)
    assert all_owners(credential.get_token(APP_SCOPE).token) == EVERYONE


def test_on_behalf_of() -> None:
    credential = OnBehalfOfCredential(TENANT, MIDDLE_TIER, client_secret=SECRET, user_assertion=preset("bob"), **HERE)
    assert items_of_the_api(credential.get_token(TODO_SCOPE).token) == {"bob"}


def test_device_code() -> None:
    def prompt(uri: str, code: str, _) -> None:
        visit(uri, "bob", code)

    credential = DeviceCodeCredential(NATIVE, tenant_id=TENANT, prompt_callback=prompt, **HERE)
    assert own_items(credential.get_token(USER_SCOPE).token) == {"bob"}
