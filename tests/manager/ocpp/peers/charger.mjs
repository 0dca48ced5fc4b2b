// A charge point with one connector and a car: ocpp-rpc in strict mode. It understands its profiles by itself.
// Orders: {n, begin: tag, wants: A}, {n, end: true}, {n, drop: true}, {n, wants: A}.
import { RPCClient } from "ocpp-rpc";
import { obey, say, watch } from "./lines.mjs";

const { url, id, password, version, unit, phases, follow_ms, step_ms = 50, sample_ms = 500 } = JSON.parse(process.argv[2]);
const old = version === "1.6";
const client = new RPCClient({
  endpoint: url,
  identity: id,
  password,
  protocols: [old ? "ocpp1.6" : "ocpp2.0.1"],
  strictMode: true,
  reconnect: true,
  backoff: { initialDelay: 200, maxDelay: 1000 },
});
watch(client);

const profiles = new Map();
let transaction = null;
let wants = 0;
let drawn = 0;
let energy = 5000;
let status = "Available";
let sequence = 0;
let changing = null;
const now = () => new Date().toISOString();

// The highest level of a purpose that speaks now; the transaction's own before the default.
function says(purpose) {
  let best = null;
  for (const p of profiles.values()) {
    if (p.chargingProfilePurpose !== purpose) continue;
    const s = Array.isArray(p.chargingSchedule) ? p.chargingSchedule[0] : p.chargingSchedule;
    const since = (Date.now() - Date.parse(s.startSchedule)) / 1000;
    if (since < 0 || (s.duration !== undefined && since >= s.duration)) continue;
    if (best && best.stack >= p.stackLevel) continue;
    let limit = null;
    for (const q of s.chargingSchedulePeriod) if (q.startPeriod <= since) limit = q.limit;
    const amps = s.chargingRateUnit === "W" ? limit / (230 * phases) : limit;
    best = { stack: p.stackLevel, amps };
  }
  return best?.amps ?? null;
}

function allowed() {
  const limits = [says("TxProfile") ?? says("TxDefaultProfile") ?? 32];
  const whole = says(old ? "ChargePointMaxProfile" : "ChargingStationMaxProfile");
  if (whole !== null) limits.push(whole);
  return Math.min(...limits);
}

function setProfile(p, profile) {
  const s = Array.isArray(profile.chargingSchedule) ? profile.chargingSchedule[0] : profile.chargingSchedule;
  if (s.chargingRateUnit !== unit) return { status: "Rejected" };
  if (profile.chargingProfilePurpose === "TxProfile" && String(profile.transactionId) !== String(transaction))
    return { status: "Rejected" };
  profiles.set(old ? profile.chargingProfileId : profile.id, profile);
  say({ event: "profile", profile });
  return { status: "Accepted" };
}

client.handle("SetChargingProfile", ({ params }) => setProfile(params, params.csChargingProfiles ?? params.chargingProfile));
client.handle("ClearChargingProfile", () => (profiles.clear(), { status: "Accepted" }));
client.handle("GetConfiguration", () => ({
  configurationKey: [
    { key: "ChargingScheduleAllowedChargingRateUnit", readonly: true, value: unit === "A" ? "Current" : "Power" },
  ],
  unknownKey: [],
}));
client.handle("ChangeConfiguration", () => ({ status: "Accepted" }));
client.handle("GetVariables", ({ params }) => ({
  getVariableResult: params.getVariableData.map((v) =>
    v.variable.name === "RateUnit"
      ? { ...v, attributeStatus: "Accepted", attributeValue: unit }
      : { ...v, attributeStatus: "UnknownVariable" },
  ),
}));
client.handle("SetVariables", ({ params }) => ({
  setVariableResult: params.setVariableData.map(({ component, variable }) => ({
    component,
    variable,
    attributeStatus: "Accepted",
  })),
}));
client.handle("TriggerMessage", ({ params }) => {
  if (params.requestedMessage === "StatusNotification") setTimeout(() => report().catch(() => {}), 10);
  return { status: "Accepted" };
});
client.handle("RemoteStopTransaction", () => (setTimeout(() => end("Remote"), 10), { status: "Accepted" }));
client.handle("RequestStopTransaction", () => (setTimeout(() => end("Remote"), 10), { status: "Accepted" }));
client.handle(({ method }) => {
  say({ event: "unhandled", method });
  return { status: "Rejected" };
});

async function report() {
  if (old) await client.call("StatusNotification", { connectorId: 1, errorCode: "NoError", status, timestamp: now() });
  else
    await client.call("StatusNotification", {
      timestamp: now(),
      connectorStatus: status === "Available" ? "Available" : "Occupied",
      evseId: 1,
      connectorId: 1,
    });
}

