// What /api/status says, as the page shows it. No element is touched here.
import { count, plural, short, span, unknown } from "./format.js";

// windowSeconds is what the rates of the flow are taken over: load comes in bursts.
const windowSeconds = 5;

const stateWeights = { reading: "good", untold: "good", paused: "warn", leaving: "warn", waiting: "warn", halted: "bad" };

const seconds = (text) => Date.parse(text) / 1000;
const sum = (list, of) => list.reduce((total, item) => total + of(item), 0);
const place = (topic, partition) => topic + "/" + partition;

// Meter makes totals that only grow out of readings whose partitions and processes come and go, and
// rates out of the totals.
export class Meter {
  constructor() {
    this.before = null;
    this.totals = { arrived: 0, read: 0, done: 0, acked: 0 };
    this.kept = [];
  }

  // take adds a reading; it returns the rates of the window. Null: not known yet.
  take(pod) {
    const now = { time: seconds(pod.time), ends: new Map(), counts: new Map(), acked: pod.counters.records_acked, maker: pod.sidecar?.id };
    for (const p of pod.partitions) {
      const at = JSON.stringify([p.topic, p.partition]);
      now.ends.set(at, Math.max(p.offsets.log_end, now.ends.get(at) ?? -1));
      const key = JSON.stringify([p.session, p.group, p.topic, p.partition, p.epoch]);
      // Whose process does not tell is known by its mark alone.
      now.counts.set(key, p.state === "untold" ? { read: 0, done: p.offsets.ack_mark, untold: true } : p.counts);
    }
    const before = this.before;
    this.before = now;
    if (!before || now.time <= before.time || now.maker !== before.maker) {
      this.kept = [{ time: now.time, ...this.totals }];
      return null;
    }
    this.add(before, now);
    const told = pod.partitions.some((p) => p.offsets.log_end >= 0);
    this.kept.push({ time: now.time, told, ...this.totals });
    while (this.kept.length > 2 && this.kept[1].time <= now.time - windowSeconds) this.kept.shift();
    return rates(this.kept[0], this.kept.at(-1));
  }

  add(before, now) {
    const grown = (a, b) => Math.max(b - a, 0);
    for (const [at, end] of now.ends) {
      const former = before.ends.get(at);
      if (former >= 0 && end >= 0) this.totals.arrived += grown(former, end);
    }
    for (const [key, counts] of now.counts) { // a new assignment begins with 0
      const former = before.counts.get(key);
      if (former ? former.untold !== counts.untold : counts.untold) continue;
      this.totals.read += grown(former?.read ?? 0, counts.read);
      this.totals.done += grown(former?.done ?? 0, counts.done);
    }
    this.totals.acked += grown(before.acked, now.acked);
  }
}

function rates(from, to) {
  const took = to.time - from.time;
  return {
    arrived: to.told ? (to.arrived - from.arrived) / took : null, read: to.told ? (to.read - from.read) / took : null,
    done: (to.done - from.done) / took, acked: (to.acked - from.acked) / took,
  };
}

// readPartition is a row of the table.
export function readPartition(p, now, processes) {
  const { ack_mark: mark, committed, fetched, log_end: end } = p.offsets;
  const runs = p.done.map((run) => [run.first, run.last + 1]);
  const age = p.oldest?.since ? Math.max(now - seconds(p.oldest.since), 0) : null;
  const process = processes.get(p.session) ?? p.app;
  return {
    key: JSON.stringify([p.session, p.group, p.topic, p.partition]),
    topic: p.topic, partition: p.partition, state: p.state, weight: p.state === "reading" && p.reason ? "warn" : (stateWeights[p.state] ?? "warn"), reason: p.reason ?? "",
    mark, committed, fetched: Math.max(fetched, runs.at(-1)?.[1] ?? mark), end,
    lag: end < 0 || mark < 0 ? -1 : Math.max(end - mark, 0),
    unfetched: end < 0 || fetched < 0 ? -1 : Math.max(end - fetched, 0),
    pending: p.counts.pending, done: p.counts.done_above, runs, gaps: runs.length + Number(p.done_more ?? 0),
    uncommitted: committed < 0 || mark < 0 ? -1 : Math.max(mark - committed, 0),
    oldest: { age, stage: stage(p.oldest) },
    process,
    words: (place(p.topic, p.partition) + " " + p.state + " " + process + " " + p.group).toLowerCase(),
  };
}

// stage is where the oldest input is, and how often it was tried.
function stage(oldest) {
  if (!oldest) return "";
  return oldest.stage + (oldest.attempt > 1 ? ", attempt " + count(oldest.attempt) : "");
}

// processNames are what tells the processes apart: the app, and the pid where there are several.
export function processNames(sessions) {
  return new Map(sessions.map((s) => [s.id, s.pid > 0 ? s.app + " " + s.pid : s.app + " " + s.id]));
}

