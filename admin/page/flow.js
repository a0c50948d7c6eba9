import { byID, keep, make, say, set } from "./dom.js";

// The way of a record: five stations in a row, and the rate between two of them.
export function showFlow(stations) {
  keep(byID("flow"), stations, (station) => make("li", { class: "station" },
    make("h3", {}, station.title), make("p", { class: "main" }, make("span"), make("span", { class: "unit" })),
    make("p", { class: "fact" }), make("p", { class: "fact" }), make("p", { class: "rate" })),
  (element, station) => {
    const [, main, first, second, rate] = element.children;
    set(element, "data-weight", station.weight || null);
    say(main.firstElementChild, station.main);
    say(main.lastElementChild, station.unit || "");
    [first, second].forEach((fact, i) => {
      say(fact, station.facts[i] || "");
      set(fact, "title", station.facts[i] || null);
    });
    say(rate, station.rate || "");
    set(rate, "hidden", station.rate ? null : "");
  });
}
