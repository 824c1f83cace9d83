// The timeline of a run on a canvas: a row for everything that took time, and only the rows in sight are drawn.
//
// The server sends what each event does to a row, so that the newest events are enough to go on:
//   ["o", id, kind, name, at, key]   a row opens         ["s", id, at, attempt, failure]   its work was taken
//   ["c", id, at, state, note]       it closes           ["m", id, kind, name, at, state]  something happened at once
// The table below the canvas says the same for those who cannot see it, 200 rows at a time.

const ROW = 22;
const AXIS = 26;
const TABLE_ROWS = 200;
const STATES = { ok: "done", bad: "failed", warn: "timed out", off: "cancelled", run: "running", retry: "retrying" };
const PROBED = ["text", "muted", "line", "panel", "raised", "accent", "ok", "bad", "warn", "off", "run", "wait"];

class Rows {
  constructor() {
    this.all = [];
    this.byId = new Map();
    this.lastEvent = 0;
  }

  take(ops) {
    for (const [what, id, ...rest] of ops) {
      if (what === "o" || what === "m") {
        if (this.byId.has(id)) continue;
        const [kind, name, at, last] = rest;
        const mark = what === "m";
        const row = { id, kind, name, at, taken: 0, end: mark ? at : 0, state: mark ? last || "ok" : "run", key: mark ? "" : last, note: "", attempt: 1, mark };
        this.byId.set(id, row);
        this.all.push(row);
        continue;
      }
      const row = this.byId.get(id);
      if (!row) continue;
      if (what === "s") [row.taken, row.attempt, row.note] = rest;
      else [row.end, row.state, row.note] = [rest[0], rest[1], rest[2] || row.note];
    }
  }

  // What the run waits for says which open rows are between two attempts; histories do not.
  pending(list) {
    const known = new Map(list.map((one) => [one.key, one]));
    for (const row of this.all) {
      if (row.end || row.mark) continue;
      const one = known.get(row.key);
      if (!one) continue;
      row.attempt = one.attempt;
      row.note = one.failure;
      row.state = one.attempt > 1 ? "retry" : "run";
    }
  }
}

class Timeline {
  constructor(box) {
    this.box = box;
    this.canvas = box.querySelector("canvas");
    this.spacer = box.querySelector(".spacer");
    this.panel = box.closest("[data-timeline-panel]");
    this.said = this.panel.querySelector("[data-timeline-said]");
    this.table = this.panel.querySelector("[data-timeline-table]");
    this.rows = new Rows();
    this.start = Number(box.dataset.start);
    this.close = Number(box.dataset.close) || 0;
    this.view = null;
    this.chosen = -1;
    this.tableFrom = 0;
    this.drawAsked = false;
    this.loading = null;
    this.shown = new Promise((done) => { this.tellShown = done; });
    this.listen();
    this.colours();
    this.load();
  }

  get now() { return this.close || Date.now(); }

  // Reading

  async load() {
    // The first rows stand in the page, unless they were not there soon enough for it.
    const { first } = this.box.dataset;
    delete this.box.dataset.first;
    let page = first ? JSON.parse(first) : await this.ask({});
    if (page) performance.mark("timeline-answer");
    while (page) {
      this.take(page);
      if (!page.next) break;
      await this.shown; // What is not in sight is asked for once the first rows are.
      page = await this.ask({ token: page.next });
    }
    if (!page) return;
    this.box.dataset.loaded = "true";
    performance.mark("timeline-loaded");
  }

  // Only what came after the newest event that we have; called once more if there was news meanwhile.
  async more() {
    if (this.box.dataset.loaded !== "true") return;
    if (this.loading) { this.again = true; return; }
    this.loading = this.ask({ after: this.rows.lastEvent });
    const page = await this.loading;
    this.loading = null;
    if (page) this.take(page);
    if (this.again) { this.again = false; await this.more(); }
  }

