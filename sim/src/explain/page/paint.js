// Paints the timeline: bands, signs of events, messages, calls, and the chain.

const CANVAS = document.getElementById("timeline");
const LEFT = 132, RIGHT = 14;
const HEIGHT = { axis: 24, network: 26, controller: 44, broker: 112, client: 22, gap: 6 };
let LAYOUT = [], WIDTH = 0;

const xOf = (time) => LEFT + ((time - STATE.from) / (STATE.to - STATE.from)) * (WIDTH - LEFT - RIGHT);
const timeAt = (x) => STATE.from + ((x - LEFT) / (WIDTH - LEFT - RIGHT)) * (STATE.to - STATE.from);

// Where each lane lies; brokers first, then clients.
function layOut() {
  const lanes = [NETWORK, CONTROLLER, ...MACHINES, ...CLIENTS.map(clientLane)];
  const shown = lanes.filter((lane) => !STATE.lanesOff.has(lane));
  const sortOf = (lane) =>
    lane === NETWORK ? "network" : lane === CONTROLLER ? "controller" : lane > 0 ? "broker" : "client";
  // Room that is left goes to the logs of brokers.
  const least = shown.reduce((sum, lane) => sum + HEIGHT[sortOf(lane)] + HEIGHT.gap, HEIGHT.axis);
  const brokers = shown.filter((lane) => lane > 0).length || 1;
  const spare = Math.max(0, document.getElementById("scroller").clientHeight - least - 8) / brokers;
  let y = HEIGHT.axis;
  LAYOUT = [];
  for (const lane of shown) {
    const sort = sortOf(lane);
    const height = HEIGHT[sort] + (sort === "broker" ? Math.floor(Math.min(spare, 170)) : 0);
    const signs = sort === "broker" ? y + height - 13 : sort === "controller" ? y + height - 12 : y + height / 2;
    LAYOUT.push({ lane, sort, y, height, signs });
    y += height + (sort === "client" ? 1 : HEIGHT.gap);
  }
  return y + 8;
}
const placeOf = (lane) => LAYOUT.find((place) => place.lane === lane);

function paint() {
  const height = layOut(), scale = window.devicePixelRatio || 1;
  const least = document.getElementById("scroller").clientHeight;
  const tall = Math.max(height, least);
  WIDTH = document.getElementById("scroller").clientWidth;
  if (CANVAS.width !== Math.round(WIDTH * scale) || CANVAS.height !== Math.round(tall * scale)) {
    CANVAS.width = Math.round(WIDTH * scale);
    CANVAS.height = Math.round(tall * scale);
    CANVAS.style.height = `${tall}px`;
  }
  const pen = CANVAS.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, WIDTH, tall);
  pen.font = `11px ${ink("sans")}`;
  pen.save();
  pen.beginPath();
  pen.rect(LEFT - 8, 0, WIDTH - LEFT + 8, tall);
  pen.clip();
  paintAxis(pen, tall);
  for (const place of LAYOUT) paintLane(pen, place);
  paintBands(pen);
  for (const place of LAYOUT) if (place.sort === "broker") paintOffset(pen, place);
  const window_ = windowOf(EVENTS);
  paintMessages(pen);
  paintSigns(pen, window_);
  paintCalls(pen);
  paintFound(pen);
  paintChain(pen, tall);
  pen.restore();
  CANVAS.dataset.from = Math.round(STATE.from);
  CANVAS.dataset.to = Math.round(STATE.to);
}

// The events that begin in view.
function windowOf(events) {
  const first = firstFrom(events, STATE.from, (event) => event.at);
  const last = firstFrom(events, STATE.to, (event) => event.at);
  return events.slice(Math.max(0, first - 1), last + 1);
}

function paintAxis(pen, tall) {
  const span = STATE.to - STATE.from, room = (WIDTH - LEFT) / 110;
  const steps = [1, 2, 5].flatMap((unit) => [0, 1, 2, 3, 4, 5, 6, 7, 8].map((power) => unit * 10 ** power));
  steps.sort((one, other) => one - other);
  const step = steps.find((step) => span / step <= room) || 1e9;
  pen.textBaseline = "middle";
  pen.textAlign = "center";
  for (let time = Math.ceil(STATE.from / step) * step; time <= STATE.to; time += step) {
    const x = Math.round(xOf(time)) + 0.5;
    pen.strokeStyle = ink("line");
    pen.lineWidth = 1;
    line(pen, x, 18, x, tall);
    pen.fillStyle = ink("soft");
    const digits = Math.max(0, 6 - Math.floor(Math.log10(step)));
    pen.fillText(seconds(time, Math.min(6, digits)), x, 10);
  }
}

