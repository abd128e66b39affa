// Microsoft's Agents SDK: the tokens that an agent gets from the sidecar.
//
//   node agents-hosting.mjs
//
// It reads calls, one JSON object a line, and answers each with a line. The settings are
// variables, as for an agent: CONNECTIONS__…__SETTINGS__AUTHTYPE=EntraAuthSideCar, and
// SIDECAR_URL where the sidecar is not at http://localhost:5178.
import { createInterface } from 'node:readline';
import { MsalConnectionManager, loadAuthConfigFromEnv } from '@microsoft/agents-hosting';

const provider = new MsalConnectionManager(undefined, undefined, loadAuthConfigFromEnv()).getDefaultConnection();

const calls = {
  healthy: async () => String(await provider.isHealthy()),
  app: ({ scopes }) => provider.getAccessToken(scopes[0]),
  application: ({ tenant, agent }) => provider.getAgenticApplicationToken(tenant, agent),
  instance: ({ tenant, agent }) => provider.getAgenticInstanceToken(tenant, agent),
  user: ({ tenant, agent, user, scopes }) => provider.getAgenticUserToken(tenant, agent, user, scopes),
};

for await (const line of createInterface({ input: process.stdin })) {
  const call = JSON.parse(line);
  let answer;
  try {
    answer = { token: await calls[call.name](call) };
  } catch (error) {
    answer = { error: String(error.code), message: error.message };
  }
  console.log(JSON.stringify(answer));
}
