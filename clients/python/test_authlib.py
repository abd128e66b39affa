"""Authlib: a sign-in as any OpenID client makes it, and a daemon. It needs no setting."""

import requests
from authlib.common.security import generate_token
from authlib.integrations.requests_client import OAuth2Session
from joserfc import jwt
from joserfc.jwk import KeySet

from kit import APP_SCOPE, AUTHORITY, DAEMON, EVERYONE, SECRET, USER_SCOPE, WEB, WEB_REDIRECT, all_owners, own_items, visit


def discover() -> dict:
    return requests.get(AUTHORITY + "/v2.0/.well-known/openid-configuration", timeout=30).json()


def check_id_token(token: str, metadata: dict, nonce: str) -> None:
    keys = KeySet.import_key_set(requests.get(metadata["jwks_uri"], timeout=30).json())
    identity = jwt.decode(token, keys, algorithms=["RS256"])
    expected = {"iss": metadata["issuer"], "aud": WEB, "nonce": nonce, "preferred_username": "alice@contoso.example"}
    registry = jwt.JWTClaimsRegistry(**{name: {"essential": True, "value": value} for name, value in expected.items()})
    registry.validate(identity.claims)


def test_client_credentials() -> None:
    token = OAuth2Session(DAEMON, SECRET, scope=APP_SCOPE).fetch_token(discover()["token_endpoint"], grant_type="client_credentials")
    assert all_owners(token["access_token"]) == EVERYONE


def test_code_and_refresh() -> None:
    metadata, verifier, nonce = discover(), generate_token(48), generate_token(20)
    scope = "openid profile offline_access " + USER_SCOPE
    web = OAuth2Session(WEB, SECRET, scope=scope, redirect_uri=WEB_REDIRECT, code_challenge_method="S256")
    page, state = web.create_authorization_url(metadata["authorization_endpoint"], code_verifier=verifier, nonce=nonce)
    back = visit(page)["url"]
    token = web.fetch_token(metadata["token_endpoint"], authorization_response=back, state=state, code_verifier=verifier)
    assert own_items(token["access_token"]) == {"alice"}
    check_id_token(token["id_token"], metadata, nonce)
    new = web.refresh_token(metadata["token_endpoint"], refresh_token=token["refresh_token"])
    assert new["refresh_token"] != token["refresh_token"]
    assert own_items(new["access_token"]) == {"alice"}
