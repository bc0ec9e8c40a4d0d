// The view, what moves it, and the beginning.

const LEAST_SPAN = 40;
let pending = false;
function redraw() {
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => {
    pending = false;
    paint();
    showLabels();
    paintOverview();
  });
}

function look(from, to) {
  const span = Math.min(Math.max(to - from, LEAST_SPAN), END * 1.04);
  const middle = (from + to) / 2;
  STATE.from = Math.min(Math.max(middle - span / 2, -END * 0.02), END * 1.02 - span);
  STATE.to = STATE.from + span;
  redraw();
}

function zoom(factor, at = (STATE.from + STATE.to) / 2) {
  look(at - (at - STATE.from) * factor, at + (STATE.to - at) * factor);
}
const move = (part) => { const by = (STATE.to - STATE.from) * part; look(STATE.from + by, STATE.to + by); };
const lookAtAll = () => look(0, END);

// Events of most steps lie close together; the whole chain may not.
function lookAtChain() {
  if (!CHAIN.length) return lookAtAll();
  // The check is made at the end of the run, however early it went wrong.
  const told = CHAIN.filter(({ event }) => event.kind !== "violation").map(({ event }) => event);
  if (!told.length) return lookAtAll();
  const first = told[0], last = told[told.length - 1];
  const room = Math.max((last.at - first.since) * 0.08, 2000);
  look(first.since - room, last.at + room);
}

// At first: where most of the steps are, when few lie far away from them.
function lookAtHeart() {
  const told = CHAIN.filter(({ event }) => event.kind !== "violation").map(({ event }) => event);
  const most = Math.ceil(told.length * 0.75);
  if (told.length < 4) return lookAtChain();
  let best = [0, told.length - 1];
  const span = ([first, last]) => told[last].at - told[first].at;
  for (let first = 0; first + most <= told.length; first += 1) {
    const here = [first, first + most - 1];
    if (span(here) < span(best)) best = here;
  }
  const whole = span([0, told.length - 1]);
  if (span(best) > whole * 0.4) return lookAtChain();
  // Steps beside it that cost little room belong to it.
  const near = told.filter(({ at }) => at >= told[best[0]].at - span(best) * 0.5 && at <= told[best[1]].at + span(best) * 0.5);
  const room = Math.max((near[near.length - 1].at - near[0].at) * 0.08, 2000);
  look(near[0].at - room, near[near.length - 1].at + room);
}

function choose(event) {
  STATE.event = event;
  showDetails(event);
  if (event && STATE.lanesOff.has(event.lane)) STATE.lanesOff.delete(event.lane);
}

function goTo(event, span) {
  const step = STEP_OF.get(event.id);
  STATE.step = step ? step.number - 1 : -1;
  markStep();
  choose(event);
  const wide = span || Math.min(STATE.to - STATE.from, 400e3);
  look(event.at - wide / 2, event.at + wide / 2);
}

// So wide that the steps before and after it are in view, if they are near.
function goToStep(at) {
  if (!CHAIN.length) return;
  const chosen = Math.min(Math.max(at, 0), CHAIN.length - 1), { event } = CHAIN[chosen];
  const near = [CHAIN[chosen - 1], CHAIN[chosen + 1]].filter(Boolean).map((step) => Math.abs(step.event.at - event.at));
  const widest = near.filter((gap) => gap < 400e3);
  goTo(event, Math.min(Math.max(2.6 * Math.max(...widest, 0), event.at - event.since, 8000), 1.5e6));
}

function markStep() {
  for (const button of document.querySelectorAll(".step")) {
    const current = Number(button.dataset.step) === STATE.step;
    button.setAttribute("aria-current", String(current));
    if (current) button.scrollIntoView({ block: "nearest" });
  }
}

