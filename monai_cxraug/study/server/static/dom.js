// Building blocks of the page. Text only ever enters as text: nothing here, and nothing elsewhere, parses HTML.

import { t } from "./texts.js";

/** Make an element. Attributes that start with "on" are listeners; false and null are left out. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Make an element that says a text in the language of the page, and changes with it. */
export function say(tag, key, attributes = {}, values = {}) {
  const element = el(tag, { ...attributes, "data-text": key, "data-values": JSON.stringify(values) });
  element.textContent = t(key, values);
  return element;
}

/** Give an element an accessible name that changes with the language. */
export function label(element, key) {
  element.dataset.label = key;
  element.setAttribute("aria-label", t(key));
  return element;
}

/** Change what an element made by say() says. */
export function resay(element, key, values = {}) {
  element.dataset.text = key;
  element.dataset.values = JSON.stringify(values);
  element.textContent = t(key, values);
}

/** Say everything again, after the language changed. */
export function relabel() {
  for (const element of document.querySelectorAll("[data-text]")) {
    element.textContent = t(element.dataset.text, JSON.parse(element.dataset.values));
  }
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", t(element.dataset.label));
  }
}

/** Tell a screen reader. */
export function tell(text) {
  document.getElementById("live").textContent = text;
}

/** Show a view, its heading focused, so that keys and screen readers start there. */
export function show(...content) {
  const view = document.getElementById("view");
  view.replaceChildren(...content);
  const heading = view.querySelector("h1");
  if (heading) {
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
  }
  window.scrollTo(0, 0);
}

/** Show a line at the foot of the page that stays until it is cleared; "" clears it. */
export function notify(key, values = {}) {
  const notice = document.getElementById("notice");
  notice.replaceChildren(...(key ? [say("p", key, {}, values)] : []));
}
