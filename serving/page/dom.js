// Elements from code. Strings become text nodes, so titles and user data can never turn into markup.

const SVG = "http://www.w3.org/2000/svg";

/** Element with properties: `class`, `on` ({event: handler}), booleans and plain attributes. */
export function h(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** The same for SVG. */
export function svg(tag, props = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") {
      for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

export function byId(id) {
  return document.getElementById(id);
}

/** Text that only screen readers get. */
export function hidden(text) {
  return h("span", { class: "sr" }, text);
}

let made = 0;

/** An id that no other element of the page has. */
export function freshId(prefix) {
  made += 1;
  return `${prefix}-${made}`;
}

/** Make `list` hold exactly `wanted`, keeping elements that stay where they are (and their focus). */
export function arrange(list, wanted) {
  const keep = new Set(wanted);
  for (const child of [...list.children]) if (!keep.has(child)) child.remove();
  wanted.forEach((child, at) => {
    if (list.children[at] !== child) list.insertBefore(child, list.children[at] ?? null);
  });
}
