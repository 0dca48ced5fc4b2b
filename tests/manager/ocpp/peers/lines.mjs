// Orders in on standard input, events out on standard output, one JSON object a line.
import { createInterface } from "node:readline";

export function say(what) {
  process.stdout.write(JSON.stringify(what) + "\n");
}

export function obey(handler) {
  const lines = createInterface({ input: process.stdin });
  lines.on("line", async (line) => {
    const order = JSON.parse(line);
    try {
      say({ event: "answer", n: order.n, result: await handler(order) });
    } catch (e) {
      say({ event: "answer", n: order.n, error: e.rpcErrorCode ?? e.name, words: e.message });
    }
  });
  lines.on("close", () => process.exit(0));
}

// Anything either side says that the published schemas do not allow.
export function watch(client) {
  client.on("strictValidationFailure", (f) =>
    say({
      event: "violation",
      method: f.method,
      outbound: f.outbound,
      call: f.isCall,
      words: String(f.error?.message),
      details: f.error?.details ?? null,
    }),
  );
  client.on("badMessage", (f) => say({ event: "violation", words: `bad message ${f.buffer}` }));
}
