// Servers that keep WebSockets open, for sockets.mjs: socket.io as it comes, and a hub that
// speaks SignalR's JSON protocol (there is no server of SignalR's for Node; the protocol is
// TransportProtocols.md and HubProtocol.md in dotnet/aspnetcore). They say who called.
//
//   node socket-server.mjs
//
// It prints its port and serves until its standard input ends.
import { randomUUID } from 'node:crypto';
import http from 'node:http';
import { Server } from 'socket.io';
import { WebSocketServer } from 'ws';

// user is whose token a request has.
function user(request) {
  const [, payload] = (request.headers.authorization ?? '').split('.');
  return payload ? JSON.parse(Buffer.from(payload, 'base64url')).oid : 'nobody';
}

const recordSeparator = '\x1e';
const server = http.createServer((request, response) => {
  if (!request.url.startsWith('/hub/negotiate?')) {
    response.writeHead(404).end();
    return;
  }
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({
    negotiateVersion: 1, connectionId: randomUUID(), connectionToken: randomUUID(),
    availableTransports: [{ transport: 'WebSockets', transferFormats: ['Text', 'Binary'] }],
  }));
});

const io = new Server(server);
io.on('connection', (socket) => {
  socket.on('echo', (text, answer) => answer({ text, user: user(socket.request), transport: socket.conn.transport.name }));
});

// Without noServer, ws would refuse the handshakes of socket.io.
const hub = new WebSocketServer({ noServer: true, perMessageDeflate: true });
server.on('upgrade', (request, socket, head) => {
  if (request.url.startsWith('/hub?')) hub.handleUpgrade(request, socket, head, (client) => serve(client, user(request)));
});

function serve(client, caller) {
  const send = (message) => client.send(JSON.stringify(message) + recordSeparator);
  client.on('message', (data) => {
    for (const text of data.toString().split(recordSeparator).filter(Boolean)) {
      const message = JSON.parse(text);
      if (message.protocol) send({});
      else if (message.type === 6) send({ type: 6 });
      else if (message.type === 1) {
        send({ type: 3, invocationId: message.invocationId, result: { text: message.arguments[0], user: caller } });
      }
    }
  });
}

server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.on('end', () => process.exit()).resume();
