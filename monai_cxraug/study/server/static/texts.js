// The languages of the page.

import { ENGLISH } from "./english.js";
import { KOREAN } from "./korean.js";

const LANGUAGES = { en: ENGLISH, ko: KOREAN };
let language = "en";

/** A text in the language of the page, names in braces filled in. */
export function t(key, values = {}) {
  const text = LANGUAGES[language][key] ?? ENGLISH[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

export function setLanguage(code) {
  language = code in LANGUAGES ? code : "en";
  document.documentElement.lang = language;
  document.title = t("study");
}

export function getLanguage() {
  return language;
}

/** The language of the browser, where the page speaks it. */
export function preferredLanguage() {
  return navigator.languages?.some((one) => one.toLowerCase().startsWith("ko")) ? "ko" : "en";
}