  async ask(query) {
    const url = new URL(this.box.dataset.src, location.href);
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    try {
      const answer = await fetch(url); // Without a header of its own: so it is the one that the browser has asked for already.
      if (answer.ok) return await answer.json();
      this.say(`The timeline could not be read: ${(await answer.json().catch(() => ({}))).detail || answer.statusText}`);
    } catch {
      this.say("The timeline could not be read: the page's server does not answer.");
    }
    return null;
  }

  take(page) {
    this.rows.take(page.ops);
    this.rows.pending(page.pending || []);
    this.rows.lastEvent = Math.max(this.rows.lastEvent, page.last);
    if (page.close) this.close = page.close;
    this.box.dataset.rows = this.rows.all.length;
    this.box.dataset.events = this.rows.lastEvent;
    const tall = this.rows.all.length * ROW + AXIS + 8;
    this.spacer.style.height = `${tall}px`;
    this.box.style.height = `${tall + 14}px`; // No taller than its rows need; the style sheet has the most.
    this.panel.querySelector("[data-timeline-count]").textContent =
      `${this.rows.all.length.toLocaleString("en")} rows from ${this.rows.lastEvent.toLocaleString("en")} events`;
    this.fillTable();
    if (this.painted) this.draw();
    else this.paint(); // Now, so that the first frame that shows anything shows this too.
  }

  // Drawing

  colours() {
    const probe = this.panel.querySelector("[data-timeline-probe]");
    this.colour = {};
    for (const name of PROBED) {
      probe.style.color = `var(--${name})`;
      this.colour[name] = getComputedStyle(probe).color;
    }
    this.font = getComputedStyle(document.body).fontFamily;
  }

  draw() {
    if (this.drawAsked) return;
    this.drawAsked = true;
    requestAnimationFrame(() => { this.drawAsked = false; this.paint(); });
  }

  paint() {
    const width = this.box.clientWidth;
    const height = this.box.clientHeight;
    const scale = devicePixelRatio || 1;
    if (this.canvas.width !== Math.round(width * scale) || this.canvas.height !== Math.round(height * scale)) {
      this.canvas.width = Math.round(width * scale);
      this.canvas.height = Math.round(height * scale);
      this.canvas.style.width = `${width}px`;
      this.canvas.style.height = `${height}px`;
    }
    const pen = this.canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    this.gutter = Math.min(240, Math.max(110, width * 0.26));
    const [from, to] = this.span();
    const at = (t) => this.gutter + ((t - from) / (to - from)) * (width - this.gutter - 14);
    const first = Math.max(0, Math.floor(this.box.scrollTop / ROW));
    const last = Math.min(this.rows.all.length, first + Math.ceil((height - AXIS) / ROW) + 1);
    pen.font = `12px ${this.font}`;
    pen.textBaseline = "middle";
    this.paintTicks(pen, from, to, at, width, height);
    pen.save();
    pen.beginPath();
    pen.rect(0, AXIS, width, height - AXIS);
    pen.clip();
    for (let index = first; index < last; index++) {
      this.paintRow(pen, this.rows.all[index], index, AXIS + index * ROW - this.box.scrollTop, at, width);
    }
    pen.restore();
    this.box.dataset.drawn = last - first;
    if (!this.painted && last > first) {
      this.painted = true;
      performance.mark("timeline-first-paint");
      requestAnimationFrame(() => { // The frame with it has been made.
        performance.mark("timeline-shown");
        this.box.dataset.painted = "true";
        this.tellShown();
        document.dispatchEvent(new CustomEvent("stormsail:painted"));
      });
    }
  }