function paintLane(pen, place) {
  pen.strokeStyle = ink("line");
  pen.lineWidth = 1;
  const bottom = place.y + place.height + (place.sort === "client" ? 0.5 : 3.5);
  line(pen, LEFT - 8, bottom, WIDTH, bottom);
  if (place.sort === "broker") paintReplica(pen, place);
  if (place.sort === "controller") paintLeadership(pen, place);
}

function paintBands(pen) {
  let row = 0;
  for (const [lane, sort, from, to, text] of DATA.bands) {
    const place = placeOf(lane);
    if (!place || STATE.hidden.has("faults")) continue;
    const rows = sort === "network" ? row++ % 2 : 0;
    if (to < STATE.from || from > STATE.to) continue;
    const x = Math.max(xOf(from), LEFT - 8), width = Math.max(Math.min(xOf(to), WIDTH) - x, 2);
    const tall = sort === "network" ? 11 : sort === "ill" ? 8 : place.height;
    const y = sort === "network" ? place.y + rows * 13 : sort === "ill" ? place.y + 10 : place.y;
    hatch(pen, x, y, width, tall, sort === "down" ? ink("faint") : ink("accent"), sort);
    pen.fillStyle = ink("soft");
    pen.textAlign = "left";
    const words = sort === "down" ? "down" : sort === "paused" ? "stands still" : text;
    if (pen.measureText(words).width + 10 < width) label(pen, words, x + 5, y + Math.min(tall / 2, 9));
  }
}

function hatch(pen, x, y, width, height, colour, sort) {
  pen.save();
  pen.globalAlpha = sort === "down" ? 0.2 : 0.16;
  pen.fillStyle = colour;
  pen.fillRect(x, y, width, height);
  pen.globalAlpha = 0.35;
  pen.strokeStyle = colour;
  pen.lineWidth = 1;
  pen.beginPath();
  pen.rect(x, y, width, height);
  pen.clip();
  pen.beginPath();
  const gap = sort === "down" ? 9 : 6, first = Math.floor((x - height) / gap) * gap;
  for (let at = first; at < x + width + height; at += gap) {
    pen.moveTo(at, y + height);
    pen.lineTo(at + height, y);
  }
  pen.stroke();
  pen.restore();
}

// A text on a ground of its own.
function label(pen, text, x, y, colour) {
  const width = pen.measureText(text).width, left = pen.textAlign === "right" ? x - width : x;
  pen.fillStyle = ink("paper");
  pen.globalAlpha = 0.85;
  pen.fillRect(left - 2, y - 7, width + 4, 14);
  pen.globalAlpha = 1;
  pen.fillStyle = colour || ink("soft");
  pen.textBaseline = "middle";
  pen.fillText(text, x, y);
}

function line(pen, x1, y1, x2, y2) {
  pen.beginPath();
  pen.moveTo(x1, y1);
  pen.lineTo(x2, y2);
  pen.stroke();
}

const MOST_MESSAGES = 160;

function paintMessages(pen) {
  if (STATE.hidden.has("messages")) return;
  let seen = MESSAGES.filter(({ sent, end }) => end.at >= STATE.from && sent.at <= STATE.to);
  // Too many lines say nothing: then those of the partition, or only what was lost.
  if (seen.length > MOST_MESSAGES) seen = seen.filter(({ sent }) => STATE.slot !== null && concernsSlot(sent));
  if (seen.length > MOST_MESSAGES) seen = seen.filter(({ end }) => end.kind === "lost");
  for (const { sent, end } of seen.slice(0, MOST_MESSAGES)) {
    const from = placeOf(sent.lane), to = placeOf(end.lane);
    if (!from || !to) continue;
    const [x1, x2] = [xOf(sent.at), xOf(end.at)], lost = end.kind === "lost";
    const [y1, y2] = [from.signs, lost ? (from.signs + to.signs) / 2 : to.signs];
    pen.globalAlpha = STATE.focus ? 0.22 : 0.45;
    pen.strokeStyle = lost ? ink("bad") : concernsSlot(sent) ? ink("soft") : ink("faint");
    pen.lineWidth = lost ? 1.3 : 0.8;
    pen.setLineDash(lost ? [3, 3] : []);
    line(pen, x1, y1, Math.max(x2, x1 + 1), y2);
    pen.setLineDash([]);
    if (lost) cross(pen, Math.max(x2, x1 + 1), y2, 3.5);
    else if (seen.length < 120) arrowHead(pen, x1, y1, x2, y2, 4);
  }
  pen.globalAlpha = 1;
}

