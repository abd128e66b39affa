"""A daemon as Microsoft's samples for Python have it: it knows nothing of the middle tier
or of the platform. Usage: daemon.py parameters.json. It prints what the endpoint answers.
"""

import json
import sys

import msal
import requests

with open(sys.argv[1], encoding="utf-8") as file:
    config = json.load(file)

app = msal.ConfidentialClientApplication(config["client_id"], authority=config["authority"], client_credential=config["secret"])
result = app.acquire_token_for_client(scopes=config["scope"])
if "access_token" not in result:
    sys.exit(f"{result.get('error')}: {result.get('error_description')}")
answer = requests.get(config["endpoint"], headers={"Authorization": "Bearer " + result["access_token"]}, timeout=30)
answer.raise_for_status()
print(answer.text.strip())
