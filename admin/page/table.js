import { byID, draw, keep, make, say, set } from "./dom.js";
import { count, plural, span, unknown } from "./format.js";

// rowsAtOnce is how many partitions a page of the table has: what is drawn does not grow with them.
const rowsAtOnce = 50;

const weights = { bad: 0, warn: 1, good: 2 };

// worst is the order that the table begins with: what is wrong, then what waits longest.
export function worst(a, b) {
  return weights[a.weight] - weights[b.weight] || (b.oldest.age ?? -1) - (a.oldest.age ?? -1) || b.lag - a.lag || byName(a, b);
}

function byName(a, b) {
  return a.topic < b.topic ? -1 : a.topic > b.topic ? 1 : a.partition - b.partition;
}

const columns = [
  { name: "Topic", sort: byName, cell: (p) => p.topic, kind: "name", head: true },
  { name: "No.", spoken: "Partition", sort: (a, b) => a.partition - b.partition || byName(a, b), cell: (p) => String(p.partition), kind: "num" },
  { name: "State", sort: worst, cell: (p) => p.state, kind: "state" },
  { name: "Ack mark", sort: (a, b) => b.mark - a.mark, cell: (p) => count(p.mark), kind: "num" },
  { name: "Done above it", kind: "strip", sort: (a, b) => b.gaps - a.gaps },
  { name: "Lag", sort: (a, b) => b.lag - a.lag, cell: (p) => count(p.lag), kind: "num" },
  { name: "To fetch", sort: (a, b) => b.unfetched - a.unfetched, cell: (p) => count(p.unfetched), kind: "num" },
  { name: "In hand", sort: (a, b) => b.pending - a.pending, cell: (p) => count(p.pending), kind: "num" },
  { name: "To commit", sort: (a, b) => b.uncommitted - a.uncommitted, cell: (p) => count(p.uncommitted), kind: "num" },
  { name: "Oldest", spoken: "Age of the oldest input", sort: (a, b) => (b.oldest.age ?? -1) - (a.oldest.age ?? -1), cell: (p) => (p.oldest.age === null ? unknown : span(p.oldest.age)), kind: "num" },
  { name: "It is", spoken: "Where the oldest input is", sort: (a, b) => (a.oldest.stage < b.oldest.stage ? -1 : a.oldest.stage > b.oldest.stage ? 1 : byName(a, b)), cell: (p) => p.oldest.stage, kind: "faint" },
  { name: "Process", sort: (a, b) => (a.process < b.process ? -1 : a.process > b.process ? 1 : byName(a, b)), cell: (p) => p.process, kind: "name faint" },
];

export class PartitionTable {
  constructor() {
    this.all = [];
    this.page = 0;
    this.order = { by: -1, down: false }; // worst first
    this.words = "";
    this.table = byID("partitions-table");
    this.body = make("tbody");
    this.heads = columns.map((column, i) => this.head(column, i));
    this.table.append(
      make("caption", { class: "unseen" }, "Partitions held, worst first until a column is chosen"),
      make("thead", {}, make("tr", {}, ...this.heads)), this.body);
    byID("filter").addEventListener("submit", (event) => event.preventDefault());
    byID("filter-text").addEventListener("input", (event) => {
      this.words = event.target.value.trim().toLowerCase();
      this.page = 0;
      this.show();
    });
    this.makePager();
  }

  head(column, i) {
    const turn = make("span", { class: "turn", "aria-hidden": "true" });
    const button = make("button", { type: "button", "aria-label": column.spoken ? "Sort by " + column.spoken : "Sort by " + column.name }, column.name, turn);
    button.addEventListener("click", () => this.sortBy(i));
    return make("th", { scope: "col", class: column.kind.startsWith("num") ? "num" : null }, button);
  }

  // sortBy sorts by a column, then the other way round, then by the worst again.
  sortBy(i) {
    if (this.order.by !== i) this.order = { by: i, down: true };
    else if (this.order.down) this.order = { by: i, down: false };
    else this.order = { by: -1, down: false };
    this.heads.forEach((head, at) => {
      const chosen = at === this.order.by;
      set(head, "aria-sort", chosen ? (this.order.down ? "descending" : "ascending") : null);
      say(head.querySelector(".turn"), chosen ? (this.order.down ? "↓" : "↑") : "");
    });
    this.page = 0;
    this.show();
  }

