// Small manners of the page: ages that count, dialogs for changes, copying, the colour scheme. Shows nothing by itself.

import { length } from "./timeline.js";
import { refresh } from "./live.js";

// Times are written by the server as instants; people read ages and their own clock.
// Making a formatter takes longer than formatting: there are hundreds of times on a page, and four formatters.
const CLOCK = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const DATE = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const WHOLE = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });

function ages() {
  const now = Date.now();
  for (const time of document.querySelectorAll("time[data-at]")) {
    const at = Number(time.dataset.at);
    const as = time.dataset.as;
    if (as === "clock" && time.dataset.told === time.dataset.at) continue;
    const text = as === "clock" ? clock(at, now) : as === "since" ? length(Math.max(0, now - at)) : as === "until" ? until(at - now) : ago(now - at);
    if (as === "clock") time.dataset.told = time.dataset.at;
    if (time.textContent !== text) time.textContent = text;
  }
}

// The whole instant, for whoever points at a time.
document.addEventListener("pointerover", (event) => {
  const time = event.target.closest?.("time[data-at]");
  if (time) time.title = WHOLE.format(Number(time.dataset.at));
});

function ago(ms) {
  if (ms < 1500) return "just now";
  return `${length(ms < 60e3 ? Math.floor(ms / 1000) * 1000 : Math.floor(ms / 60e3) * 60e3)} ago`;
}

function until(ms) { return ms <= 500 ? "now" : `in ${length(Math.ceil(ms / 1000) * 1000)}`; }

// Of what was lately the time is enough; of what is to come only today.
function clock(at, now) {
  const near = at <= now ? now - at < 20 * 36e5 : new Date(at).toDateString() === new Date(now).toDateString();
  return (near ? CLOCK : DATE).format(at);
}

ages();
setInterval(() => { if (!document.hidden) ages(); }, 1000);
document.addEventListener("visibilitychange", () => { if (!document.hidden) ages(); });

// A change opens as a dialog with its plan; the server answers a finished one by where to go, or by "refresh".
const dialog = document.getElementById("dialog");
document.addEventListener("htmx:after:swap", () => {
  ages();
  if (dialog && !dialog.open && dialog.querySelector("form, [data-open]")) {
    dialog.showModal();
    dialog.querySelector("[autofocus], textarea, input:not([type=hidden]), select")?.focus();
  }
});
dialog?.addEventListener("close", () => { dialog.replaceChildren(); });
document.addEventListener("stormsail:done", () => { dialog?.close(); refresh(); });

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-do]");
  if (!button) return;
  if (button.dataset.do === "close") dialog?.close();
  if (button.dataset.do === "done") { dialog?.close(); refresh(); }
  if (button.dataset.do === "copy") {
    navigator.clipboard?.writeText(document.getElementById(button.dataset.of).textContent.trim())
      .then(() => { button.textContent = "Copied"; setTimeout(() => { button.textContent = "Copy"; }, 1500); });
  }
});

// A box in a table's head picks all of its rows, and says when only some are.
document.addEventListener("change", (event) => {
  const table = event.target.closest?.("table");
  const all = table?.querySelector("input[data-pick-all]");
  if (!all) return;
  const boxes = [...table.querySelectorAll("tbody input[name=operations]")];
  if (event.target === all) for (const box of boxes) box.checked = all.checked;
  const picked = boxes.filter((box) => box.checked).length;
  all.checked = picked > 0 && picked === boxes.length;
  all.indeterminate = picked > 0 && picked < boxes.length;
});

// Filters live in the URL: an empty field is left out of it.
document.addEventListener("submit", (event) => {
  if (!event.target.matches("form[data-filters]")) return;
  for (const field of event.target.elements) if (field.name && field.value === "") field.disabled = true;
});

for (const choice of document.querySelectorAll("input[name=theme]")) {
  choice.checked = (localStorage.getItem("stormsail-theme") || "system") === choice.value;
  choice.addEventListener("change", () => {
    if (choice.value === "system") { localStorage.removeItem("stormsail-theme"); delete document.documentElement.dataset.theme; }
    else { localStorage.setItem("stormsail-theme", choice.value); document.documentElement.dataset.theme = choice.value; }
    document.dispatchEvent(new CustomEvent("stormsail:theme"));
  });
}
