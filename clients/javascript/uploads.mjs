// Uploads that are refused, sent in Node's own ways: each has to see the status.
//
//   node uploads.mjs CLIENT URL TOKEN STATUS SIZE TIMES
//
// CLIENT is https, http2, or fetch. It ends with another code than 0 where a status was
// not seen.
import { once } from 'node:events';
import http2 from 'node:http2';
import https from 'node:https';
import { Readable } from 'node:stream';

const [client, address, token, wanted, size, times] = process.argv.slice(2);
const url = new URL(address);
const authorization = `Bearer ${token}`;
const piece = Buffer.alloc(64 << 10);

// body gives the bytes of one upload.
function* body() {
  for (let rest = Number(size); rest > 0; rest -= piece.length) yield piece.subarray(0, rest);
}

const clients = {
  // https looks at an answer when it comes, and stops at an error of its socket.
  async https() {
    const request = https.request(url, {
      method: 'POST', agent: false, headers: { authorization, 'content-length': size },
    });
    Readable.from(body()).pipe(request);
    const [response] = await once(request, 'response');
    await response.resume().toArray();
    return response.statusCode;
  },

  async http2() {
    const session = http2.connect(url.origin);
    try {
      const request = session.request({
        ':method': 'POST', ':path': url.pathname, authorization, 'content-length': size,
      });
      Readable.from(body()).pipe(request);
      const [headers] = await once(request, 'response');
      await request.resume().toArray();
      return headers[':status'];
    } finally {
      session.destroy();
    }
  },

  // fetch speaks HTTP/1.1 in Node.
  async fetch() {
    const response = await fetch(url, {
      method: 'POST', headers: { authorization }, body: Buffer.alloc(Number(size)),
    });
    await response.arrayBuffer();
    return response.status;
  },
};

let lost = 0;
for (let i = 0; i < Number(times); i++) {
  const got = await clients[client]().catch((error) => `${error} (${error.cause ?? error.code})`);
  if (String(got) !== wanted) {
    lost++;
    console.log(`${client}: got ${got}, want ${wanted}`);
  }
}
if (lost > 0) {
  console.log(`${client}: ${lost} of ${times} did not see ${wanted}`);
  process.exitCode = 1;
}
