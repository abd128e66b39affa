// Clients that keep a WebSocket open through the service, with a bearer token in its header, as
// their libraries send it in Node. Each sends a short and a long message, signs out, and prints
// who the server says that it is, and how the WebSocket ended.
//
//   node sockets.mjs FLOW
import { HubConnectionBuilder, LogLevel } from '@microsoft/signalr';
import { io } from 'socket.io-client';
import { run, SERVICE } from './stack.mjs';

const { TOKEN } = process.env;
const long = 'x'.repeat(300_000);

async function signOut() {
  const response = await fetch(`${SERVICE}/signout`, { method: 'POST', headers: { authorization: `Bearer ${TOKEN}` } });
  if (response.status !== 204) throw new Error(`signing out: ${response.status}`);
}

// check returns what an echo says beside its text, which must be text.
function check({ text, ...rest }, wanted) {
  if (text !== wanted) throw new Error(`the echo has ${text?.length} characters, want ${wanted.length}`);
  return rest;
}

async function socketIO(options) {
  const socket = io(SERVICE, {
    path: '/api/todo/socket.io/', extraHeaders: { authorization: `Bearer ${TOKEN}` }, reconnection: false, ...options,
  });
  await new Promise((resolve, reject) => {
    socket.on('connect', resolve);
    socket.on('connect_error', reject);
  });
  const { engine } = socket.io;
  if (engine.transport.name !== 'websocket') await new Promise((resolve) => { engine.once('upgrade', resolve); });
  check(await socket.emitWithAck('echo', 'hello'), 'hello');
  const said = check(await socket.emitWithAck('echo', long), long);
  const closed = new Promise((resolve) => { socket.on('disconnect', (reason, { context }) => resolve({ reason, code: context?.code })); });
  await signOut();
  return { ...said, ...await closed };
}

run({
  'socket.io': () => socketIO({}),
  'socket.io-websocket': () => socketIO({ transports: ['websocket'] }),

  async signalr() {
    const connection = new HubConnectionBuilder()
      .withUrl(`${SERVICE}/api/todo/hub`, { accessTokenFactory: () => TOKEN })
      .configureLogging(LogLevel.None)
      .build();
    await connection.start();
    check(await connection.invoke('Echo', 'hello'), 'hello');
    const said = check(await connection.invoke('Echo', long), long);
    const closed = new Promise((resolve) => { connection.onclose((error) => resolve(error?.message)); });
    await signOut();
    return { ...said, reason: await closed };
  },
});
