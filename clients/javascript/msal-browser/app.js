// MSAL.js in a page: a user signs in, lists their items through the middle tier, proves more
// where it asks for that, and signs out.
//
// The one setting: knownAuthorities has the platform's host, with its port. Otherwise MSAL
// asks Microsoft whether the host is genuine. clientCapabilities says that the page handles
// claims challenges, as at Entra.
const { platform, tenant, service, clientId, scopes } = settings;

const app = new msal.PublicClientApplication({
  auth: {
    clientId,
    authority: `${platform}/${tenant}`,
    knownAuthorities: [new URL(platform).host],
    redirectUri: '/redirect.html',
    postLogoutRedirectUri: '/',
    clientCapabilities: ['cp1'],
  },
  system: { iframeBridgeTimeout: 30_000 }, // a busy machine may stall
});

const account = () => app.getAllAccounts()[0];

// getToken returns an access token. If the user must do something for it, the page leaves for
// the platform, and lists the items when they are back.
async function getToken(request) {
  try {
    return (await app.acquireTokenSilent({ account: account(), scopes, ...request })).accessToken;
  } catch (error) {
    if (!(error instanceof msal.InteractionRequiredAuthError)) throw error;
    await app.acquireTokenRedirect({ account: account(), scopes, claims: request.claims, state: 'list' });
    return new Promise(() => {}); // the page is leaving
  }
}

// list lists the user's items, and answers a claims challenge of the middle tier.
async function list(request = {}) {
  const accessToken = await getToken(request);
  const response = await fetch(`${service}/api/todo/items`, { headers: { authorization: `Bearer ${accessToken}` } });
  const challenge = /claims="([^"]+)"/.exec(response.headers.get('WWW-Authenticate'));
  if (challenge && !request.claims) return list({ claims: atob(challenge[1]) });
  if (!response.ok) return `${response.status} ${await response.text()}`;
  const titles = (await response.json()).map((item) => item.title);
  const { acrs = [] } = JSON.parse(atob(accessToken.split('.')[1].replaceAll('-', '+').replaceAll('_', '/')));
  return [...titles, ...acrs].join(', ');
}

const actions = {
  signInByRedirect: () => app.loginRedirect({ scopes, redirectUri: '/' }),
  signInByPopup: () => app.loginPopup({ scopes }).then(() => 'signed in'),
  signInSilently: () => app.ssoSilent({ scopes, loginHint: settings.loginHint }).then(() => 'signed in'),
  list: () => list(),
  renew: () => list({ forceRefresh: true }),
  signOut: () => app.logoutRedirect({ account: account() }),
};

// show shows who is signed in, and what an action came to.
async function show(action) {
  const result = document.querySelector('#result');
  result.textContent = '';
  let outcome;
  try {
    outcome = await action();
  } catch (error) {
    outcome = error.errorCode ? `${error.name} ${error.errorCode}` : String(error);
    console.log(error);
  }
  document.querySelector('#user').textContent = account()?.username ?? 'nobody';
  if (typeof outcome === 'string') result.textContent = outcome;
}

show(async () => {
  await app.initialize();
  const back = await app.handleRedirectPromise();
  for (const [id, action] of Object.entries(actions)) {
    document.getElementById(id).addEventListener('click', () => show(action));
  }
  return back?.state === 'list' ? list() : 'ready';
});
