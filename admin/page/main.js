import { Chart } from "./charts.js";
import { byID, draw, keep, make, say, set } from "./dom.js";
import { showFlow } from "./flow.js";
import { clock, count, short, span } from "./format.js";
import * as model from "./model.js";
import { showProcesses } from "./processes.js";
import { PartitionTable } from "./table.js";

const meter = new model.Meter();
const table = new PartitionTable();
const throughput = new Chart("chart-throughput", "Throughput", [{ name: "arriving", color: "soft", dash: [3, 3] }, { name: "done", color: "accent" }], (v) => short(v) + "/s");
const latency = new Chart("chart-latency", "Acknowledged after", [{ name: "p50", color: "soft", dash: [3, 3] }, { name: "p99", color: "accent" }], span);
const age = new Chart("chart-age", "Age of inputs", [{ name: "oldest", color: "second" }, { name: "mean", color: "accent" }], span);
const queue = new Chart("chart-queue", "Waiting", [{ name: "in hand", color: "second" }, { name: "for Kafka", color: "accent" }], short);

let quietSince = null; // when an event was due that did not come
let last = null; // the arrival of the last event, and the time to the one before

function show(pod) {
  const now = Date.parse(pod.time) / 1000;
  const processes = model.processNames(pod.sessions);
  const partitions = pod.partitions.map((p) => model.readPartition(p, now, processes));
  const m = model.measure(pod, partitions, meter);
  say(byID("who"), model.describe(pod));
  showAlarms(model.alarms(pod, partitions));
  showFlow(model.stations(pod, partitions, m));
  if (m.window) throughput.add(m.time, [m.window.arrived, m.window.done]);
  latency.add(m.time, [m.p50, m.p99]);
  age.add(m.time, [m.oldest, m.mean]);
  queue.add(m.time, [m.inHand, m.queue]);
  showSentinels(model.sentinels(pod));
  showConnections(pod.sidecar);
  showTransactions(model.committing(pod), model.transactions(pod));
  table.update(partitions);
  showProcesses(pod, now);
  showIncidents(pod.incidents.map((incident) => model.readIncident(incident, processes)));
  set(byID("main"), "data-time", pod.time); // whose state this is
}

function showAlarms(alarms) {
  const box = byID("alarm");
  set(box, "hidden", alarms.length === 0 ? "" : null);
  set(box, "data-weight", alarms.some((alarm) => alarm.weight === "bad") ? "bad" : "warn");
  say(box, alarms.map((alarm) => alarm.text).join("\n"));
  document.title = (alarms.length > 0 ? "(" + alarms.length + ") " : "") + "Ackmark";
}

function showSentinels(list) {
  keep(byID("sentinels"), list, () => make("div", {}, make("dt"), make("dd")), (element, sentinel) => {
    set(element, "data-weight", sentinel.value > 0 ? "bad" : null);
    say(element.children[0], sentinel.title + (sentinel.value === null ? " (not counted here)" : ""));
    say(element.children[1], count(sentinel.value));
  });
}

function showConnections(sidecar) {
  const rows = sidecar
    ? [{ key: "now", title: "now, with the sidecar", n: sidecar.broker_connections }, { key: "without", title: "without the sidecar", n: sidecar.broker_connections_without }]
    : [{ key: "none", title: "not counted without a sidecar", n: null }];
  const most = Math.max(1, ...rows.map((row) => row.n ?? 0));
  keep(byID("connections"), rows, (row) => make("div", { "data-kind": row.key }, make("dt"),
    make("span", { class: "bar", "aria-hidden": "true" }, draw("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none" }, draw("rect", { height: 10 }))), make("dd")),
  (element, row) => {
    say(element.children[0], row.title);
    set(element.querySelector("rect"), "width", ((row.n ?? 0) / most) * 100);
    say(element.children[2], count(row.n));
  });
}

function showTransactions(of, list) {
  set(byID("transactions-section"), "hidden", of ? null : "");
  say(byID("transactions-id"), of ? of.id + ", " + of.state : "");
  keep(byID("transactions"), list, () => make("div", {}, make("dt"), make("dd")), (element, row) => {
    set(element, "data-weight", row.weight || null);
    say(element.children[0], row.title);
    say(element.children[1], row.value);
  });
}

function showIncidents(incidents) {
  say(byID("incidents-count"), incidents.length > 0 ? "the last " + count(incidents.length) : "");
  keep(byID("incidents"), incidents.length > 0 ? incidents : [{ key: "none" }], (incident) => (incident.key === "none"
    ? make("li", { class: "none" }, "Nothing happened.")
    : make("li", {}, make("time"), make("span", { class: "kind" }), make("span", { class: "what" }))),
  (element, incident) => {
    if (incident.key === "none") return;
    const [time, kind, what] = element.children;
    set(element, "data-weight", incident.weight || null);
    set(time, "datetime", incident.time.toISOString());
    say(time, clock(incident.time));
    say(kind, incident.kind);
    say(what, incident.what);
  });
}

function live(state, text) {
  set(byID("live"), "data-live", state);
  say(byID("live-text"), text);
}

function connect() {
  const source = new EventSource("/api/events");
  source.addEventListener("status", (event) => {
    const at = performance.now();
    last = { at, gap: last ? Math.min(at - last.at, 60_000) : 1000 };
    if (quietSince !== null) for (const chart of [throughput, latency, age, queue]) chart.gap(Date.now() / 1000);
    quietSince = null;
    live("yes", "live");
    show(JSON.parse(event.data));
  });
  source.addEventListener("error", () => {
    if (source.readyState !== EventSource.CLOSED) return; // it tries again by itself
    source.close();
    setTimeout(connect, 2000);
  });
}

// What is on the page is old when events do not come as they did.
setInterval(() => {
  const at = performance.now();
  if (!last || at - last.at < Math.max(3500, last.gap * 3)) {
    if (!last && at > 3000) live("no", "not connected");
    return;
  }
  quietSince ??= last.at;
  live("no", "stale for " + span((at - last.at) / 1000));
}, 1000);

connect();
