// The verdict, the steps, details of an event, the search, and the menus.

const byId = (id) => document.getElementById(id);
function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function showVerdict() {
  const failed = DATA.check !== null;
  byId("badge").textContent = failed ? "DOES NOT HOLD" : "PASSED";
  byId("badge").classList.toggle("passed", !failed);
  byId("check").textContent = failed ? DATA.check : "Every check holds";
  byId("message").textContent = DATA.message || "";
  byId("claim").textContent = DATA.claim ? `What must hold: ${DATA.claim}.` : "";
  const [ok, fail, unknown] = DATA.ops;
  byId("run").textContent = `${DATA.title} · ${DATA.seconds.toFixed(1)} s · ` +
    `calls: ${ok} acknowledged, ${fail} failed, ${unknown} unknown`;
  byId("run").title = `trace hash ${DATA.hash}`;
  for (const [name, value] of DATA.facts) {
    const row = element("div");
    row.append(element("dt", name), element("dd", value));
    byId("facts").append(row);
  }
}

function showSteps() {
  byId("story-title").textContent = CHAIN.length ? `What led to it, in ${CHAIN.length} steps` : "Nothing to explain";
  const offset = DATA.focus.offsets[0];
  if (offset !== undefined && DATA.focus.slot !== null) {
    byId("copies-title").textContent =
      `Under a step, whenever it changes: what each broker has at offset ${offset} of ${DATA.slots[DATA.focus.slot]}`;
  }
  let before = null;
  CHAIN.forEach((step, at) => {
    const { event } = step;
    const item = element("li"), button = element("button", undefined, `step ${event.kind}`);
    button.type = "button";
    button.dataset.step = at;
    const when = element("span", undefined, "when");
    when.append(element("time", seconds(event.at, 4)), element("span", whereOf(event)), element("span", event.kind));
    if (before !== null && event.at > before) when.append(element("span", `+${duration(event.at - before)}`, "gap"));
    before = event.at;
    button.append(element("i", `${step.number}`), when, element("span", sentence(event), "what"));
    if (step.copies.length) button.append(showCopies(step.copies));
    button.addEventListener("click", () => goToStep(at));
    item.append(button);
    byId("steps").append(item);
  });
}

function showCopies(copies) {
  const row = element("span", undefined, "copies");
  copies.forEach(([state, value], at) => {
    const words = {
      down: "down", removed: "removed", nothing: `ends at ${value}`,
      written: `${value ?? "held"}, unsynced`, synced: `${value ?? "held"}, synced`,
    };
    const copy = element("span", `b${DATA.brokers[at]} ${words[state]}`, `copy ${state}`);
    copy.title = {
      down: "its process does not run", removed: "the log begins behind it",
      nothing: "the log ends before it", written: "written, and lost if the power goes",
      synced: "an fsync has covered it",
    }[state];
    row.append(copy);
  });
  return row;
}

function showDetails(event) {
  const box = byId("details");
  box.replaceChildren();
  if (!event) return;
  box.append(element("h3", sentence(event)));
  const took = event.at > event.since ? `, took ${duration(event.at - event.since)}` : "";
  box.append(element("div", `${seconds(event.at)} · ${whereOf(event)} · ${event.kind}${took}`, "quiet"));
  const list = (title, ids) => {
    if (!ids.length) return;
    box.append(element("h4", title));
    const items = element("ul");
    for (const id of ids.slice(0, 12)) {
      const other = EVENTS[id], item = element("li");
      const button = element("button", `${seconds(other.at, 4)}  ${whereOf(other)}: ${sentence(other)}`);
      button.type = "button";
      button.addEventListener("click", () => goTo(other));
      item.append(button);
      items.append(item);
    }
    box.append(items);
  };
  list("Because of", event.causes);
  list("Led to", EFFECTS[event.id]);
}

function showLabels() {
  const box = byId("labels"), time = STATE.event ? STATE.event.at : STATE.to;
  box.replaceChildren();
  for (const place of LAYOUT) {
    const label = element("div", undefined, `lane ${place.sort}`);
    label.dataset.lane = laneName(place.lane);
    if (TOLD.has(place.lane)) label.classList.add("told");
    label.style.top = `${place.y + (place.sort === "client" ? 2 : 3)}px`;
    label.append(element("b", place.sort === "network" ? "Network" : place.sort === "controller" ? "Controller"
      : place.sort === "broker" ? `Broker ${place.lane}` : laneName(place.lane)));
    if (place.sort === "broker") {
      label.firstChild.style.color = hue(place.lane);
      for (const words of roleAt(place.lane, time)) label.append(element("small", words));
    }
    if (place.sort === "controller" && STATE.slot !== null) {
      label.append(element("small", `metadata, ${DATA.slots[STATE.slot]}`));
    }
    box.append(label);
  }
}

