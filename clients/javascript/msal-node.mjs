// MSAL Node: every way in which a program on a server or a desktop gets a token.
//
//   node msal-node.mjs FLOW
//
// The one setting: knownAuthorities has the platform's host, with its port. Otherwise MSAL
// asks Microsoft whether the host is genuine.
import { readFileSync } from 'node:fs';
import { X509Certificate } from 'node:crypto';
import { ConfidentialClientApplication, CryptoProvider, PublicClientApplication } from '@azure/msal-node';
import {
  PLATFORM, TENANT_ID, apiScopes, appScopes, listAll, listDirectly, listOwn, run, signIn, userScopes,
} from './stack.mjs';

const { CLIENT_ID: clientId, CLIENT_SECRET: clientSecret, CERTIFICATE, TOKEN, REDIRECT_URI: redirectUri } = process.env;

const platform = { authority: `${PLATFORM}/${TENANT_ID}`, knownAuthorities: [new URL(PLATFORM).host] };
const confidential = () => new ConfidentialClientApplication({ auth: { clientId, clientSecret, ...platform } });
const publicClient = () => new PublicClientApplication({ auth: { clientId, ...platform } });

// daemon gets a token for the application itself, twice.
async function daemon(client) {
  const first = await client.acquireTokenByClientCredential({ scopes: appScopes });
  const second = await client.acquireTokenByClientCredential({ scopes: appScopes });
  return { items: await listAll(first.accessToken), cached: second.fromCache };
}

// renewals gets tokens for an account that has signed in: from the cache, with the refresh
// token that MSAL keeps, and with the refresh token taken out of MSAL's cache.
async function renewals(client, { account, accessToken }) {
  const cached = await client.acquireTokenSilent({ account, scopes: userScopes });
  const forced = await client.acquireTokenSilent({ account, scopes: userScopes, forceRefresh: true });
  const cache = JSON.parse(client.getTokenCache().serialize());
  const [{ secret: refreshToken }] = Object.values(cache.RefreshToken);
  const redeemed = await client.acquireTokenByRefreshToken({ refreshToken, scopes: userScopes });
  return {
    user: account.username,
    items: await listOwn(accessToken),
    cached: cached.fromCache,
    renewed: !forced.fromCache && forced.accessToken !== accessToken && await listOwn(forced.accessToken),
    redeemed: await listOwn(redeemed.accessToken),
  };
}

// byCode signs a user in, as a web app does.
async function byCode(client) {
  const { verifier, challenge } = await new CryptoProvider().generatePkceCodes();
  const page = await client.getAuthCodeUrl({
    scopes: userScopes, redirectUri, state: 'of this request', codeChallenge: challenge, codeChallengeMethod: 'S256',
  });
  const { searchParams } = new URL(await signIn(page, 'alice'));
  const code = searchParams.get('code');
  const result = await client.acquireTokenByCode(
    { code, scopes: userScopes, redirectUri, codeVerifier: verifier, state: 'of this request' },
    { code, state: searchParams.get('state') },
  );
  return renewals(client, result);
}

run({
  secret: () => daemon(confidential()),

  certificate() {
    const pem = readFileSync(CERTIFICATE, 'utf8');
    const clientCertificate = {
      thumbprintSha256: new X509Certificate(pem).fingerprint256.replaceAll(':', ''),
      privateKey: pem.slice(pem.indexOf('-----BEGIN PRIVATE KEY-----')),
      x5c: pem,
    };
    return daemon(new ConfidentialClientApplication({ auth: { clientId, clientCertificate, ...platform } }));
  },

  // An API of one's own, in the place of the middle tier.
  async 'on-behalf-of'() {
    const client = confidential();
    const request = { oboAssertion: TOKEN, scopes: apiScopes };
    const first = await client.acquireTokenOnBehalfOf(request);
    const second = await client.acquireTokenOnBehalfOf(request);
    return { items: await listDirectly(first.accessToken), cached: second.fromCache };
  },

  code: () => byCode(confidential()),

  // A program on a desktop, to which the browser comes back on a free port.
  async interactive() {
    const client = publicClient();
    const openBrowser = (page) => signIn(page, 'alice', { deliver: 'yes' });
    return renewals(client, await client.acquireTokenInteractive({ scopes: userScopes, openBrowser }));
  },

  // For tests of old programs only.
  async password() {
    const client = publicClient();
    return renewals(client, await client.acquireTokenByUsernamePassword({
      scopes: userScopes, username: 'alice@contoso.example', password: 'any',
    }));
  },

  async 'device-code'() {
    const client = publicClient();
    let signedIn;
    const result = await client.acquireTokenByDeviceCode({
      scopes: userScopes,
      deviceCodeCallback({ userCode, verificationUri }) {
        signedIn = signIn(verificationUri, 'bob', { code: userCode });
      },
    });
    await signedIn;
    return renewals(client, result);
  },
});