function cross(pen, x, y, size) {
  line(pen, x - size, y - size, x + size, y + size);
  line(pen, x - size, y + size, x + size, y - size);
}

function arrowHead(pen, x1, y1, x2, y2, size) {
  const angle = Math.atan2(y2 - y1, Math.max(x2 - x1, 0.01));
  pen.beginPath();
  for (const turn of [-0.45, 0.45]) {
    pen.moveTo(x2, y2);
    pen.lineTo(x2 - size * Math.cos(angle + turn), y2 - size * Math.sin(angle + turn));
  }
  pen.stroke();
}

// One sign for each kind, so that colour is never the only difference.
function sign(pen, kind, x, y, size) {
  pen.beginPath();
  if (kind === "write") pen.rect(x - size * 0.7, y - size * 0.7, size * 1.4, size * 1.4);
  else if (kind === "fsync" || kind === "decision") diamond(pen, x, y, size);
  else if (kind === "sent") triangle(pen, x, y, size, -1);
  else if (kind === "received") triangle(pen, x, y, size, 1);
  else if (kind === "timer") { triangle(pen, x, y - size / 2, size * 0.8, 1); triangle(pen, x, y + size / 2, size * 0.8, -1); }
  else if (kind === "fault" || kind === "lost" || kind === "violation") return cross(pen, x, y, size * 0.8);
  else if (kind === "life") { pen.moveTo(x - size * 0.6, y - size); pen.lineTo(x + size, y); pen.lineTo(x - size * 0.6, y + size); }
  else pen.arc(x, y, size * 0.6, 0, 7);
  if (kind === "applied" || kind === "state") pen.stroke(); else pen.fill();
}
function diamond(pen, x, y, size) {
  pen.moveTo(x, y - size); pen.lineTo(x + size, y); pen.lineTo(x, y + size); pen.lineTo(x - size, y);
}
function triangle(pen, x, y, size, way) {
  pen.moveTo(x - size * 0.8, y - way * size * 0.7); pen.lineTo(x + size * 0.8, y - way * size * 0.7);
  pen.lineTo(x, y + way * size * 0.7);
}

const colourOf = (event) => {
  if (event.kind === "fault" || event.kind === "lost" || event.kind === "violation") return ink("bad");
  if (event.kind === "decision" || event.kind === "timer") return ink("select");
  return event.lane > 0 && groupOf[event.kind] === "disk" ? hue(event.lane) : ink("soft");
};

function paintSigns(pen, events) {
  const last = new Map(), colours = new Map();
  for (const event of events) {
    if (isClient(event.lane) || !isShown(event)) continue;
    const place = placeOf(event.lane);
    if (!place) continue;
    const x = xOf(event.at), key = `${event.lane} ${event.kind}`;
    // Two signs of one kind on one spot are one.
    if (x - (last.get(key) ?? -9) < 3.5) continue;
    last.set(key, x);
    const kind = `${event.kind} ${event.lane}`;
    if (!colours.has(kind)) colours.set(kind, colourOf(event));
    pen.fillStyle = pen.strokeStyle = colours.get(kind);
    const plain = STATE.focus && !STEP_OF.has(event.id) && event.kind !== "fault";
    pen.globalAlpha = plain ? (concernsSlot(event) ? 0.55 : 0.25) : 1;
    pen.lineWidth = 1.2;
    sign(pen, event.kind, x, place.signs, 3.6);
    if (event.kind === "fsync" && x - xOf(event.since) > 3) {
      pen.lineWidth = 2;
      line(pen, xOf(event.since), place.signs + 6, x, place.signs + 6);
    }
  }
  pen.globalAlpha = 1;
}
