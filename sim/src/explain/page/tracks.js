// Paints what replicas knew of the chosen partition, who led it, and the calls of clients.

const tracksOf = (broker) => (DATA.tracks[STATE.slot] || {})[broker] || [];
const leadershipOf = () => DATA.leadership[STATE.slot] || [];

// The last sample at a time.
function knownAt(samples, time) {
  const next = firstFrom(samples, time + 1, (sample) => sample[0]);
  return next > 0 ? samples[next - 1] : null;
}

// The samples in view, with the one before.
function samplesIn(samples) {
  const first = firstFrom(samples, STATE.from, (sample) => sample[0]);
  const last = firstFrom(samples, STATE.to + 1, (sample) => sample[0]);
  return samples.slice(Math.max(0, first - 1), last);
}

// One scale for all brokers: that they differ is what one looks for.
function scaleOf() {
  let least = Infinity, most = -Infinity;
  for (const broker of DATA.brokers) {
    for (const [, , end, flushed, high] of samplesIn(tracksOf(broker))) {
      if (end === undefined) continue;
      least = Math.min(least, end, flushed, high);
      most = Math.max(most, end, flushed, high);
    }
  }
  if (least > most) return [0, 1];
  if (DATA.focus.slot === STATE.slot) {
    for (const offset of DATA.focus.offsets) {
      // Near enough to be worth the room.
      if (offset > least - (most - least) - 8 && offset < most + (most - least) + 8) {
        least = Math.min(least, offset - 1);
        most = Math.max(most, offset + 2);
      }
    }
  }
  const room = Math.max(1, (most - least) * 0.08);
  return [least - room, most + room];
}

// The part of a lane in which offsets are drawn.
function chartOf(place) {
  const [low, high] = scaleOf(), top = place.y + 22, bottom = place.y + place.height - 26;
  return { top, bottom, yOf: (offset) => bottom - ((offset - low) / (high - low)) * (bottom - top) };
}

// The number of the offset that the check is about.
function paintOffset(pen, place) {
  if (DATA.focus.slot !== STATE.slot || !DATA.focus.offsets.length) return;
  const { top, bottom, yOf } = chartOf(place), [offset] = DATA.focus.offsets, y = yOf(offset);
  if (y < top - 4 || y > bottom + 4) return;
  pen.textAlign = "right";
  label(pen, `offset ${offset}`, WIDTH - RIGHT + 8, y, ink("accent"));
  pen.textAlign = "left";
}

function paintReplica(pen, place) {
  const samples = samplesIn(tracksOf(place.lane)), { top, bottom, yOf } = chartOf(place);
  paintRole(pen, place, samples);
  pen.save();
  pen.beginPath();
  pen.rect(LEFT - 8, top - 3, WIDTH - LEFT + 8, bottom - top + 6);
  pen.clip();
  if (DATA.focus.slot === STATE.slot) {
    for (const offset of DATA.focus.offsets.slice(0, 4)) {
      const y = Math.round(yOf(offset)) + 0.5;
      pen.strokeStyle = ink("accent");
      pen.globalAlpha = 0.6;
      pen.lineWidth = 1;
      line(pen, LEFT - 8, y, WIDTH, y);
      pen.globalAlpha = 1;
    }
  }
  const colour = hue(place.lane);
  pen.fillStyle = colour;
  pen.globalAlpha = 0.16;
  area(pen, samples, 3, yOf, bottom + 3);
  pen.globalAlpha = 1;
  pen.strokeStyle = colour;
  pen.lineWidth = 2;
  steps(pen, samples, 3, yOf);
  pen.lineWidth = 1;
  steps(pen, samples, 2, yOf);
  pen.strokeStyle = ink("ink");
  pen.setLineDash([2, 3]);
  steps(pen, samples, 4, yOf);
  pen.setLineDash([]);
  pen.restore();
}

// A line that stands still between samples; it is interrupted while there is no replica.
function steps(pen, samples, column, yOf) {
  pen.beginPath();
  let drawing = false, y = 0;
  for (let at = 0; at < samples.length; at += 1) {
    const sample = samples[at], x = Math.max(xOf(sample[0]), LEFT - 20);
    if (sample[column] === undefined) {
      if (drawing) pen.lineTo(x, y);
      drawing = false;
      continue;
    }
    const next = yOf(sample[column]);
    if (drawing) { pen.lineTo(x, y); pen.lineTo(x, next); } else pen.moveTo(x, next);
    [y, drawing] = [next, true];
  }
  if (drawing) pen.lineTo(WIDTH, y);
  pen.stroke();
}

