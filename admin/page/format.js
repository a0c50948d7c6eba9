// How numbers, times and sizes are written: always in the same width and the same words.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const one = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

export const unknown = "–";

export function count(n) {
  return n === null || n === undefined || n < 0 ? unknown : whole.format(n);
}

// short is a count in at most five characters: 950, 12.3k, 4.1M.
export function short(n) {
  if (n === null || n === undefined || n < 0) return unknown;
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
    if (n >= size) {
      const value = n / (unit === "k" ? 1e3 : size);
      return (value < 100 ? one.format(value) : whole.format(value)) + unit;
    }
  }
  return n > 0 && n < 10 && n % 1 ? one.format(n) : whole.format(n);
}

export function bytes(n) {
  if (n === null || n === undefined || n < 0) return unknown;
  for (const [size, unit] of [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]]) {
    if (n >= size) return (n / size < 10 ? one : whole).format(n / size) + " " + unit;
  }
  return whole.format(n) + " B";
}

// span is a length of time: 0.3 s, 12 s, 4 m 10 s, 2 h 5 m, 3 d 4 h.
export function span(seconds) {
  if (seconds === null || seconds === undefined || seconds < 0) return unknown;
  if (seconds > 0 && seconds < 0.01) return one.format(seconds * 1000) + " ms";
  if (seconds < 1) return whole.format(seconds * 1000) + " ms";
  if (seconds < 10) return one.format(seconds) + " s";
  const s = Math.round(seconds);
  for (const [size, unit, part, smaller] of [[86400, "d", 3600, "h"], [3600, "h", 60, "m"], [60, "m", 1, "s"]]) {
    if (s >= size) {
      const rest = Math.floor((s % size) / part);
      return Math.floor(s / size) + " " + unit + (rest ? " " + rest + " " + smaller : "");
    }
  }
  return s + " s";
}

// clock is the time of day of an instant.
export function clock(instant) {
  return instant.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

export function plural(n, word, words) {
  return count(n) + " " + (n === 1 ? word : words || word + "s");
}