  paintTicks(pen, from, to, at, width, height) {
    const step = niceStep((to - from) / Math.max(2, (width - this.gutter) / 110));
    pen.strokeStyle = this.colour.line;
    pen.fillStyle = this.colour.muted;
    pen.lineWidth = 1;
    pen.textAlign = "center";
    for (let t = Math.ceil((from - this.start) / step) * step; t <= to - this.start; t += step) {
      const x = Math.round(at(this.start + t)) + 0.5;
      if (x < this.gutter) continue;
      pen.beginPath();
      pen.moveTo(x, AXIS - 4);
      pen.lineTo(x, height);
      pen.stroke();
      if (x < width - 24) pen.fillText(t === 0 ? "0" : `+${length(t)}`, x, AXIS / 2);
    }
    pen.textAlign = "left";
    pen.beginPath();
    pen.moveTo(0, AXIS - 0.5);
    pen.lineTo(width, AXIS - 0.5);
    pen.stroke();
  }

  paintRow(pen, row, index, y, at, width) {
    const middle = y + ROW / 2;
    if (index === this.chosen) {
      pen.fillStyle = this.colour.raised;
      pen.fillRect(0, y, width, ROW);
      pen.fillStyle = this.colour.accent;
      pen.fillRect(0, y, 3, ROW);
    }
    const colour = this.colour[row.state === "retry" ? "warn" : row.state] || this.colour.off;
    mark(pen, row.state, 15, middle, colour);
    pen.fillStyle = this.colour.text;
    pen.fillText(fitted(pen, row.name, this.gutter - 34), 26, middle);
    const left = Math.max(this.gutter, at(row.at));
    const right = Math.min(width - 6, Math.max(at(row.end || this.now), left + 3));
    if (right < this.gutter || left > width) return;
    pen.fillStyle = colour;
    if (row.mark) {
      pen.beginPath();
      pen.moveTo(left, middle - 6);
      pen.lineTo(left + 6, middle);
      pen.lineTo(left, middle + 6);
      pen.lineTo(left - 6, middle);
      pen.fill();
    } else {
      const taken = row.taken ? Math.min(right, Math.max(left, at(row.taken))) : left;
      if (taken - left > 1) {
        pen.globalAlpha = 0.35; // waited for a worker
        pen.fillRect(left, middle - 3, taken - left, 6);
        pen.globalAlpha = 1;
      }
      pen.beginPath();
      pen.roundRect(taken, middle - 6, Math.max(3, right - taken), 12, 3);
      pen.fill();
    }
    const text = row.mark ? "" : row.attempt > 1 ? `${length((row.end || this.now) - row.at)} · attempt ${row.attempt}` : length((row.end || this.now) - row.at);
    if (!text) return;
    pen.fillStyle = this.colour.muted;
    const room = pen.measureText(text).width;
    if (right + 6 + room < width) pen.fillText(text, right + 6, middle);
    else if (left - 6 - room > this.gutter) pen.fillText(text, left - 6 - room, middle);
  }

  span() {
    if (this.view) return this.view;
    const end = Math.max(this.now, this.start + 50);
    return [this.start, end + (end - this.start) * 0.12];
  }

  // Moving about