  makePager() {
    this.pager = byID("pager");
    this.where = make("span", { role: "status" });
    this.back = make("button", { type: "button" }, "Back");
    this.next = make("button", { type: "button" }, "Next");
    this.back.addEventListener("click", () => this.turn(-1));
    this.next.addEventListener("click", () => this.turn(1));
    this.pager.append(this.back, this.next, this.where);
  }

  turn(by) {
    this.page += by;
    this.show();
  }

  update(partitions) {
    this.all = partitions;
    this.show();
  }

  chosen() {
    const { by, down } = this.order;
    const rows = this.words === "" ? this.all.slice() : this.all.filter((p) => p.words.includes(this.words));
    if (by < 0) return rows.sort(worst);
    // Names rise with the first click, numbers fall: the largest is what one looks for.
    rows.sort(columns[by].sort);
    return down ? rows : rows.reverse();
  }

  show() {
    const rows = this.chosen();
    const pages = Math.max(Math.ceil(rows.length / rowsAtOnce), 1);
    this.page = Math.min(Math.max(this.page, 0), pages - 1);
    const from = this.page * rowsAtOnce;
    const shown = rows.slice(from, from + rowsAtOnce);
    keep(this.body, shown.length > 0 ? shown : [{ key: "none" }], (p) => (p.key === "none" ? nothing() : row()), (element, p) => {
      if (p.key === "none") say(element.firstElementChild, this.all.length === 0 ? "No partition is held now." : "No partition matches the filter.");
      else fillRow(element, p);
    });
    const filtered = rows.length === this.all.length ? "" : count(rows.length) + " of ";
    say(byID("partitions-count"), filtered + count(this.all.length));
    set(this.pager, "hidden", pages === 1 ? "" : null);
    say(this.where, count(from + 1) + " to " + count(from + shown.length) + " of " + count(rows.length));
    this.back.disabled = this.page === 0;
    this.next.disabled = this.page === pages - 1;
  }
}

function nothing() {
  return make("tr", {}, make("td", { class: "none", colspan: columns.length }));
}

function row() {
  return make("tr", {}, ...columns.map((column) => {
    if (column.kind === "strip") return make("td", { class: "wide" }, strip());
    if (column.kind === "state") return make("td", {}, make("span", { class: "state" }));
    return make(column.head ? "th" : "td", column.head ? { scope: "row", class: column.kind } : { class: column.kind });
  }));
}

function fillRow(element, p) {
  columns.forEach((column, i) => {
    const cell = element.children[i];
    if (column.kind === "strip") return fillStrip(cell.firstElementChild, p);
    if (column.kind === "state") {
      const state = cell.firstElementChild;
      set(state, "data-weight", p.weight);
      set(cell, "title", p.reason || null);
      return say(state, p.state);
    }
    const text = column.cell(p);
    say(cell, text);
    if (column.kind.startsWith("name")) set(cell, "title", text);
  });
}

// The strip shows what was fetched, from the ack mark on: dark is done, light is not.
const stripWidth = 1000;

function strip() {
  return draw("svg", { class: "strip", viewBox: "0 0 " + stripWidth + " 10", preserveAspectRatio: "none", role: "img" });
}

function fillStrip(svg, p) {
  const width = p.fetched - p.mark;
  const scale = width > 0 ? stripWidth / width : 0;
  const bars = p.runs.map(([from, to]) => {
    const x = (from - p.mark) * scale;
    return { key: "", x: x.toFixed(1), width: Math.max((to - from) * scale, 4).toFixed(1) };
  });
  bars.forEach((bar, i) => { bar.key = String(i); });
  keep(svg, bars, () => draw("rect", { y: 0, height: 10 }), (rect, bar) => {
    set(rect, "x", bar.x);
    set(rect, "width", bar.width);
  });
  set(svg, "aria-label", width <= 0 ? "nothing is open"
    : plural(width, "offset") + " from the ack mark, " + count(p.done) + " of them done" + (p.gaps > 0 ? ", in " + plural(p.gaps, "gap") : ""));
}