function paintOverview() {
  const canvas = byId("overview"), scale = window.devicePixelRatio || 1, width = canvas.clientWidth;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(46 * scale);
  const pen = canvas.getContext("2d"), room = width - LEFT - RIGHT;
  pen.scale(scale, scale);
  const at = (time) => LEFT + (time / END) * room;
  const counts = new Array(Math.max(1, Math.ceil(room / 3))).fill(0);
  for (const event of EVENTS) counts[Math.min(counts.length - 1, Math.floor((event.at / END) * counts.length))] += 1;
  const most = Math.max(...counts);
  pen.fillStyle = ink("line");
  counts.forEach((count, bin) => pen.fillRect(LEFT + bin * 3, 40 - (count / most) * 24, 2, (count / most) * 24));
  DATA.bands.forEach(([, sort, from, to]) => {
    pen.fillStyle = sort === "down" ? ink("faint") : ink("bad");
    pen.globalAlpha = 0.5;
    pen.fillRect(at(from), 6, Math.max(at(to) - at(from), 1), 4);
  });
  pen.globalAlpha = 1;
  pen.fillStyle = ink("accent");
  for (const { event } of CHAIN) pen.fillRect(at(event.at) - 0.75, 12, 1.5, 28);
  pen.strokeStyle = ink("select");
  pen.lineWidth = 1.5;
  const left = Math.max(at(STATE.from), LEFT - 6), right = Math.min(at(STATE.to), width - 4);
  pen.strokeRect(left, 3, Math.max(right - left, 3), 40);
  pen.fillStyle = ink("soft");
  pen.font = `11px ${ink("sans")}`;
  pen.fillText("whole run", 20, 26);
}

// The event under the pointer: the nearest sign or call of the lane.
function eventAt(x, y) {
  const place = LAYOUT.find((place) => y >= place.y && y < place.y + place.height);
  if (!place || x < LEFT - 8) return null;
  if (place.sort === "client") {
    const time = timeAt(x), slack = timeAt(x + 3) - time;
    const bars = (CALLS.get(place.lane) || []).filter((bar) => bar.from - slack <= time && bar.to + slack >= time);
    return bars.length ? bars[bars.length - 1].event : null;
  }
  const badges = placeBadges();
  for (const { event } of CHAIN) {
    const badge = badges.get(event.id);
    if (badge && Math.hypot(badge.x - x, badge.y - y) < 10) return event;
  }
  let best = null, distance = 7;
  for (const event of windowOf(EVENTS)) {
    if (event.lane !== place.lane || !isShown(event)) continue;
    const away = Math.abs(xOf(event.at) - x);
    if (away < distance) [best, distance] = [event, away];
  }
  return best;
}

