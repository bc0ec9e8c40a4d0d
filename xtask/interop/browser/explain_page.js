// The pages of failed runs in a real browser, without a network:
// `explain_page.js BROWSER PICTURES PAGE...` prints the steps, and keeps a picture of each page.

const fs = require("node:fs");
const path = require("node:path");
const { chromium } = require("playwright-core");

const [executablePath, pictures, ...pages] = process.argv.slice(2);

const LARGEST = { page: 3_000_000, events: 10_000 };

// The longest until the page shows what was asked for.
const PATIENCE = { timeout: 30_000 };

const SCREEN = { width: 1280, height: 800 };
// Smaller, so that pictures are.
const PICTURE = { width: 1080, height: 680 };

function expect(condition, message) {
  if (!condition) throw new Error(message);
}

async function step(name, body) {
  console.log(`begin ${name}`);
  try {
    console.log(`ok ${name} ${(await body()) || ""}`);
  } catch (error) {
    console.log(`FAILED ${name} ${String(error.message || error).split("\n")[0]}`);
  }
}

// What is in view is written when a frame is painted: what was asked for before is in the next one.
const view = (page) => page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => {
  const { from, to } = document.getElementById("timeline").dataset;
  resolve({ from: Number(from), to: Number(to) });
})));

async function changed(page, before, what) {
  await page.waitForFunction(({ from, to }) => {
    const now = document.getElementById("timeline").dataset;
    return Number(now.from) !== from || Number(now.to) !== to;
  }, before, PATIENCE).catch(() => { throw new Error(`the view did not change: ${what}`); });
  return view(page);
}