// measure is what the charts and the flow are made of.
export function measure(pod, partitions, meter) {
  const window = meter.take(pod);
  const inHand = sum(partitions, (p) => p.pending);
  const ages = partitions.map((p) => p.oldest.age).filter((age) => age !== null);
  const took = pod.latency?.count > 0 ? pod.latency : null;
  return {
    time: seconds(pod.time), window, inHand,
    // Of the last half minute, from the attempt to the acknowledgement; null without any.
    p50: took && took.p50_us / 1e6, p99: took && took.p99_us / 1e6,
    lag: partitions.length > 0 && partitions.every((p) => p.lag < 0) ? null : sum(partitions, (p) => Math.max(p.lag, 0)),
    oldest: ages.length > 0 ? ages.reduce((a, b) => Math.max(a, b)) : pod.partitions.some((p) => p.oldest) ? null : 0,
    // By Little's law: what is in hand, over what is done in a second, is how long an input takes.
    mean: window && window.done > 0 ? inHand / window.done : null,
    queue: pod.sidecar ? pod.sidecar.queue.records : sum(pod.sessions, (s) => s.outstanding.records),
  };
}

// stations are the five of the flow.
export function stations(pod, partitions, m) {
  const topics = [...new Set(partitions.map((p) => p.topic))];
  const rate = (name) => (m.window && m.window[name] !== null ? short(m.window[name]) + "/s" : "");
  const told = pod.sessions.map((s) => s.process).filter((p) => p);
  const lanes = sum(told, (p) => p.lanes);
  const states = ["halted", "waiting", "leaving", "paused"].map((name) => [partitions.filter((p) => p.state === name).length, name]).filter(([n]) => n > 0);
  const worstState = partitions.reduce((worst, p) => (p.weight === "bad" || worst === "bad" ? "bad" : p.weight === "warn" ? "warn" : worst), "");
  return [
    { key: "topics", title: "Input topics", main: count(topics.length), facts: [names(topics), m.lag === null ? "lag not told" : count(m.lag) + " behind"], rate: rate("arrived") },
    {
      key: "partitions", title: "Partitions", main: count(partitions.length), weight: worstState,
      facts: [states.length > 0 ? states.map(([n, name]) => count(n) + " " + name).join(", ") : "all are read", count(m.inHand) + " in hand"], rate: rate("read"),
    },
    {
      key: "handlers", title: "Handlers", main: lanes > 0 ? count(sum(told, (p) => p.busy)) : unknown, unit: lanes > 0 ? "of " + count(lanes) + " busy" : "",
      facts: [plural(pod.sessions.length, "process", "processes"), count(sum(told, (p) => p.counters.retries)) + " retries"], rate: rate("done"),
    },
    ...deliveries(pod, m, rate),
  ];
}

function deliveries(pod, m, rate) {
  const s = pod.sidecar;
  const failed = count(pod.counters.records_failed) + " failed";
  if (!s) {
    return [{ key: "producer", title: "Producer", main: count(m.queue), unit: "waiting", facts: ["its own, no sidecar"], rate: "" },
      { key: "brokers", title: "Brokers", main: unknown, facts: [failed] }];
  }
  const used = Math.max(s.queue_limit.bytes > 0 ? s.queue.bytes / s.queue_limit.bytes : 0, s.queue_limit.records > 0 ? s.queue.records / s.queue_limit.records : 0);
  return [
    { key: "sidecar", title: "Sidecar", main: count(s.queue.records), unit: "waiting", weight: s.state === "serving" ? (used > 0.9 ? "warn" : "") : "warn",
      facts: ["queue " + Math.round(used * 100) + "% full", plural(pod.queues.filter((q) => q.full).length, "full partition")], rate: rate("acked") },
    { key: "brokers", title: "Brokers", main: count(s.broker_connections), unit: s.broker_connections === 1 ? "connection" : "connections", weight: s.kafka_error ? "bad" : "",
      facts: [s.kafka_error ? "not reachable" : "reachable", failed] },
  ];
}

function names(topics) {
  if (topics.length === 0) return "none is held";
  return topics.slice(0, 2).join(", ") + (topics.length > 2 ? " and " + count(topics.length - 2) + " more" : "");
}

// sentinels have the words of the documentation.
export function sentinels(pod) {
  const s = pod.sentinels;
  return [
    ["commit_beyond", "commits above an input not done"], ["order_inverted", "keys out of order"],
    ["input_skipped", "inputs skipped"], ["closed_admitted", "units of a closed session taken"],
  ].map(([key, title]) => ({ key, title, value: s && s[key] >= 0 ? s[key] : null }));
}

// committing are the transactions of the sidecar, or of the one process that has none.
export function committing(pod) {
  return pod.sidecar ? pod.sidecar.transactions : pod.sessions.length === 1 ? pod.sessions[0].process?.transactions : null;
}