// One path, so that no seams show between samples.
function area(pen, samples, column, yOf, bottom) {
  pen.beginPath();
  samples.forEach((sample, at) => {
    if (sample[column] === undefined) return;
    const x = Math.max(xOf(sample[0]), LEFT - 20);
    const until = at + 1 < samples.length ? xOf(samples[at + 1][0]) : WIDTH + 4;
    const y = yOf(sample[column]);
    pen.rect(x, y, until - x + 0.3, bottom - y);
  });
  pen.fill();
}

// Leader, follower, and whether the metadata counts it in sync.
function paintRole(pen, place, samples) {
  const y = place.y + 4, same = (one, other) =>
    one && (one[2] === undefined) === (other[2] === undefined) && one[5] === other[5] && one[6] === other[6];
  const turns = samples.filter((sample, at) => !same(samples[at - 1], sample));
  let named = -Infinity;
  turns.forEach((sample, at) => {
    if (sample[2] === undefined) return;
    const x = Math.max(xOf(sample[0]), LEFT - 8);
    const until = at + 1 < turns.length ? xOf(turns[at + 1][0]) : WIDTH;
    const [, , , , , epoch, leads] = sample;
    pen.fillStyle = hue(place.lane);
    pen.globalAlpha = leads ? 1 : 0.22;
    pen.fillRect(x, y, Math.max(until - x, 0.5), 6);
    pen.globalAlpha = 1;
    const words = `${leads ? "leads" : "follows"}, epoch ${epoch}`;
    if (x > named && (x + 40 < until || at + 1 === turns.length)) {
      pen.textAlign = "left";
      label(pen, words, x + 2, y + 14, leads ? hue(place.lane) : ink("soft"));
      named = x + pen.measureText(words).width + 14;
    }
  });
}

// Who leads the partition and who is in sync, as the metadata says.
function paintLeadership(pen, place) {
  const seen = leadershipOf();
  let named = -Infinity;
  seen.forEach(([from, leader, epoch, isr], at) => {
    const to = at + 1 < seen.length ? seen[at + 1][0] : END;
    if (to < STATE.from || from > STATE.to) return;
    const x = Math.max(xOf(from), LEFT - 8), until = Math.min(xOf(to), WIDTH);
    pen.fillStyle = leader ? hue(leader) : ink("faint");
    pen.globalAlpha = leader ? 0.9 : 0.35;
    pen.fillRect(x, place.y + 2, Math.max(until - x - 1, 1), 6);
    pen.globalAlpha = 1;
    const whole = `${leader ? `broker ${leader} leads` : "nobody leads"} · epoch ${epoch} · ISR ${isr.join(" ")}`;
    const words = pen.measureText(whole).width + 8 < until - x ? whole : `ISR ${isr.join(" ")}`;
    if (x > named && pen.measureText(words).width + 6 < until - x) {
      pen.textAlign = "left";
      label(pen, words, x + 2, place.y + 17, leader ? hue(leader) : ink("soft"));
      named = x + pen.measureText(words).width + 10;
    }
  });
}

// Acknowledged: filled. Failed: struck out. Unknown: hollow, and open to the right.
function paintCalls(pen) {
  if (STATE.hidden.has("clients")) return;
  for (const place of LAYOUT.filter((place) => place.sort === "client")) {
    for (const bar of CALLS.get(place.lane) || []) {
      if (bar.to < STATE.from || bar.from > STATE.to) continue;
      const x = xOf(bar.from), width = Math.max(xOf(bar.to) - x, 1.5);
      const y = place.y + 4 + bar.row * 5, tall = 4;
      const told = STEP_OF.has(bar.event.id);
      pen.globalAlpha = STATE.focus && !told ? (concernsSlot(bar.event) ? 0.6 : 0.3) : 1;
      pen.fillStyle = pen.strokeStyle = bar.status === 1 ? ink("good") : bar.status === 2 ? ink("bad") : ink("unknown");
      pen.lineWidth = 1;
      if (bar.status === 3) {
        pen.setLineDash([2, 2]);
        pen.strokeRect(x + 0.5, y + 0.5, width, tall - 1);
        pen.setLineDash([]);
      } else pen.fillRect(x, y, width, tall);
      if (bar.status === 2) cross(pen, x + width, y + tall / 2, 3);
    }
  }
  pen.globalAlpha = 1;
}