// What a broker knows of the chosen partition at a time.
function roleAt(broker, time) {
  const known = knownAt(tracksOf(broker), time);
  if (!known) return [""];
  if (known[2] === undefined) return ["down"];
  const [, , end, flushed, high, epoch, leads] = known;
  return [`${leads ? "leads" : "follows"}, epoch ${epoch}`, `log end ${end}`, `flushed ${flushed}`, `watermark ${high}`];
}

function search(text) {
  const wanted = text.trim().toLowerCase();
  STATE.found = [];
  STATE.foundAt = -1;
  if (wanted) {
    for (const event of EVENTS) {
      const words = `${laneName(event.lane)} ${event.kind} ${sentence(event)}`.toLowerCase();
      if (words.includes(wanted)) STATE.found.push(event.id);
    }
  }
  const here = STATE.event ? STATE.event.at : STATE.from;
  const next = STATE.found.findIndex((id) => EVENTS[id].at >= here);
  if (STATE.found.length) showFound(Math.max(next, 0)); else { byId("found").textContent = wanted ? "nothing" : ""; redraw(); }
}

function showFound(at) {
  const count = STATE.found.length;
  if (!count) return;
  STATE.foundAt = (at + count) % count;
  byId("found").textContent = `${STATE.foundAt + 1} of ${count}`;
  goTo(EVENTS[STATE.found[STATE.foundAt]]);
}

function showMenus() {
  DATA.slots.forEach((name, slot) => {
    const option = element("option", name);
    option.value = slot;
    byId("slot").append(option);
  });
  byId("slot").value = STATE.slot ?? "";
  byId("slot").addEventListener("change", (change) => { STATE.slot = Number(change.target.value); redraw(); });
  for (const group of Object.keys(GROUPS)) {
    const chip = element("button", group);
    chip.type = "button";
    chip.setAttribute("aria-pressed", "true");
    chip.addEventListener("click", () => {
      const hidden = STATE.hidden.delete(group) ? false : Boolean(STATE.hidden.add(group));
      chip.setAttribute("aria-pressed", String(!hidden));
      redraw();
    });
    byId("kinds").append(chip);
  }
  for (const lane of [NETWORK, CONTROLLER, ...MACHINES, ...CLIENTS.map(clientLane)]) {
    const label = element("label"), box = element("input");
    box.type = "checkbox";
    box.checked = !STATE.lanesOff.has(lane);
    box.addEventListener("change", () => {
      if (box.checked) STATE.lanesOff.delete(lane); else STATE.lanesOff.add(lane);
      redraw();
    });
    label.append(box, ` ${laneName(lane)}`);
    byId("lanes-menu").append(label);
  }
}

const KEYS = [
  ["j k, n p", "next and previous step"], ["+ −", "zoom in and out"], ["← →", "move"], ["0", "the whole run"],
  ["c", "the whole chain"], ["/", "search"], ["Enter", "next match, in the search"], ["[ ]", "another partition"],
  ["f", "dim what is no step"], ["l", "lanes"], ["d", "light or dark"], ["?", "this list"], ["Esc", "close, choose nothing"],
];
const SIGNS = [
  ["▲ ▼", "message sent, received"], ["■", "write to a log"], ["◆", "fsync; below it, how long it took"],
  ["✕", "fault; lost message"], ["▶", "broker starts, is ready"], ["○", "what a replica knows, or has applied"],
  ["◆", "on the controller: a change of metadata"], ["▾▴", "a session ended (an hourglass)"],
  ["▬", "call: filled acknowledged, struck failed, hollow unknown"],
  ["━ ─ ┄", "flushed, log end, high watermark of the partition"],
  ["▨", "down, stands still, ill, links cut"], ["①", "step of the chain"],
];
function showHelp() {
  const dialog = byId("help"), columns = element("div", undefined, "columns");
  const table = (title, rows, name) => {
    const box = element("div"), list = element("dl");
    for (const [key, words] of rows) {
      const term = element("dt");
      term.append(element(name, key, name === "span" ? "sign" : ""));
      list.append(term, element("dd", words));
    }
    box.append(element("h2", title), list);
    return box;
  };
  columns.append(table("Keys", KEYS, "kbd"), table("Signs", SIGNS, "span"));
  const mouse = element("p", "Wheel zooms, dragging moves, a click chooses an event. Colours are never alone: every kind has a sign.", "quiet");
  dialog.replaceChildren(columns, element("br"), mouse);
  dialog.showModal();
}
