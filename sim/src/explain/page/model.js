// The run, read from the data in the page.

const DATA = JSON.parse(document.getElementById("data").textContent);
const NETWORK = -1, CONTROLLER = 0;
const clientLane = (client) => -2 - client;
const isClient = (lane) => lane < -1;
const laneName = (lane) =>
  lane === NETWORK ? "network" : lane === CONTROLLER ? "controller"
    : isClient(lane) ? `client ${-2 - lane}` : `broker ${lane}`;

const whereOf = (event) => (event.kind === "violation" ? "the check" : laneName(event.lane));

// The kinds that one can switch off, and which names of kinds they are.
const GROUPS = {
  messages: ["sent", "received", "lost"],
  disk: ["write", "fsync", "disk"],
  clients: ["call", "answer"],
  decisions: ["decision", "applied", "timer", "state"],
  faults: ["fault", "life"],
};
const groupOf = {};
for (const [group, kinds] of Object.entries(GROUPS)) kinds.forEach((kind) => (groupOf[kind] = group));

function readEvents() {
  const raw = DATA.events, events = [];
  let now = 0;
  for (let id = 0; id < raw.at.length; id += 1) {
    now += raw.at[id];
    const causes = raw.causes[id];
    events.push({
      id, at: now, since: now - raw.took[id], lane: raw.lane[id], kind: DATA.kinds[raw.kind[id]],
      text: DATA.texts[raw.text[id]], about: DATA.about[raw.of[id]], slots: DATA.lists[raw.slots[id]],
      causes: causes === 0 ? [] : Array.isArray(causes) ? causes : [id + causes],
      broker: raw.broker[id], status: raw.status[id], call: raw.call[id],
    });
  }
  return events;
}

const EVENTS = readEvents();
const END = Math.max(EVENTS.length ? EVENTS[EVENTS.length - 1].at : 1, DATA.seconds * 1e6, 1);
const CHAIN = DATA.chain.map(([id, copies], at) => ({ event: EVENTS[id], copies, number: at + 1 }));
const STEP_OF = new Map(CHAIN.map((step) => [step.event.id, step]));

// Brokers, and controllers that are none.
const MACHINES = [...new Set([...DATA.brokers, ...EVENTS.map((event) => event.lane).filter((lane) => lane > 0)])];
MACHINES.sort((one, other) => one - other);

// What each event led to.
const EFFECTS = EVENTS.map(() => []);
for (const event of EVENTS) for (const cause of event.causes) EFFECTS[cause].push(event.id);

// Messages: where each was sent, and where it ended.
const MESSAGES = [];
for (const event of EVENTS) {
  if (event.kind !== "received" && event.kind !== "lost") continue;
  const sent = EVENTS[event.causes[0]];
  if (sent && sent.kind === "sent") MESSAGES.push({ sent, end: event });
}

// Client calls as bars, by lane: answered ones, and those that never were.
const CALLS = new Map();
{
  const begun = new Map();
  for (const event of EVENTS) {
    if (event.kind === "call") begun.set(event.call, event);
    if (event.kind !== "answer") continue;
    const call = begun.get(event.call);
    begun.delete(event.call);
    const bars = CALLS.get(event.lane) || CALLS.set(event.lane, []).get(event.lane);
    bars.push({ from: call ? call.at : event.since, to: event.at, status: event.status, event });
  }
  for (const call of begun.values()) {
    const bars = CALLS.get(call.lane) || CALLS.set(call.lane, []).get(call.lane);
    bars.push({ from: call.at, to: END, status: 3, event: call });
  }
  for (const bars of CALLS.values()) {
    bars.sort((one, other) => one.from - other.from);
    const rows = [];
    for (const bar of bars) {
      let row = rows.findIndex((until) => until <= bar.from);
      if (row < 0) row = rows.length < 3 ? rows.length : 2;
      rows[row] = bar.to;
      bar.row = row;
    }
  }
}

// Clients that the chain names come first.
const TOLD = new Set(CHAIN.map((step) => step.event.lane));
const CLIENTS = [...DATA.clients].sort(
  (one, other) => TOLD.has(clientLane(other)) - TOLD.has(clientLane(one)) || one - other);

const ABOUT_FIRST = new Set(["call", "answer", "decision", "applied", "timer", "state"]);
const sentence = (event) =>
  !event.about ? event.text
    : ABOUT_FIRST.has(event.kind) && !event.text.startsWith("moves") ? `${event.about}: ${event.text}`
      : `${event.text}: ${event.about}`;

const seconds = (micros, digits = 6) => `${(micros / 1e6).toFixed(digits)} s`;
const duration = (micros) =>
  micros < 1000 ? `${Math.round(micros)} µs` : micros < 1e6 ? `${(micros / 1000).toFixed(micros < 1e4 ? 1 : 0)} ms`
    : `${(micros / 1e6).toFixed(2)} s`;

// The position of the first item that is not before a time.
function firstFrom(items, time, at) {
  let low = 0, high = items.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (at(items[middle]) < time) low = middle + 1; else high = middle;
  }
  return low;
}

// What is shown and chosen.
const STATE = {
  from: 0, to: END, slot: DATA.focus.slot, hidden: new Set(), lanesOff: new Set(),
  step: -1, event: null, found: [], foundAt: -1, hover: null, focus: CHAIN.length > 0,
};
if (STATE.slot === null) {
  const busiest = Object.entries(DATA.tracks).map(([slot, brokers]) =>
    [Number(slot), Object.values(brokers).reduce((sum, samples) => sum + samples.length, 0)]);
  busiest.sort((one, other) => other[1] - one[1]);
  STATE.slot = busiest.length ? busiest[0][0] : null;
}
CLIENTS.forEach((client, at) => {
  // Quiet at first: the clients of the chain, or a few.
  const few = TOLD.size && CLIENTS.some((other) => TOLD.has(clientLane(other)));
  if (few ? !TOLD.has(clientLane(client)) : at >= 6) STATE.lanesOff.add(clientLane(client));
});

const isShown = (event) => !STATE.hidden.has(groupOf[event.kind]) && !STATE.lanesOff.has(event.lane);
const concernsSlot = (event) => STATE.slot === null || event.slots.includes(STATE.slot);

// Broker colours that colour-blind people tell apart.
const HUES = {
  light: ["#0a5fa4", "#b86b00", "#00795a", "#a2457f", "#3d8fc2", "#8a6d00", "#5b5fc7", "#7a4b2a", "#4a7a2c"],
  dark: ["#6cb6ff", "#f2b04a", "#42d3a5", "#ee9bc8", "#9fd3f5", "#e3cf57", "#a6a9ff", "#d3a07a", "#a5d57f"],
};
const isDark = () => document.documentElement.dataset.theme === "dark";
const hue = (broker) => (isDark() ? HUES.dark : HUES.light)[(broker - 1) % 9];
const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
