// A central system: ocpp-rpc in strict mode. Given: passwords by identity; and for TLS {cert, key, ca}, files, where `ca`
// asks for a certificate whose common name is the identity. Orders: {n, to, method, params}, {n, drop: id}, {n, silent: true},
// {n, away: true}, {n, pour: id, text, times}: whatever text, as no library would send it.
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { RPCServer } from "ocpp-rpc";
import { obey, say, watch } from "./lines.mjs";

const passwords = JSON.parse(process.argv[2] ?? "{}");
const tls = JSON.parse(process.argv[3] ?? "null");
// One that is started anew: at which port, and from which transaction's number on.
const again = JSON.parse(process.argv[4] ?? '{"port":0,"transaction":100}');
const server = new RPCServer({ protocols: ["ocpp2.0.1", "ocpp1.6"], strictMode: true });
const clients = new Map();
let transaction = again.transaction;
let silent = false; // loses the answers it owes, as a network does
let away = false; // cannot be reached
const judged = (tag) => (tag.startsWith("99") ? "Invalid" : "Accepted");
const family = (tag) => tag.startsWith("04FA"); // all of one group

server.auth((accept, reject, handshake) => {
  const wanted = passwords[handshake.identity];
  const shown = tls?.ca ? handshake.request.client.getPeerCertificate()?.subject?.CN : handshake.identity;
  if (away) {
    reject(503);
  } else if (shown !== handshake.identity) {
    say({ event: "refused", id: handshake.identity });
    reject(401);
  } else if (wanted !== undefined && handshake.password?.toString("utf8") !== wanted) {
    say({ event: "refused", id: handshake.identity });
    reject(401);
  } else {
    accept({});
  }
});

server.on("client", (client) => {
  clients.set(client.identity, client);
  watch(client);
  say({ event: "connected", id: client.identity, protocol: client.protocol });
  client.on("disconnect", () => say({ event: "disconnected", id: client.identity }));
  client.on("close", () => say({ event: "disconnected", id: client.identity }));
  const answers = {
    BootNotification: () => ({ status: "Accepted", interval: 30, currentTime: new Date().toISOString() }),
    Heartbeat: () => ({ currentTime: new Date().toISOString() }),
    Authorize: (p) =>
      client.protocol === "ocpp1.6"
        ? { idTagInfo: { status: judged(p.idTag), ...(family(p.idTag) ? { parentIdTag: "FAMILY" } : {}) } }
        : {
            idTokenInfo: {
              status: judged(p.idToken.idToken),
              ...(family(p.idToken.idToken) ? { groupIdToken: { idToken: "FAMILY", type: "Central" } } : {}),
            },
          },
    StartTransaction: (p) => ({ transactionId: ++transaction, idTagInfo: { status: judged(p.idTag) } }),
    StopTransaction: () => ({ idTagInfo: { status: "Accepted" } }),
    TransactionEvent: (p) => (p.idToken ? { idTokenInfo: { status: judged(p.idToken.idToken) } } : {}),
  };
  client.handle(async ({ method, params, messageId }) => {
    const answer = (answers[method] ?? (() => ({})))(params);
    say({ event: "call", id: client.identity, message: messageId, method, params, answer });
    if (silent) await new Promise(() => {});
    return answer;
  });
});

if (tls === null) {
  const http = await server.listen(again.port, "127.0.0.1");
  say({ event: "listening", port: http.address().port });
} else {
  const files = Object.fromEntries(Object.entries(tls).map(([name, file]) => [name, readFileSync(file)]));
  const https = createServer({ ...files, requestCert: "ca" in tls, rejectUnauthorized: "ca" in tls });
  https.on("upgrade", server.handleUpgrade);
  https.on("tlsClientError", () => say({ event: "no tls" }));
  https.listen(0, "127.0.0.1", () => say({ event: "listening", port: https.address().port }));
}

obey(async (order) => {
  if (order.silent !== undefined) {
    silent = order.silent;
    return {};
  }
  if (order.away !== undefined) {
    away = order.away;
    if (away) for (const client of clients.values()) await client.close({ force: true }).catch(() => {});
    return {};
  }
  if (order.pour) {
    const socket = clients.get(order.pour)._ws;
    for (let i = 0; i < order.times && socket.readyState === socket.OPEN; i++)
      await new Promise((sent) => socket.send(order.text, sent));
    return {};
  }
  if (order.drop) {
    await clients.get(order.drop).close({ force: true });
    return {};
  }
  return clients.get(order.to).call(order.method, order.params);
});
