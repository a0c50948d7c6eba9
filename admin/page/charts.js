import { byID, make, say, set } from "./dom.js";
import { clock } from "./format.js";

// How far back a chart goes, in seconds: it begins with a minute, and grows.
const [shortest, longest] = [60, 300];

// chart is one figure: a caption with a key and the newest value of each line, and the lines.
export class Chart {
  constructor(id, title, lines, format) {
    this.figure = byID(id);
    this.lines = lines;
    this.format = format;
    this.times = [];
    this.values = lines.map(() => []);
    this.keys = lines.map((line) => make("b", {}));
    const caption = make("figcaption", {}, title);
    lines.forEach((line, i) => caption.append(make("span", { class: "key", "data-line": line.color }, line.name + " ", this.keys[i])));
    this.place = make("div", { class: "plot", role: "img", "aria-label": title + ", nothing known yet" });
    this.figure.append(caption, this.place);
    this.title = title;
    this.dress();
    new ResizeObserver(() => this.fit()).observe(this.place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.dress());
  }

  // add adds the values of one moment, in seconds since 1970; null where nothing is known.
  add(time, values) {
    this.times.push(time);
    values.forEach((value, i) => this.values[i].push(value));
    while (this.times[0] < time - longest) {
      this.times.shift();
      this.values.forEach((line) => line.shift());
    }
    const words = this.lines.map((line, i) => {
      const newest = values[i] === null ? "–" : this.format(values[i]);
      say(this.keys[i], newest);
      return line.name + " " + newest;
    });
    set(this.place, "aria-label", this.title + " over the last minutes; now " + words.join(", "));
    this.show();
  }

  // gap breaks the lines: what was between is not known.
  gap(time) {
    if (this.times.length > 0 && time > this.times.at(-1)) {
      this.times.push(time);
      this.values.forEach((line) => line.push(null));
    }
  }

  show() {
    const now = this.times.at(-1);
    if (now === undefined) return;
    this.plot.batch(() => {
      this.plot.setData([this.times, ...this.values], false);
      this.plot.setScale("x", { min: Math.max(now - longest, Math.min(this.times[0], now - shortest)), max: now });
      this.plot.setScale("y", { min: 0, max: this.ceiling() });
    });
  }

  // ceiling is a round number above all values.
  ceiling() {
    let most = 0;
    for (const line of this.values) for (const value of line) if (value > most) most = value;
    if (most === 0) return 1;
    const step = 10 ** Math.floor(Math.log10(most));
    for (const times of [1, 2, 4, 5, 10]) if (most <= times * step) return times * step;
    return most;
  }

  // dress draws anew in the colours of the theme.
  dress() {
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue("--" + name).trim();
    const font = "11px " + getComputedStyle(document.body).fontFamily;
    this.plot?.destroy();
    const axis = { stroke: color("soft"), font, ticks: { show: false }, gap: 4 };
    this.plot = new uPlot({
      width: this.width(), height: this.place.clientHeight || 140, legend: { show: false }, padding: [6, 16, 0, 0],
      cursor: { y: false, points: { size: 6 }, drag: { setScale: false, x: false, y: false } },
      scales: { x: { time: true, auto: false }, y: { auto: false } },
      axes: [
        { ...axis, grid: { show: false }, border: { show: true, stroke: color("line-strong"), width: 1 }, size: 20, space: 70,
          values: (plot, ticks) => ticks.map((tick) => clock(new Date(tick * 1000))), incrs: [15, 30, 60, 120] },
        { ...axis, grid: { stroke: color("line"), width: 1 }, size: 46, space: 44, values: (plot, ticks) => ticks.map((tick) => this.format(tick)) },
      ],
      series: [{}, ...this.lines.map((line) => ({
        stroke: color(line.color), width: 1.5, points: { show: false }, dash: line.dash, spanGaps: false,
      }))],
      hooks: { setCursor: [(plot) => this.point(plot.cursor.idx)] },
    }, [this.times, ...this.values], this.place);
    this.show();
  }

  // point shows the values where the pointer is, and the newest when it has gone.
  point(index) {
    const at = index === null || index === undefined ? this.times.length - 1 : index;
    this.lines.forEach((line, i) => {
      const value = this.values[i][at];
      say(this.keys[i], value === null || value === undefined ? "–" : this.format(value));
    });
  }

  width() { return Math.max(this.place.clientWidth, 160); }

  fit() {
    if (this.plot.width !== this.width()) this.plot.setSize({ width: this.width(), height: this.place.clientHeight || 140 });
  }
}
