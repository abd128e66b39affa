// @azure/identity, which Azure's SDKs use.
//
//   node azure-identity.mjs FLOW
//
// The settings: authorityHost is the platform's URL, and disableInstanceDiscovery keeps the
// library from asking Microsoft whether the host is genuine.
import {
  AuthorizationCodeCredential, ClientCertificateCredential, ClientSecretCredential,
  DeviceCodeCredential, OnBehalfOfCredential,
} from '@azure/identity';
import {
  PLATFORM, TENANT_ID, apiScopes, appScopes, listAll, listDirectly, listOwn, run, signIn, userScopes,
} from './stack.mjs';

const { CLIENT_ID, CLIENT_SECRET, CERTIFICATE, TOKEN, REDIRECT_URI } = process.env;

const platform = { authorityHost: PLATFORM, disableInstanceDiscovery: true };

// twice lists the items with a credential's token, and says whether a second token is the
// same.
async function twice(credential, scopes, listItems) {
  const first = await credential.getToken(scopes);
  const second = await credential.getToken(scopes);
  return { items: await listItems(first.token), cached: second.token === first.token };
}

run({
  secret: () => twice(new ClientSecretCredential(TENANT_ID, CLIENT_ID, CLIENT_SECRET, platform), appScopes, listAll),

  certificate: () => twice(new ClientCertificateCredential(TENANT_ID, CLIENT_ID, CERTIFICATE, platform), appScopes, listAll),

  'on-behalf-of': () => twice(new OnBehalfOfCredential({
    tenantId: TENANT_ID, clientId: CLIENT_ID, clientSecret: CLIENT_SECRET, userAssertionToken: TOKEN, ...platform,
  }), apiScopes, listDirectly),

  async code() {
    const page = `${PLATFORM}/${TENANT_ID}/oauth2/v2.0/authorize?${new URLSearchParams({
      client_id: CLIENT_ID, response_type: 'code', redirect_uri: REDIRECT_URI, scope: `${userScopes} offline_access`,
    })}`;
    const code = new URL(await signIn(page, 'alice')).searchParams.get('code');
    return twice(new AuthorizationCodeCredential(TENANT_ID, CLIENT_ID, CLIENT_SECRET, code, REDIRECT_URI, platform), userScopes, listOwn);
  },

  'device-code': () => twice(new DeviceCodeCredential({
    tenantId: TENANT_ID, clientId: CLIENT_ID, ...platform,
    userPromptCallback({ userCode, verificationUri }) {
      signIn(verificationUri, 'bob', { code: userCode });
    },
  }), userScopes, listOwn),
});
