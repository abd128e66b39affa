// The TypeScript SDK of the Model Context Protocol: its client, with its own OAuth.
//
//   node mcp.mjs FLOW
//
// It is given the URL of the server, and a place to keep what it learns. Only where the client
// is registered by hand it has to know its client ID, and the issuer that this is for.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { CallToolResultSchema, ResourceUpdatedNotificationSchema } from '@modelcontextprotocol/sdk/types.js';
import { list, run, signIn } from './stack.mjs';

const { SERVER, ISSUER, CLIENT_ID, REDIRECT_URI } = process.env;

// Provider keeps what the SDK learns, and opens the browser.
class Provider {
  constructor(user, known) {
    Object.assign(this, { user, client: known, asked: [] });
  }

  redirectUrl = REDIRECT_URI;
  clientMetadata = { client_name: 'test', redirect_uris: [REDIRECT_URI], grant_types: ['authorization_code', 'refresh_token'] };
  state() { return (this.expected = crypto.randomUUID()); }
  clientInformation() { return this.client; }
  saveClientInformation(client) { this.client = client; }
  tokens() { return this.held; }
  saveTokens(tokens) { this.held = tokens; }
  saveCodeVerifier(verifier) { this.verifier = verifier; }
  codeVerifier() { return this.verifier; }

  async redirectToAuthorization(page) {
    this.asked.push(page.searchParams.get('scope'));
    const back = new URL(await signIn(page.href, this.user)).searchParams;
    if (back.get('state') !== this.expected) throw new Error(`the answer of another sign-in: ${back}`);
    if (!back.has('code')) throw new Error(`no code: ${back}`);
    this.code = back.get('code');
  }
}

// The names of scopes, without what they begin with.
const names = (scopes) => scopes.split(' ').map((scope) => scope.split('/').at(-1)).sort().join(' ');

// attempt does something once more if the SDK sends the user to sign in before.
async function attempt(provider, transport, what) {
  try {
    return await what();
  } catch (error) {
    if (!(error instanceof UnauthorizedError)) throw error;
    await transport.finishAuth(provider.code);
    return what();
  }
}

// connect signs a user in, and returns a client of the server.
async function connect(provider) {
  const open = () => new StreamableHTTPClientTransport(new URL(SERVER), { authProvider: provider });
  let [client, transport] = [new Client({ name: 'test', version: '1' }), open()];
  try {
    await client.connect(transport);
    throw new Error('the server asks for no token');
  } catch (error) {
    if (!(error instanceof UnauthorizedError)) throw error;
    await transport.finishAuth(provider.code);
  }
  [client, transport] = [new Client({ name: 'test', version: '1' }), open()];
  await client.connect(transport);
  return { client, transport };
}

// use lists and calls tools, waits for a notification, and ends the session.
async function use(provider) {
  const { client, transport } = await connect(provider);
  const { tools } = await client.listTools();
  const call = async (name, args = {}) => {
    const result = await attempt(provider, transport, () => client.callTool({ name, arguments: args }));
    if (result.isError) throw new Error(result.content[0].text);
    return result.structuredContent;
  };
  const before = await call('todo_list');
  const first = provider.asked.length;
  const changed = new Promise((resolve) => {
    client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => resolve(params.uri));
  });
  await client.subscribeResource({ uri: before.uri });
  const item = await call('todo_add', { title: 'tea' });
  const notified = await changed === before.uri;
  const after = await call('todo_list');
  const items = await list(`${new URL(SERVER).origin}/api/todo/items`, provider.held.access_token);
  await call('todo_delete', { id: item.id });
  const session = transport.sessionId;
  await transport.terminateSession();
  await client.close();
  const later = await fetch(SERVER, {
    method: 'POST', body: '{"jsonrpc":"2.0","id":1,"method":"tools/list"}',
    headers: {
      authorization: `Bearer ${provider.held.access_token}`, 'mcp-session-id': session,
      'content-type': 'application/json', accept: 'application/json, text/event-stream',
    },
  });
  return {
    tools: tools.map((tool) => tool.name).join(' '), before: before.items.length, after: after.items.map((i) => i.title).join(', '),
    items, notified, ended: later.status, signedIn: provider.asked.slice(0, first).map(names), then: provider.asked.slice(first).map(names),
  };
}

run({
  // The client registers itself.
  registered: () => use(new Provider('alice')),

  // The client has a client ID of its own at the issuer.
  known: () => use(new Provider('bob', { client_id: CLIENT_ID, issuer: ISSUER })),

  // A stream that breaks goes on behind its last event.
  async resume() {
    const provider = new Provider('alice');
    const { client, transport } = await connect(provider);
    const events = [];
    const result = await client.request(
      { method: 'tools/call', params: { name: 'todo_list', arguments: {} } },
      CallToolResultSchema,
      { onresumptiontoken: (token) => events.push(token) },
    );
    const again = await client.request(
      { method: 'tools/call', params: { name: 'todo_list', arguments: {} } },
      CallToolResultSchema,
      { resumptionToken: events[0] },
    );
    await transport.terminateSession();
    await client.close();
    return { events: events.length, same: JSON.stringify(again) === JSON.stringify(result) };
  },
});
