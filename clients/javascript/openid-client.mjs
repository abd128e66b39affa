// openid-client, which knows OpenID Connect and nothing of Microsoft.
//
//   node openid-client.mjs FLOW
//
// It needs no setting beyond the issuer, whose metadata it reads: the platform's URL, the
// tenant's id, and v2.0.
import * as client from 'openid-client';
import { PLATFORM, TENANT_ID, appScopes, listAll, listOwn, run, signIn, userScopes } from './stack.mjs';

const { CLIENT_ID, CLIENT_SECRET, REDIRECT_URI } = process.env;

const discover = () => client.discovery(new URL(`${PLATFORM}/${TENANT_ID}/v2.0`), CLIENT_ID, CLIENT_SECRET);

// signInFor returns the tokens that a user who signs in gives us for scopes.
async function signInFor(config, scopes) {
  const verifier = client.randomPKCECodeVerifier();
  const [state, nonce] = [client.randomState(), client.randomNonce()];
  const page = client.buildAuthorizationUrl(config, {
    redirect_uri: REDIRECT_URI, scope: scopes.join(' '), state, nonce,
    code_challenge: await client.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256',
  });
  const back = new URL(await signIn(page.href, 'alice'));
  return client.authorizationCodeGrant(config, back, {
    pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true,
  });
}

run({
  async 'client-credentials'() {
    const { access_token: token } = await client.clientCredentialsGrant(await discover(), { scope: appScopes.join(' ') });
    return { items: await listAll(token) };
  },

  async code() {
    const config = await discover();
    const tokens = await signInFor(config, ['openid', 'profile', 'offline_access', ...userScopes]);
    const renewed = await client.refreshTokenGrant(config, tokens.refresh_token);
    return {
      user: tokens.claims().preferred_username,
      items: await listOwn(tokens.access_token),
      renewed: renewed.access_token !== tokens.access_token && await listOwn(renewed.access_token),
    };
  },

  // A token for OpenID's scopes alone is good at userinfo.
  async userinfo() {
    const config = await discover();
    const tokens = await signInFor(config, ['openid', 'profile', 'email']);
    const { sub, ...claims } = await client.fetchUserInfo(config, tokens.access_token, tokens.claims().sub);
    return { same: sub === tokens.claims().sub, name: claims.name };
  },

  async 'device-code'() {
    const config = await discover();
    const device = await client.initiateDeviceAuthorization(config, { scope: userScopes.join(' ') });
    await signIn(device.verification_uri, 'bob', { code: device.user_code });
    const tokens = await client.pollDeviceAuthorizationGrant(config, device);
    return { items: await listOwn(tokens.access_token) };
  },

  // The page to which a user is sent who signs out.
  async 'sign-out'() {
    const config = await discover();
    const page = client.buildEndSessionUrl(config, { post_logout_redirect_uri: REDIRECT_URI, state: 'after' });
    return { to: (await signIn(page.href, 'alice')).replace(REDIRECT_URI, 'REDIRECT_URI') };
  },
});
