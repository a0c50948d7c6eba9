// Elements are made and changed here only: text goes in as text, never as markup, whatever a topic
// or an app is called.

const svgNames = "http://www.w3.org/2000/svg";

// make returns a new element with these attributes and children. A child that is a string is text.
export function make(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function draw(tag, attributes, ...children) {
  return fill(document.createElementNS(svgNames, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) set(element, name, value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// set sets an attribute, if it is another one than before; null takes it away.
export function set(element, name, value) {
  if (value === null || value === undefined || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== String(value)) {
    element.setAttribute(name, String(value));
  }
}

// say sets an element's text, if it is another one than before: a screen reader is not told what
// has not changed, and a selection stays.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export const byID = (id) => document.getElementById(id);

// keep makes the children of a parent those of these items, in their order, and makes and takes
// away only what has changed. Each item has a key; build makes the element of a new one.
export function keep(parent, items, build, update) {
  const known = new Map();
  for (const child of [...parent.children]) {
    if (known.has(child.dataset.key)) child.remove(); // two of one key: the first stands for both
    else known.set(child.dataset.key, child);
  }
  let at = parent.firstElementChild;
  for (const item of items) {
    let element = known.get(item.key);
    if (element) {
      known.delete(item.key);
    } else {
      element = build(item);
      element.dataset.key = item.key;
    }
    if (element !== at) parent.insertBefore(element, at);
    else at = at.nextElementSibling;
    update(element, item);
  }
  for (const gone of known.values()) gone.remove();
}
