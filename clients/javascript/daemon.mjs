// A daemon as MSAL Node's documentation has it, with no setting but those of its .env, as
// `node --env-file=.env daemon.mjs` reads it. It prints the items of the API whose URL is
// also its App ID URI.
//
// It works unmodified if the platform has a name below ciamlogin.com, on port 443: MSAL does
// not ask Microsoft about those.
import { ConfidentialClientApplication } from '@azure/msal-node';

const { TENANT_ID, CLIENT_ID, CLIENT_SECRET, AAD_ENDPOINT, GRAPH_ENDPOINT } = process.env;

const app = new ConfidentialClientApplication({
  auth: { clientId: CLIENT_ID, authority: `${AAD_ENDPOINT}/${TENANT_ID}`, clientSecret: CLIENT_SECRET },
});
const { accessToken } = await app.acquireTokenByClientCredential({ scopes: [`${GRAPH_ENDPOINT}/.default`] });
const response = await fetch(`${GRAPH_ENDPOINT}/items`, { headers: { authorization: `Bearer ${accessToken}` } });
console.log(await response.text());
