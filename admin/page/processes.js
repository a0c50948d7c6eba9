import { byID, keep, make, say, set } from "./dom.js";
import { count } from "./format.js";
import { readProcess } from "./model.js";

// rowsAtOnce is how many are shown, where there are hundreds.
const rowsAtOnce = 50;

// What each process had done, and when.
const done = new Map();

const columns = [
  ["App", "app", "name"], ["PID", "pid", "num"], ["State", "state", "state"], ["Group", "groups", "name"], ["Partitions", "partitions", "num"], ["Handlers busy", "handlers", "num"],
  ["Queued", "queued", "num"], ["Unreported", "outstanding", "num"], ["Done", "done", "num"], ["", "rate", "num"], ["Retries", "retries", "num"], ["Dead letters", "letters", "num"], ["If it dies", "death", "faint"],
];

// showProcesses shows those that send their outputs here.
export function showProcesses(pod, now) {
  const place = byID("processes-table");
  if (!place.tBodies[0]) {
    place.append(make("caption", { class: "unseen" }, "Processes that send their outputs here"),
      make("thead", {}, make("tr", {}, ...columns.map(([title, , kind]) => (title
        ? make("th", { scope: "col", class: kind === "num" ? kind : null }, title) : make("td", {}, make("span", { class: "unseen" }, "Done in a second")))))), make("tbody"));
  }
  const all = pod.sessions.map((s) => readProcess(s, now, rateOf(s, now)));
  all.sort((a, b) => (a.weight === "good") - (b.weight === "good")); // what needs a look comes first
  const rows = all.slice(0, rowsAtOnce);
  say(byID("processes-count"), (rows.length < all.length ? count(rows.length) + " of " : "") + count(all.length));
  keep(place.tBodies[0], rows.length > 0 ? rows : [{ key: "none" }], (row) => (row.key === "none"
    ? make("tr", {}, make("td", { class: "none", colspan: columns.length }, "No process is connected."))
    : make("tr", {}, ...columns.map(([, name, kind], i) => (kind === "state" ? make("td", {}, make("span", { class: "state" })) : make(i === 0 ? "th" : "td", i === 0 ? { scope: "row", class: kind } : { class: kind }))))),
  (element, row) => {
    if (row.key === "none") return;
    columns.forEach(([, name, kind], i) => {
      const cell = kind === "state" ? element.children[i].firstElementChild : element.children[i];
      if (kind === "state") set(cell, "data-weight", row.weight);
      if (kind === "name") set(cell, "title", row[name]);
      say(cell, row[name]);
    });
  });
  const there = new Set(pod.sessions.map((s) => s.id));
  for (const id of done.keys()) if (!there.has(id)) done.delete(id);
}

// rateOf is what a process does in a second, over the last seconds.
function rateOf(session, now) {
  if (!session.process) return null;
  const kept = done.get(session.id) ?? [];
  done.set(session.id, kept);
  kept.push({ now, done: session.process.counters.done });
  while (kept.length > 2 && kept[1].now <= now - 5) kept.shift();
  const took = now - kept[0].now;
  return took > 0 ? Math.max(kept.at(-1).done - kept[0].done, 0) / took : null;
}

