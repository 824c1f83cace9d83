// Keeps the page fresh by push. The stream says only that a topic has a new version; what is shown is then asked for
// again with its ETag, so that nothing travels when nothing changed.
//
// Browsers allow six connections a host over HTTP/1.1, so one visible tab holds the stream (the lock) and tells the
// others (the channel). A hidden tab lets go of both and asks for nothing until it is seen again.

const DEBOUNCE_MS = 80; // The server has gathered for 250 ms already.
const SILENCE_MS = 45_000;
const RETRY_MS = 3_000;
const PAINT_MAX_MS = 1_000;
const main = document.getElementById("main");
const root = () => document.getElementById("live");
const state = { etag: null, dirty: false, asking: null, again: false, timer: 0, connected: null,
  partial: main?.hasAttribute("data-partial") };

const channel = new BroadcastChannel("stormsail");
channel.onmessage = ({ data }) => hear(data);

let release = null;
let waiting = null;
let stream = null;

function lead() {
  if (waiting || release || document.hidden || !document.body.dataset.stream) return;
  waiting = new AbortController();
  navigator.locks.request("stormsail-stream", { signal: waiting.signal }, () => new Promise((done) => {
    waiting = null;
    release = done;
    open();
  })).catch(() => { waiting = null; });
}

function follow() {
  waiting?.abort();
  stream?.close();
  stream = null;
  release?.();
  release = null;
}

function open() {
  const mine = new EventSource(document.body.dataset.stream);
  stream = mine;
  let silence = 0;
  const again = () => {
    if (stream !== mine) return;
    mine.close();
    open();
  };
  const alive = () => {
    clearTimeout(silence);
    silence = setTimeout(() => { if (stream === mine) { tell({ connected: false }); again(); } }, SILENCE_MS);
  };
  mine.onopen = () => { alive(); tell({ connected: true }); };
  mine.onerror = () => {
    tell({ connected: false });
    // The browser tries again by itself unless the answer was an error page; then we do.
    if (mine.readyState === EventSource.CLOSED) setTimeout(again, RETRY_MS);
  };
  mine.addEventListener("topic", (event) => { alive(); tell({ news: [JSON.parse(event.data).topic] }); });
  mine.addEventListener("alive", alive);
}

function tell(message) {
  channel.postMessage(message);
  hear(message);
}

function hear(message) {
  if (message.who && release && state.connected !== null) channel.postMessage({ connected: state.connected });
  if ("connected" in message) connection(message.connected);
  if (message.news) news(message.news);
}

function connection(connected) {
  // What happened between the page's making and its first hearing was told to nobody here; nor what while away.
  const missed = connected && state.connected !== true;
  state.connected = connected;
  const banner = document.getElementById("connection");
  if (banner) banner.hidden = connected;
  if (missed) {
    state.dirty = true;
    refresh();
    document.dispatchEvent(new CustomEvent("stormsail:news", { detail: { topics: topics() } }));
  }
}

function topics() { return (root()?.dataset.topics || "").split(" ").filter(Boolean); }

function news(changed) {
  const wanted = topics();
  if (!changed.some((topic) => wanted.includes(topic))) return;
  state.dirty = true;
  if (document.hidden) return;
  document.dispatchEvent(new CustomEvent("stormsail:news", { detail: { topics: changed } }));
  clearTimeout(state.timer);
  state.timer = setTimeout(refresh, DEBOUNCE_MS);
}

export async function refresh() {
  if (document.hidden || state.partial || !root()) return;
  if (state.asking) { state.again = true; return; }
  state.asking = true;
  state.dirty = false;
  try {
    const headers = { "Stormsail-Fragment": "1", Accept: "text/html" };
    if (state.etag ??= main.dataset.etag) headers["If-None-Match"] = state.etag;
    const answer = await fetch(location.href, { headers, redirect: "manual" });
    if (answer.type === "opaqueredirect") location.reload();
    else if (answer.status === 304) asOf(answer);
    else {
      const text = await answer.text();
      if (answer.headers.get("Stormsail-Fragment")) {
        state.etag = answer.headers.get("ETag");
        const focused = document.activeElement;
        await htmx.swap({ target: root(), text, swap: "outerMorph", sourceElement: root() });
        // An element that was moved to its new place has lost the focus on the way.
        if (document.activeElement === document.body && focused?.isConnected) focused.focus({ preventScroll: true });
      }
    }
    document.getElementById("connection").hidden = true;
    if (state.connected) main.dataset.heard = "true";
  } catch {
    state.dirty = true;
    connection(false);
    setTimeout(refresh, RETRY_MS);
  } finally {
    state.asking = null;
    if (state.again) { state.again = false; clearTimeout(state.timer); state.timer = setTimeout(refresh, DEBOUNCE_MS); }
  }
}

// Nothing changed, but it was looked at again: the sources' ages begin anew.
function asOf(answer) {
  const read = (answer.headers.get("Stormsail-As-Of") || "").split(",");
  for (const time of root().querySelectorAll("time[data-fresh]")) {
    const at = read[Number(time.dataset.fresh)];
    if (Number(at)) time.dataset.at = at;
  }
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) { follow(); return; }
  lead();
  channel.postMessage({ who: true });
  refresh(); // It may have changed meanwhile: one question, mostly answered by 304.
  document.dispatchEvent(new CustomEvent("stormsail:news", { detail: { topics: topics() } }));
});
addEventListener("pagehide", follow);
addEventListener("pageshow", (event) => { if (event.persisted) lead(); });

// A page whose timeline is what people wait for comes without its longest part, and asks for that after the first
// paint: nothing else is read, laid out or asked for before.
function painted() {
  if (!state.partial) return;
  state.partial = false;
  refresh();
}
if (state.partial) {
  if (document.querySelector("[data-timeline][data-painted]")) painted();
  document.addEventListener("stormsail:painted", painted);
  setTimeout(() => { if (state.partial) main.dataset.late = "true"; painted(); }, PAINT_MAX_MS);
}

lead();
channel.postMessage({ who: true });
