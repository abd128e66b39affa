"""What the programs of this folder share: where the test has put everything (the
variables of its environment), and what they do beside getting tokens.

TLS is verified with the file in REQUESTS_CA_BUNDLE, as requests does for everyone.
"""

import os
import urllib.parse

import requests

PLATFORM = os.environ["PLATFORM"]  # the identity platform's URL, without a slash at the end
SERVICE = os.environ["SERVICE"]  # the middle tier's
TODO = os.environ["TODO"]  # the ToDo API's
PEOPLE = os.environ["PEOPLE"]  # that of people who sign in

# The names of the platform's default directory.
TENANT = "11111111-1111-4111-8111-111111111111"
MIDDLE_TIER = "22222222-2222-4222-8222-222222222222"
DAEMON = "55555555-5555-4555-8555-555555555555"
WEB = "66666666-6666-4666-8666-666666666666"
NATIVE = "88888888-8888-4888-8888-888888888888"
SECRET = "mock-secret"
WEB_REDIRECT = "http://localhost:3000/auth/redirect"
AUTHORITY = f"{PLATFORM}/{TENANT}"

APP_SCOPE = f"api://{MIDDLE_TIER}/.default"
USER_SCOPE = f"api://{MIDDLE_TIER}/ToDoList.ReadWrite"
TODO_SCOPE = "api://todo/.default"

# Who has items.
EVERYONE = {"alice", "bob"}

# A daemon that the test registers, with a certificate.
ROBOT = os.environ["ROBOT_CLIENT_ID"]
ROBOT_CERTIFICATE = os.environ["ROBOT_CERTIFICATE"]  # files
ROBOT_KEY = os.environ["ROBOT_KEY"]
ROBOT_THUMBPRINT = os.environ["ROBOT_THUMBPRINT"]


def owners(url: str, token: str) -> set[str]:
    """Returns whose items an address lists."""
    answer = requests.get(url, headers={"Authorization": "Bearer " + token}, timeout=30)
    assert answer.status_code == 200, answer.text
    return {item["name"] for item in answer.json()}


def all_owners(token: str) -> set[str]:
    """Returns whose items the middle tier lists for a daemon."""
    return owners(SERVICE + "/app/todo/items", token)


def own_items(token: str) -> set[str]:
    """Returns whose items the middle tier lists for a user."""
    return owners(SERVICE + "/api/todo/items", token)


def items_of_the_api(token: str) -> set[str]:
    """Returns whose items the ToDo API itself lists."""
    return owners(TODO + "/items", token)


def preset(name: str) -> str:
    """Returns a new token for the middle tier, which the platform signs for tests."""
    return requests.get(f"{PLATFORM}/mock/tokens/{name}", timeout=30).text.strip()


def visit(page: str, user: str = "alice", code: str = "") -> dict[str, str]:
    """Opens a page of the platform as a user. Returns where the platform sends the browser
    in the end, as "url", and what it posts there, as "form"."""
    person = {"url": page, "user": f"{user}@contoso.example", "code": code}
    answer = requests.get(PEOPLE, params=person, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def sent_back(where: dict[str, str]) -> dict[str, str]:
    """Returns the parameters with which the browser was sent back, in a query or a form."""
    return dict(urllib.parse.parse_qsl(where.get("form") or urllib.parse.urlsplit(where["url"]).query))
