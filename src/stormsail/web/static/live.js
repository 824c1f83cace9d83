// Keeps the page fresh by push. The stream says only that a topic has a new version; what is shown is then asked for
// again with its ETag, so that nothing travels when nothing changed.
//
// Browsers allow six connections a host over HTTP/1.1, so one visible tab holds the stream (the lock) and tells the
// others (the channel). A hidden tab lets go of both and asks for nothing until it is seen again.

const DEBOUNCE_MS = 250;
const SILENCE_MS = 45_000;
const root = () => document.getElementById("live");
const state = { etag: null, dirty: false, asking: null, again: false, timer: 0, connected: null, since: Date.now() };

const channel = new BroadcastChannel("stormsail");
channel.onmessage = ({ data }) => hear(data, false);

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
  stream = new EventSource(document.body.dataset.stream);
  let silence = 0;
  const alive = () => {
    clearTimeout(silence);
    silence = setTimeout(() => { if (stream) { stream.close(); tell({ connected: false }); open(); } }, SILENCE_MS);
  };
  stream.onopen = () => { alive(); tell({ connected: true }); };
  stream.onerror = () => {
    tell({ connected: false });
    // The browser tries again by itself unless the answer was an error page; then we do.
    if (stream?.readyState === EventSource.CLOSED) setTimeout(() => { if (stream) open(); }, 3000);
  };
  stream.addEventListener("topic", (event) => { alive(); tell({ news: [JSON.parse(event.data).topic] }); });
  stream.addEventListener("alive", alive);
}

function tell(message) {
  channel.postMessage(message);
  hear(message, true);
}

function hear(message) {
  if (message.who && release) channel.postMessage({ connected: state.connected !== false });
  if ("connected" in message) connection(message.connected);
  if (message.news) news(message.news);
}

function connection(connected) {
  const came_back = connected && state.connected === false;
  if (state.connected !== connected) state.since = Date.now();
  state.connected = connected;
  const banner = document.getElementById("connection");
  if (banner) banner.hidden = connected !== false;
  if (came_back) { state.dirty = true; refresh(); document.dispatchEvent(new CustomEvent("stormsail:news", { detail: { topics: topics() } })); }
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
  if (document.hidden || !root()) return;
  if (state.asking) { state.again = true; return; }
  state.asking = true;
  state.dirty = false;
  try {
    const headers = { "Stormsail-Fragment": "1", Accept: "text/html" };
    if (state.etag ??= root().dataset.etag) headers["If-None-Match"] = state.etag;
    const answer = await fetch(location.href, { headers, redirect: "manual" });
    if (answer.type === "opaqueredirect") location.reload();
    else if (answer.status !== 304) {
      const text = await answer.text();
      if (answer.headers.get("Stormsail-Fragment")) {
        state.etag = answer.headers.get("ETag");
        await htmx.swap({ target: root(), text, swap: "outerMorph", sourceElement: root() });
      }
    }
    connection(true);
  } catch {
    state.dirty = true;
    connection(false);
  } finally {
    state.asking = null;
    if (state.again) { state.again = false; clearTimeout(state.timer); state.timer = setTimeout(refresh, DEBOUNCE_MS); }
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

lead();
channel.postMessage({ who: true });
