// The administrator's page: who has come how far, codes for readers, and the tables.

import { ApiError, get, post } from "./api.js";
import { el, label, notify, relabel, say, show } from "./dom.js";
import { getLanguage, preferredLanguage, setLanguage, t } from "./texts.js";

const SECONDS = 10;
let timer = 0;
let codes = [];
let exported = "";

function drawBar(signedIn) {
  const buttons = [["en", "English"], ["ko", "한국어"]].map(([code, name]) =>
    el("button", { type: "button", lang: code, "aria-pressed": String(code === getLanguage()), onclick: () => choose(code, signedIn) }, name));
  document.getElementById("bar").replaceChildren(say("span", "admin", { class: "title" }),
    label(el("div", { class: "languages", role: "group" }, buttons), "language"),
    ...(signedIn ? [say("button", "sign_out", { type: "button", class: "quiet", onclick: leave })] : []));
}

function choose(code, signedIn) {
  setLanguage(code);
  drawBar(signedIn);
  relabel();
  if (signedIn) refresh();
}

function showEntry(problem = "") {
  clearTimeout(timer);
  drawBar(false);
  const token = el("input", { id: "token", type: "password", autocomplete: "off", maxlength: "200" });
  const error = el("p", { class: "problem", role: "alert" });
  const send = async (event) => {
    event.preventDefault();
    try {
      await post("/api/admin/enter", { token: token.value });
      await refresh();
    } catch (failure) {
      error.replaceChildren(say("span", reasonOf(failure)));
    }
  };
  show(el("form", { class: "card", onsubmit: send, novalidate: true }, say("h1", "admin"), say("p", "token_help"),
    say("label", "token", { for: "token" }), token, error, say("button", "continue", { type: "submit", class: "main" })));
  if (problem) error.replaceChildren(say("span", problem));
  token.focus();
}

function reasonOf(failure) {
  const known = ["token", "tries", "network"];
  return `error_${failure instanceof ApiError && known.includes(failure.reason) ? failure.reason : "server"}`;
}

async function refresh() {
  clearTimeout(timer);
  try {
    draw(await get("/api/admin/overview"));
    notify("");
  } catch (failure) {
    if (failure.status === 401) return showEntry();
    notify(reasonOf(failure));
  }
  timer = setTimeout(refresh, SECONDS * 1000);
  return undefined;
}

function draw(overview) {
  if (!document.querySelector(".sheet")) {
    drawBar(true);
    show(el("div", { class: "sheet" }, el("h1", {}, overview.title || t("study")), el("p", { class: "soft", id: "identity" }),
      el("dl", { class: "figures", id: "figures" }), say("h2", "new_codes"), codeForm(), el("div", { id: "codes" }),
      say("h2", "readers"), label(el("div", { class: "scroll", id: "readers", tabindex: "0", role: "region" }), "readers"), say("h2", "tables"), tableRow(), el("p", { id: "exported", class: "soft" })));
  }
  document.getElementById("identity").replaceChildren(say("span", "identity", {}, { identity: overview.study.slice(0, 12) }));
  document.getElementById("figures").replaceChildren(...figures(overview));
  document.getElementById("readers").replaceChildren(readerTable(overview.readers));
  document.getElementById("enrolment").replaceChildren(enrolmentButton(overview.enrolment));
  drawCodes();
}

function figures({ readers, coverage }) {
  const begun = readers.filter((one) => one.started);
  const figure = (key, value) => el("div", {}, say("dt", key), el("dd", {}, String(value)));
  const answers = begun.reduce((sum, one) => sum + one.answered, 0);
  return [figure("codes_given", readers.length), figure("begun", begun.length), figure("finished", begun.filter((one) => one.finished).length),
    figure("answers", answers.toLocaleString(getLanguage())), figure("coverage", `${coverage.fewest} – ${coverage.middle} – ${coverage.most}`)];
}

function codeForm() {
  const count = el("input", { id: "count", inputmode: "numeric", maxlength: "3", value: "5" });
  const create = async () => {
    await act(async () => {
      codes = (await post("/api/admin/codes", { count: Number(count.value) || 1, language: getLanguage() })).codes;
    });
  };
  return el("div", { class: "row" }, say("label", "how_many", { for: "count" }), count,
    say("button", "create", { type: "button", class: "quiet", onclick: create }), el("span", { id: "enrolment" }));
}

function enrolmentButton(open) {
  return say("button", open ? "close_enrolment" : "open_enrolment", { type: "button", class: "quiet", onclick: () => act(() => post("/api/admin/enrolment", { open: !open })) });
}

function tableRow() {
  return el("div", { class: "row" }, say("a", "download", { href: "/api/admin/tables.zip", class: "button" }),
    say("button", "export", { type: "button", class: "quiet", onclick: () => act(async () => {
      exported = (await post("/api/admin/export")).folder;
      document.getElementById("exported").replaceChildren(say("span", "exported", {}, { folder: exported }));
    }) }));
}

async function act(action) {
  try {
    await action();
    await refresh();
  } catch (failure) {
    if (failure.status === 401) showEntry();
    else notify(reasonOf(failure));
  }
}

function drawCodes() {
  const list = codes.map((code) => el("li", { class: "code" }, spell(code)));
  document.getElementById("codes").replaceChildren(...(list.length ? [say("p", "codes_help", { class: "soft" }), el("ul", { class: "codes" }, list)] : []));
}

function spell(code) {
  return `${code.slice(0, 4)}-${code.slice(4)}`;
}

function readerTable(readers) {
  const columns = [["code", "text"], ["role_short", "text"], ["years_short", ""], ["progress_label", "text"], ["median_2afc", ""], ["median_jnd", ""], ["median_turing", ""], ["sentinels", ""], ["seen", "text"]];
  return el("table", {}, el("thead", {}, el("tr", {}, columns.map(([key, kind]) => say("th", key, { class: kind, scope: "col" })))),
    el("tbody", {}, readers.map(readerRow)));
}

function readerRow(reader) {
  const seconds = (value) => (value === undefined ? "–" : `${(value / 1000).toFixed(1)} s`);
  const cell = (content, kind = "") => el("td", { class: kind }, content);
  const bar = el("progress", { max: String(reader.total || 1), value: String(reader.answered) });
  label(bar, "progress_label");
  return el("tr", {}, cell(spell(reader.code), "text code"), cell(reader.started ? say("span", reader.role) : "–", "text"),
    cell(reader.years >= 0 ? String(reader.years) : "–"),
    cell(reader.started ? [bar, say("span", reader.finished ? "done" : "progress", { class: reader.finished ? "done" : "" }, { done: reader.answered, total: reader.total })].map((one) => one) : say("span", "not_begun", { class: "soft" }), "text"),
    ...["2afc", "jnd", "turing"].map((task) => cell(seconds(reader.median_ms[task]))),
    cell(reader.sentinels ? `${reader.sentinels_right} / ${reader.sentinels}` : "–"),
    cell(reader.seen ? clock(reader.seen) : "–", "text"));
}

/** A time that reads the same in every country: 2026-12-01 14:05. */
function clock(text) {
  const time = new Date(text);
  const two = (number) => String(number).padStart(2, "0");
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())} ${two(time.getHours())}:${two(time.getMinutes())}`;
}

async function leave() {
  await post("/api/admin/leave").catch(() => {});
  codes = [];
  showEntry();
}

setLanguage(preferredLanguage());
showEntry();
if ((await get("/api/session").catch(() => ({}))).admin) refresh();