function sampled() {
  const rows = [["Energy.Active.Import.Register", undefined, Math.round(energy), "Wh"]];
  for (let p = 1; p <= phases; p++) rows.push(["Current.Import", `L${p}`, Math.round(drawn * 10) / 10, "A"]);
  for (let p = 1; p <= phases; p++) rows.push(["Voltage", `L${p}-N`, 230, "V"]);
  return rows.map(([measurand, phase, value, u]) => ({
    measurand,
    ...(phase ? { phase } : {}),
    ...(old ? { value: String(value), unit: u } : { value, unitOfMeasure: { unit: u } }),
  }));
}

// What begins and ends a transaction is told until it is answered, as the standard demands.
async function sure(method, params) {
  for (;;) {
    try {
      return await client.call(method, params);
    } catch (e) {
      say({ event: "failed", words: e.message });
      await new Promise((r) => setTimeout(r, 1000));
    }
  }
}

function event(eventType, triggerReason, more = {}, info = {}) {
  const call = eventType === "Updated" ? client.call.bind(client) : sure;
  return call("TransactionEvent", {
    eventType,
    timestamp: now(),
    triggerReason,
    seqNo: sequence++,
    transactionInfo: { transactionId: transaction, chargingState: drawn ? "Charging" : "SuspendedEVSE", ...info },
    evse: { id: 1, connectorId: 1 },
    ...more,
  });
}

async function begin(tag) {
  say({ event: "begins", tag, wh: Math.round(energy) });
  if (old) {
    const answer = await sure("StartTransaction", {
      connectorId: 1,
      idTag: tag,
      meterStart: Math.round(energy),
      timestamp: now(),
    });
    transaction = answer.transactionId;
    return answer.idTagInfo.status;
  }
  transaction = `js-${Date.now()}`;
  const answer = await event("Started", "Authorized", {
    idToken: { idToken: tag, type: "ISO14443" },
    meterValue: [{ timestamp: now(), sampledValue: sampled() }],
  });
  return answer.idTokenInfo.status;
}

let ending = null;
function end(reason) {
  return (ending ??= finish(reason).finally(() => (ending = null)));
}

async function finish(reason = "Local") {
  if (transaction === null) return;
  wants = drawn = 0;
  say({ event: "ends", wh: Math.round(energy) });
  if (old) {
    const transactionId = transaction;
    transaction = null;
    await sure("StopTransaction", { transactionId, meterStop: Math.round(energy), timestamp: now(), reason });
  } else {
    const meterValue = [{ timestamp: now(), sampledValue: sampled() }];
    const answer = await event("Ended", "StopAuthorized", { meterValue }, { stoppedReason: reason });
    say({ event: "cost", cost: answer.totalCost ?? null });
    transaction = null;
  }
  for (const [k, p] of profiles) if (p.chargingProfilePurpose === "TxProfile") profiles.delete(k);
  status = "Available";
  await report().catch(() => {}); // said again as it connects again
}

let stepped = Date.now();
setInterval(() => {
  const limit = transaction === null ? 0 : allowed();
  const goal = limit >= 6 ? Math.min(wants, limit) : 0;
  if (goal === drawn) changing = null;
  else if (!changing || changing.goal !== goal) changing = { goal, at: Date.now() + follow_ms };
  else if (Date.now() >= changing.at) drawn = goal;
  energy += (drawn * 230 * phases * (Date.now() - stepped)) / 3_600_000;
  stepped = Date.now();
}, step_ms);

setInterval(async () => {
  say({ event: "draws", amps: drawn, transaction });
  if (transaction === null || client.state !== RPCClient.OPEN) return;
  try {
    const word = drawn ? "Charging" : "SuspendedEVSE";
    if (word !== status) {
      status = word;
      await report();
    }
    if (transaction === null) return; // it has ended meanwhile
    const meterValue = [{ timestamp: now(), sampledValue: sampled() }];
    if (old) await client.call("MeterValues", { connectorId: 1, transactionId: transaction, meterValue });
    else await event("Updated", "MeterValuePeriodic", { meterValue });
  } catch (e) {
    say({ event: "failed", words: e.message });
  }
}, sample_ms);

client.on("open", async () => {
  const boot = old
    ? { chargePointVendor: "ocpp-rpc", chargePointModel: "strict" }
    : { reason: "PowerUp", chargingStation: { vendorName: "ocpp-rpc", model: "strict" } };
  try {
    for (;;) {
      const answer = await client.call("BootNotification", boot);
      if (answer.status === "Accepted") break;
      await new Promise((r) => setTimeout(r, 300));
    }
    await report();
    say({ event: "booted" });
  } catch (e) {
    say({ event: "failed", words: e.message });
  }
});

// It connects again by itself, but for the first time.
async function connect() {
  try {
    await client.connect();
  } catch (e) {
    say({ event: "failed", words: e.message });
    if (!/^Unexpected HTTP response/.test(e.message)) setTimeout(connect, 1000);
  }
}
connect();

obey(async (order) => {
  if (order.wants !== undefined) wants = order.wants;
  if (order.begin) return begin(order.begin);
  if (order.end) return end();
  if (order.drop) client._ws?.terminate?.();
  return {};
});