  listen() {
    this.box.addEventListener("scroll", () => this.draw(), { passive: true });
    this.box.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.shiftKey) return;
      event.preventDefault();
      const x = event.clientX - this.box.getBoundingClientRect().left;
      if (event.shiftKey) this.pan(Math.sign(event.deltaY || event.deltaX) * 0.1);
      else this.zoom(event.deltaY < 0 ? 0.8 : 1.25, this.timeAt(x));
    }, { passive: false });
    this.box.addEventListener("keydown", (event) => this.key(event));
    this.box.addEventListener("pointerdown", (event) => this.grab(event));
    this.panel.querySelectorAll("[data-timeline-do]").forEach((button) => {
      button.addEventListener("click", () => this.act(button.dataset.timelineDo));
    });
    this.table?.addEventListener("toggle", () => this.fillTable());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { this.colours(); this.draw(); });
    document.addEventListener("stormsail:theme", () => { this.colours(); this.draw(); });
    document.addEventListener("stormsail:news", (event) => {
      if (event.detail.topics.some((topic) => this.box.dataset.topics.split(" ").includes(topic))) this.more();
    });
    new ResizeObserver(() => this.draw()).observe(this.box);
    setInterval(() => { if (!this.close && !document.hidden) this.draw(); }, 1000);
  }

  key(event) {
    const does = { "+": "in", "=": "in", "-": "out", 0: "all", ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down", Home: "first", End: "last" }[event.key];
    if (!does || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.act(does);
  }

  act(what) {
    const count = this.rows.all.length;
    const actions = {
      in: () => this.zoom(0.7),
      out: () => this.zoom(1 / 0.7),
      all: () => { this.view = null; },
      left: () => this.pan(-0.15),
      right: () => this.pan(0.15),
      up: () => this.choose(this.chosen - 1),
      down: () => this.choose(this.chosen + 1),
      first: () => this.choose(0),
      last: () => this.choose(count - 1),
      earlier: () => { this.tableFrom = Math.max(0, this.tableFrom - TABLE_ROWS); this.fillTable(); },
      later: () => { if (this.tableFrom + TABLE_ROWS < count) this.tableFrom += TABLE_ROWS; this.fillTable(); },
    };
    actions[what]();
    this.draw();
  }

  timeAt(x) {
    const [from, to] = this.span();
    const share = (x - this.gutter) / (this.box.clientWidth - this.gutter - 14);
    return from + Math.min(1, Math.max(0, share)) * (to - from);
  }

  zoom(factor, around) {
    const [from, to] = this.span();
    const row = this.rows.all[this.chosen];
    const centre = around ?? (row && row.at > from && row.at < to ? row.at : (from + to) / 2);
    const width = Math.max(1, (to - from) * factor);
    this.view = [centre - (centre - from) * (width / (to - from)), centre + (to - centre) * (width / (to - from))];
    this.draw();
  }

  pan(share) {
    const [from, to] = this.span();
    this.view = [from + (to - from) * share, to + (to - from) * share];
    this.draw();
  }

  grab(event) {
    const box = this.box.getBoundingClientRect();
    const x = event.clientX - box.left;
    const y = event.clientY - box.top;
    if (event.button !== 0 || x > this.box.clientWidth || y < AXIS) return;
    const index = Math.floor((y - AXIS + this.box.scrollTop) / ROW);
    if (index < this.rows.all.length) this.choose(index);
    if (x < this.gutter) return;
    const [from, to] = this.span();
    const perPixel = (to - from) / (this.box.clientWidth - this.gutter - 14);
    const move = (moved) => {
      const by = (event.clientX - moved.clientX) * perPixel;
      if (Math.abs(event.clientX - moved.clientX) > 3) { this.view = [from + by, to + by]; this.draw(); }
    };
    const done = () => { removeEventListener("pointermove", move); removeEventListener("pointerup", done); };
    addEventListener("pointermove", move);
    addEventListener("pointerup", done);
  }

  choose(index) {
    this.chosen = Math.min(this.rows.all.length - 1, Math.max(0, index));
    const row = this.rows.all[this.chosen];
    if (!row) return;
    const top = this.chosen * ROW;
    const room = this.box.clientHeight - AXIS - ROW;
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    else if (top > this.box.scrollTop + room) this.box.scrollTop = top - room;
    const note = row.note ? `: ${row.note}` : "";
    this.say(`${row.name}, ${row.kind}, ${STATES[row.state] || row.state}, event ${row.id}, began after ${length(row.at - this.start)}` +
      `${row.mark ? "" : `, took ${length((row.end || this.now) - row.at)}`}${row.attempt > 1 ? `, attempt ${row.attempt}` : ""}${note}`);
    this.draw();
  }

  // Said aloud by screen readers, so not for each of the rows that somebody runs past.
  say(text) {
    clearTimeout(this.saying);
    this.saying = setTimeout(() => { this.said.textContent = text; }, 120);
  }

  fillTable() {
    if (!this.table?.open) return;
    const body = this.table.querySelector("tbody");
    const shown = this.rows.all.slice(this.tableFrom, this.tableFrom + TABLE_ROWS);
    body.replaceChildren(...shown.map((row) => {
      const line = document.createElement("tr");
      const cells = [row.id, row.kind, row.name, STATES[row.state] || row.state, row.attempt, `+${length(row.at - this.start)}`, row.mark ? "" : length((row.end || this.now) - row.at), row.note];
      line.append(...cells.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
      return line;
    }));
    this.table.querySelector("[data-timeline-range]").textContent =
      shown.length ? `rows ${this.tableFrom + 1} to ${this.tableFrom + shown.length} of ${this.rows.all.length}` : "no rows yet";
  }
}

function mark(pen, state, x, y, colour) {
  pen.strokeStyle = colour;
  pen.lineWidth = 1.8;
  pen.lineCap = "round";
  pen.beginPath();
  if (state === "ok") { pen.moveTo(x - 4, y); pen.lineTo(x - 1, y + 3.5); pen.lineTo(x + 4.5, y - 4); }
  else if (state === "bad") { pen.moveTo(x - 3.5, y - 3.5); pen.lineTo(x + 3.5, y + 3.5); pen.moveTo(x + 3.5, y - 3.5); pen.lineTo(x - 3.5, y + 3.5); }
  else if (state === "warn") { pen.arc(x, y, 4.5, 0, 7); pen.moveTo(x, y - 2.5); pen.lineTo(x, y); pen.lineTo(x + 2, y + 1); }
  else if (state === "off") { pen.moveTo(x - 4, y); pen.lineTo(x + 4, y); }
  else if (state === "retry") { pen.arc(x, y, 4, 0.6, 5.6); pen.moveTo(x + 4.5, y - 5); pen.lineTo(x + 3.2, y - 1.8); pen.lineTo(x, y - 2.5); }
  else { pen.arc(x, y, 4, 0, 4.7); }
  pen.stroke();
}

function fitted(pen, text, room) {
  if (pen.measureText(text).width <= room) return text;
  let end = Math.max(1, Math.floor((text.length * room) / pen.measureText(text).width) - 1);
  while (end > 1 && pen.measureText(`${text.slice(0, end)}…`).width > room) end--;
  return `${text.slice(0, end)}…`;
}

function niceStep(raw) {
  const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 9e5, 18e5, 36e5, 72e5, 216e5, 432e5, 864e5];
  return steps.find((step) => step >= raw) || Math.ceil(raw / 864e5) * 864e5;
}

export function length(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60e3) return `${ms < 10e3 ? (ms / 1000).toFixed(1).replace(/\.0$/, "") : Math.floor(ms / 1000)} s`;
  const minutes = Math.floor(ms / 60e3);
  if (minutes < 60) return `${minutes} min${rest(Math.floor((ms % 60e3) / 1000), "s")}`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h${rest(minutes % 60, "min")}`;
  return `${Math.floor(hours / 24)} d${rest(hours % 24, "h")}`;
}

function rest(count, unit) { return count ? ` ${count} ${unit}` : ""; }

const started = new WeakSet();
export function startTimelines() {
  for (const box of document.querySelectorAll("[data-timeline]")) {
    // Its table comes last of what belongs to it.
    if (started.has(box) || !box.closest("[data-timeline-panel]").querySelector("[data-timeline-table] tbody")) continue;
    started.add(box);
    new Timeline(box);
  }
}
startTimelines();
document.addEventListener("htmx:after:swap", startTimelines);

// The script comes before the page has been read: a timeline begins as soon as it is there, not after all below it.
if (document.readyState === "loading") {
  const reading = new MutationObserver(startTimelines);
  reading.observe(document.documentElement, { childList: true, subtree: true });
  document.addEventListener("DOMContentLoaded", () => { reading.disconnect(); startTimelines(); });
}