function paintFound(pen) {
  pen.fillStyle = ink("mark");
  for (const id of STATE.found) {
    const event = EVENTS[id];
    if (event.at < STATE.from || event.at > STATE.to) continue;
    const place = placeOf(event.lane);
    if (!place) continue;
    pen.globalAlpha = id === STATE.found[STATE.foundAt] ? 1 : 0.7;
    pen.fillRect(xOf(event.at) - 1.5, place.y, 3, place.height);
  }
  pen.globalAlpha = 1;
}

// The steps of the chain: numbered, and tied to what led to them.
function paintChain(pen, tall) {
  const badges = placeBadges();
  pen.strokeStyle = ink("accent");
  pen.lineWidth = 1.5;
  for (const step of CHAIN.filter(({ event }) => event.kind !== "violation")) {
    const to = badges.get(step.event.id);
    for (const cause of causesInChain(step.event)) {
      const from = badges.get(cause);
      if (!from || !to || Math.max(from.x, to.x) < LEFT || Math.min(from.x, to.x) > WIDTH) continue;
      const lit = STATE.step < 0 || [step.event.id, cause].includes(CHAIN[STATE.step].event.id);
      pen.globalAlpha = lit ? 0.85 : 0.3;
      pen.beginPath();
      pen.moveTo(from.x, from.y);
      const bend = from.y === to.y ? -14 : 0;
      pen.quadraticCurveTo((from.x + to.x) / 2, (from.y + to.y) / 2 + bend, to.x, to.y);
      pen.stroke();
    }
  }
  pen.globalAlpha = 1;
  const chosen = STATE.step >= 0 ? CHAIN[STATE.step] : null;
  if (chosen) {
    const x = Math.round(xOf(chosen.event.at)) + 0.5;
    pen.strokeStyle = ink("accent");
    pen.globalAlpha = 0.5;
    pen.setLineDash([3, 3]);
    line(pen, x, 18, x, tall);
    pen.setLineDash([]);
    pen.globalAlpha = 1;
  }
  pen.textAlign = "center";
  for (const step of CHAIN) {
    const badge = badges.get(step.event.id);
    if (!badge || badge.x < LEFT - 12 || badge.x > WIDTH + 12) continue;
    const current = step === chosen || step.event.kind === "violation";
    pen.beginPath();
    pen.arc(badge.x, badge.y, current ? 9 : 8, 0, 7);
    pen.fillStyle = current ? ink("accent") : ink("panel");
    pen.fill();
    pen.strokeStyle = ink("accent");
    pen.lineWidth = 1.4;
    pen.stroke();
    pen.fillStyle = current ? ink("panel") : ink("accent");
    pen.font = `600 10px ${ink("sans")}`;
    pen.fillText(`${step.number}`, badge.x, badge.y + 0.5);
  }
  pen.font = `11px ${ink("sans")}`;
  pen.textAlign = "left";
}

// The closest steps that led to an event, past events that are no steps.
const CAUSES_IN_CHAIN = new Map();
function causesInChain(event) {
  if (CAUSES_IN_CHAIN.has(event.id)) return CAUSES_IN_CHAIN.get(event.id);
  const found = new Set(), seen = new Set(), edge = [...event.causes];
  for (let left = 60; edge.length && left > 0; left -= 1) {
    const id = edge.shift();
    if (seen.has(id)) continue;
    seen.add(id);
    if (STEP_OF.has(id)) found.add(id); else edge.push(...EVENTS[id].causes);
  }
  CAUSES_IN_CHAIN.set(event.id, found);
  return found;
}

// Badges of one lane do not cover each other.
function placeBadges() {
  const badges = new Map(), taken = new Map();
  for (const { event } of CHAIN) {
    const place = placeOf(event.lane) || placeOf(NETWORK);
    if (!place) continue;
    const x = xOf(event.at), low = taken.get(place.lane) || [];
    let level = low.findIndex((until) => until + 17 <= x);
    if (level < 0) level = low.length;
    if (level > (place.sort === "broker" ? 5 : 1)) level = low.length - 1;
    low[level] = x;
    taken.set(place.lane, low);
    badges.set(event.id, { x, y: place.signs - level * (place.sort === "broker" ? 17 : 13) });
  }
  return badges;
}