function listen() {
  let drag = null;
  CANVAS.addEventListener("wheel", (wheel) => {
    wheel.preventDefault();
    if (wheel.shiftKey || Math.abs(wheel.deltaX) > Math.abs(wheel.deltaY)) move((wheel.deltaX || wheel.deltaY) / 900);
    else zoom(Math.exp(wheel.deltaY * 0.0022), timeAt(wheel.offsetX));
  }, { passive: false });
  CANVAS.addEventListener("pointerdown", (down) => {
    drag = { x: down.offsetX, from: STATE.from, to: STATE.to, moved: false, top: byId("scroller").scrollTop, y: down.clientY };
    CANVAS.setPointerCapture(down.pointerId);
  });
  CANVAS.addEventListener("pointermove", (pointer) => {
    if (!drag) return showTip(eventAt(pointer.offsetX, pointer.offsetY), pointer);
    const by = ((pointer.offsetX - drag.x) / (WIDTH - LEFT - RIGHT)) * (drag.to - drag.from);
    drag.moved ||= Math.abs(pointer.offsetX - drag.x) > 3;
    if (drag.moved) look(drag.from - by, drag.to - by);
    byId("scroller").scrollTop = drag.top + drag.y - pointer.clientY;
  });
  CANVAS.addEventListener("pointerup", (up) => {
    const clicked = drag && !drag.moved ? eventAt(up.offsetX, up.offsetY) : undefined;
    drag = null;
    if (clicked === undefined) return;
    choose(clicked);
    STATE.step = clicked && STEP_OF.has(clicked.id) ? STEP_OF.get(clicked.id).number - 1 : -1;
    markStep();
    redraw();
  });
  CANVAS.addEventListener("pointerleave", () => showTip(null));
  CANVAS.addEventListener("dblclick", (click) => zoom(0.4, timeAt(click.offsetX)));
  byId("overview").addEventListener("click", (click) => {
    const time = ((click.offsetX - LEFT) / (byId("overview").clientWidth - LEFT - RIGHT)) * END;
    const half = (STATE.to - STATE.from) / 2;
    look(time - half, time + half);
  });
  byId("search").addEventListener("input", (input) => search(input.target.value));
  byId("search").addEventListener("keydown", (key) => {
    if (key.key === "Enter") showFound(STATE.foundAt + (key.shiftKey ? -1 : 1));
    if (key.key === "Escape") { key.target.value = ""; search(""); key.target.blur(); CANVAS.focus(); }
    key.stopPropagation();
  });
  byId("zoom-in").addEventListener("click", () => zoom(0.5));
  byId("zoom-out").addEventListener("click", () => zoom(2));
  byId("zoom-all").addEventListener("click", lookAtAll);
  byId("theme").addEventListener("click", turnTheme);
  byId("help-button").addEventListener("click", showHelp);
  byId("lanes-button").addEventListener("click", turnLanes);
  window.addEventListener("resize", redraw);
  document.addEventListener("keydown", onKey);
}

function onKey(key) {
  if (key.ctrlKey || key.metaKey || key.altKey || ["SELECT", "INPUT"].includes(key.target.tagName)) return;
  const keys = {
    "+": () => zoom(0.6), "=": () => zoom(0.6), "-": () => zoom(1.7), "_": () => zoom(1.7),
    ArrowLeft: () => move(-0.15), ArrowRight: () => move(0.15), 0: lookAtAll, Home: lookAtAll, c: lookAtChain,
    j: () => goToStep(STATE.step + 1), n: () => goToStep(STATE.step + 1),
    k: () => goToStep(STATE.step - 1), p: () => goToStep(STATE.step - 1),
    "/": () => byId("search").focus(), "?": showHelp, d: turnTheme, l: turnLanes,
    f: () => { STATE.focus = !STATE.focus; redraw(); },
    "[": () => turnSlot(-1), "]": () => turnSlot(1),
    Escape: () => { byId("lanes-menu").hidden = true; STATE.step = -1; choose(null); markStep(); redraw(); },
  };
  const act = keys[key.key];
  if (!act || byId("help").open) return;
  key.preventDefault();
  act();
}

function turnSlot(by) {
  if (!DATA.slots.length) return;
  STATE.slot = ((STATE.slot ?? 0) + by + DATA.slots.length) % DATA.slots.length;
  byId("slot").value = STATE.slot;
  redraw();
}

function turnTheme() {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  redraw();
}

function turnLanes() {
  const menu = byId("lanes-menu");
  menu.hidden = !menu.hidden;
  byId("lanes-button").setAttribute("aria-expanded", String(!menu.hidden));
}

function showTip(event, pointer) {
  const tip = byId("tooltip");
  tip.hidden = !event;
  CANVAS.style.cursor = event ? "pointer" : "";
  if (!event) return;
  tip.textContent = `${seconds(event.at)}  ${laneName(event.lane)}: ${sentence(event)}`;
  const box = byId("stage").getBoundingClientRect();
  const left = Math.min(pointer.clientX - box.left + 14, box.width - tip.offsetWidth - 8);
  const below = pointer.clientY - box.top + 16;
  tip.style.left = `${Math.max(left, 4)}px`;
  tip.style.top = `${below + tip.offsetHeight > box.height ? below - tip.offsetHeight - 28 : below}px`;
}

document.documentElement.dataset.theme =
  window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
showVerdict();
showMenus();
showSteps();
listen();
lookAtHeart();