// transactions are those of exactly-once apps; without any there is nothing to say.
export function transactions(pod) {
  const t = committing(pod);
  if (!t) return [];
  const waits = waitsForCommit(pod);
  return [
    { key: "committed", title: "committed", value: count(t.committed) },
    { key: "aborted", title: "aborted, and tried again", value: count(t.aborted) },
    { key: "unknown", title: "whose end was unknown at first", value: count(t.unknown) },
    { key: "age", title: "since the last commit, while units wait", value: waits === null ? "–" : span(waits), weight: waits > longWait ? "bad" : "" },
  ];
}

// longWait in seconds is longer than any transaction should take.
const longWait = 30;

function waitsForCommit(pod) {
  const since = committing(pod)?.uncommitted_since;
  return since ? Math.max(seconds(pod.time) - seconds(since), 0) : null;
}

// notWorking are the states in which nothing is committed, and what they mean.
const notWorking = { starting: "is not taken yet", fenced: "was taken by another process", ended: "cannot be used any more" };

// alarms are what somebody should see before anything else, the gravest first.
export function alarms(pod, partitions) {
  const out = [];
  const bad = (text) => out.push({ weight: "bad", text });
  const warn = (text) => out.push({ weight: "warn", text });
  const names = processNames(pod.sessions);
  for (const s of sentinels(pod)) {
    if (!(s.value > 0)) continue;
    const who = pod.sessions.filter((x) => x.process?.sentinels[s.key] > 0).map((x) => names.get(x.id)); // one may say anything
    const told = who.length > 0 ? ", told by " + who.slice(0, 3).join(", ") + (who.length > 3 ? " and " + count(who.length - 3) + " more" : "") : "";
    bad("A promise is broken: " + count(s.value) + " " + s.title + told + ".");
  }
  if (pod.sidecar?.kafka_error) bad("Kafka is not reachable: " + pod.sidecar.kafka_error);
  const t = committing(pod);
  if (t && notWorking[t.state]) bad("Nothing is committed exactly-once: the transactional id " + t.id + " " + notWorking[t.state] + ".");
  if (waitsForCommit(pod) > longWait) bad("No transaction was committed for " + span(waitsForCommit(pod)) + ", and units wait.");
  const halted = partitions.filter((p) => p.state === "halted");
  for (const p of halted.slice(0, 3)) bad(place(p.topic, p.partition) + " stands still at offset " + count(p.mark) + ": " + p.reason);
  if (halted.length > 3) bad("So do " + count(halted.length - 3) + " more.");
  if (pod.sidecar && pod.sidecar.state !== "serving") warn("The sidecar is " + pod.sidecar.state + ".");
  for (const s of pod.sessions) if (s.process?.problem) warn((processNames([s]).get(s.id)) + ": " + s.process.problem);
  return out;
}

// readProcess is a row of the processes.
export function readProcess(s, now, rate) {
  const p = s.process;
  return {
    key: s.id, app: s.app, pid: s.pid > 0 ? String(s.pid) : unknown,
    state: p?.direct ? "direct" : s.state, weight: s.state === "attached" || s.state === "own" ? (p?.direct ? "warn" : "good") : "warn",
    groups: s.groups.join(", "), partitions: count(s.partitions),
    handlers: p && p.lanes > 0 ? count(p.busy) + " of " + count(p.lanes) : unknown,
    queued: p ? count(p.queued) : unknown, outstanding: count(s.outstanding.records), done: p ? count(p.counters.done) : unknown, rate: rate === null ? unknown : short(rate) + "/s",
    letters: p ? count(p.counters.dead_letters) : unknown, retries: p ? count(p.counters.retries) : unknown,
    death: s.no_will ? "no will: " + s.no_will : s.state === "own" ? (s.exactly_once ? "its transaction is aborted by its next owner, its group waits for the session timeout" : "its group waits for the session timeout") : s.exactly_once ? "its transaction ends, then its group is left" : "the sidecar finishes its work",
    told: s.told ? span(Math.max(now - seconds(s.told), 0)) + " ago" : "never",
  };
}

const kindWords = { rebalance: "Rebalance", will: "Will", fence: "Fence", fallback: "Fallback", halt: "Halt", dead_letter: "Dead letter", abort: "Abort" };
const kindWeights = { halt: "bad", fence: "warn", fallback: "warn", dead_letter: "warn", abort: "warn" };

export function readIncident(incident, processes) {
  const about = incident.topic ? place(incident.topic, incident.partition) : "";
  const who = processes.get(incident.session) ?? (incident.app || "");
  const where = [who, about].filter((word) => word).join(", ");
  return {
    key: JSON.stringify([incident.time, incident.kind, incident.app, incident.session, incident.topic, incident.partition]),
    time: new Date(incident.time), kind: (kindWords[incident.kind] ?? incident.kind) + (incident.count > 1 ? " × " + count(incident.count) : ""),
    weight: kindWeights[incident.kind] ?? "", what: (where ? where + ": " : "") + incident.reason,
  };
}

export function describe(pod) {
  const s = pod.sidecar;
  if (!s) return "pipeline without a sidecar";
  return "sidecar " + s.version + ", pid " + s.pid + ", up " + span(Math.max(seconds(pod.time) - seconds(s.since), 0));
}