async function look(browser, file) {
  const name = path.basename(file, ".html");
  const page = await browser.newPage({ viewport: SCREEN, colorScheme: "light" });
  const wrong = [], asked = [];
  page.on("console", (message) => { if (message.type() !== "log") wrong.push(message.text()); });
  page.on("pageerror", (error) => wrong.push(error.message));
  page.on("request", (request) => { if (!request.url().startsWith("file:")) asked.push(request.url()); });
  const at = (test) => `${name}/${test}`;
  await page.goto(`file://${path.resolve(file)}`);
  // The lanes come with the first frame.
  await view(page);
  const data = await page.evaluate(() => JSON.parse(document.getElementById("data").textContent));
  const events = data.events.at.length;

  await step(at("size"), () => {
    const bytes = fs.statSync(file).size;
    const most = LARGEST.page * Math.max(1, events / LARGEST.events);
    expect(bytes < most, `${bytes} bytes for ${events} events, at most ${most}`);
    return `${bytes} bytes, ${events} events, ${data.chain.length} steps`;
  });
  await step(at("lanes"), async () => {
    const lanes = await page.locator(".lane").evaluateAll((all) => all.map((lane) => lane.dataset.lane));
    for (const broker of data.brokers) expect(lanes.includes(`broker ${broker}`), `no lane of broker ${broker}`);
    expect(lanes.includes("controller") && lanes.includes("network"), `lanes are ${lanes}`);
    expect(lanes.some((lane) => lane.startsWith("client")), "no lane of a client");
    return `${lanes.length} lanes`;
  });
  await step(at("verdict"), async () => {
    expect(await page.locator("#check").isVisible(), "the check is not visible");
    expect((await page.locator("#check").textContent()) === data.check, "another check is shown");
    expect((await page.locator("#message").textContent()) === data.message, "another message is shown");
  });
  await step(at("picture"), async () => {
    const target = path.join(pictures, `${name}.png`);
    await page.setViewportSize(PICTURE);
    await page.waitForTimeout(200);
    await page.screenshot({ path: target });
    await page.setViewportSize(SCREEN);
    // How large it is depends on the browser's fonts; `cargo xtask tidy` bounds the ones that are kept.
    return `${fs.statSync(target).size} bytes`;
  });
  await step(at("painted"), async () => {
    const colours = await page.evaluate(() => {
      const canvas = document.getElementById("timeline");
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      const seen = new Set();
      for (let at = 0; at < data.length; at += 4) if (data[at + 3] > 0) seen.add(`${data[at]} ${data[at + 1]} ${data[at + 2]}`);
      return seen.size;
    });
    expect(colours > 30, `the timeline has ${colours} colours`);
  });
  await step(at("steps"), async () => {
    const steps = page.locator(".step");
    expect((await steps.count()) === data.chain.length, "not every step is listed");
    const first = await view(page);
    await page.locator("#timeline").press("0");
    const before = await changed(page, first, "the key for the whole run");
    await steps.nth(Math.floor(data.chain.length / 2)).click();
    const after = await changed(page, before, "a click on a step");
    expect(after.to - after.from < before.to - before.from, "the step is not shown closer");
    expect((await page.locator('.step[aria-current="true"]').count()) === 1, "the step is not marked");
    expect((await page.locator("#details h3").textContent()).length > 0, "the step has no details");
    // Steps of one moment have one view: which of them is marked tells.
    const marked = () => steps.evaluateAll((all) => all.findIndex((one) => one.ariaCurrent === "true"));
    const step = await marked();
    await page.locator("#timeline").press("j");
    expect((await marked()) === step + 1, `the key for the next step goes from step ${step} to ${await marked()}`);
  });
  await step(at("zoom"), async () => {
    const before = await view(page);
    await page.locator("#timeline").press("-");
    const out = await changed(page, before, "the key -");
    expect(out.to - out.from > before.to - before.from, "- does not zoom out");
    await page.locator("#timeline").press("+");
    const back = await changed(page, out, "the key +");
    expect(back.to - back.from < out.to - out.from, "+ does not zoom in");
    await page.mouse.move(600, 400);
    await page.mouse.wheel(0, -400);
    const closer = await changed(page, back, "the wheel");
    expect(closer.to - closer.from < back.to - back.from, "the wheel does not zoom in");
    await page.mouse.move(700, 300);
    await page.mouse.down();
    await page.mouse.move(600, 300, { steps: 4 });
    await page.mouse.up();
    const moved = await changed(page, closer, "dragging");
    expect(moved.from > closer.from, "dragging to the left does not go on in time");
    await page.locator("#timeline").press("0");
    const all = await changed(page, moved, "the key 0");
    expect(all.from <= 0, "0 does not show the whole run");
  });
  await step(at("search"), async () => {
    await page.locator("#timeline").press("/");
    const before = await view(page);
    await page.keyboard.type("broker 1");
    await page.waitForFunction(() => / of /.test(document.getElementById("found").textContent), undefined, PATIENCE);
    await changed(page, before, "the search");
    const first = await page.locator("#found").textContent();
    await page.keyboard.press("Enter");
    const second = await page.locator("#found").textContent();
    expect(first !== second, `Enter stays at ${first}`);
    await page.locator("#search").fill("no event says this");
    await page.waitForFunction(() => document.getElementById("found").textContent === "nothing", undefined, PATIENCE);
    await page.keyboard.press("Escape");
    return second;
  });
  await step(at("filters"), async () => {
    // The events that the search chose bring their lanes back.
    await view(page);
    const lanes = await page.locator(".lane").count();
    await page.locator("#timeline").press("l");
    await page.locator("#lanes-menu input:checked").first().click();
    await page.waitForFunction((lanes) => document.querySelectorAll(".lane").length === lanes - 1, lanes, PATIENCE);
    await page.locator("#lanes-menu input").first().click();
    await page.locator("#timeline").press("Escape");
    const chip = page.locator("#kinds button").first();
    await chip.click();
    expect((await chip.getAttribute("aria-pressed")) === "false", "a kind cannot be switched off");
    await chip.click();
  });
  await step(at("help"), async () => {
    await page.locator("#timeline").press("?");
    expect(await page.locator("#help").isVisible(), "? shows no help");
    expect((await page.locator("#help kbd").count()) >= 10, "the help does not name the keys");
    await page.keyboard.press("Escape");
    await page.locator("#help").waitFor({ state: "hidden", ...PATIENCE }).catch(() => { throw new Error("the help does not go"); });
  });
  await step(at("dark"), async () => {
    await page.locator("#timeline").press("d");
    const ground = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const [red] = ground.match(/\d+/g).map(Number);
    expect(red < 80, `in the dark the ground is ${ground}`);
  });
  await step(at("quiet"), () => {
    expect(wrong.length === 0, `the console says: ${wrong[0]}`);
    expect(asked.length === 0, `the page asks for ${asked[0]}`);
  });
  await page.close();
}

(async () => {
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  console.error(`browser ${browser.version()}`);
  for (const file of pages) await look(browser, file);
  await browser.close();
})().catch((error) => { console.error(error); process.exit(1); });
