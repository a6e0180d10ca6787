// The reader's way through the study: code, questionnaire, instructions, trials, end.

import { ApiError, get, insist, post } from "./api.js";
import { el, label, notify, relabel, say, show } from "./dom.js";
import { onKeys } from "./keys.js";
import { forget, preload } from "./preload.js";
import { getLanguage, preferredLanguage, setLanguage, t } from "./texts.js";
import { TrialScreen, keyTable } from "./trial.js";

const ROLES = ["radiologist", "resident", "physician", "radiographer", "student", "other"];
let session = {};
let state = null; // as the server last told it
let tab = "";
let screen = null;

/** The access key may stand behind # in the link, which browsers send to no server. */
const linkedAccess = new URLSearchParams(location.hash.slice(1)).get("access") ?? "";

async function boot() {
  if (location.hash) history.replaceState(null, "", location.pathname);
  setLanguage(preferredLanguage());
  drawBar();
  session = await insist(() => get("/api/session"), trouble("error_network"));
  if (session.signed_in) await openStudy();
  else showEntry();
}

function trouble(key) {
  return (error) => notify(error === null ? "" : error.reason === "storage" ? "error_storage" : key);
}

function drawBar() {
  const buttons = [["en", "English"], ["ko", "한국어"]].map(([code, name]) =>
    el("button", { type: "button", lang: code, "aria-pressed": String(code === getLanguage()), onclick: () => chooseLanguage(code) }, name));
  const title = session.title || state?.title;
  document.getElementById("bar").replaceChildren(
    el("span", { class: "title" }, title || t("study")),
    label(el("div", { class: "languages", role: "group" }, buttons), "language"),
  );
}

function chooseLanguage(code) {
  setLanguage(code);
  drawBar();
  relabel();
  screen?.arrange();
  if (state) post("/api/language", { language: code }).catch(() => {}); // the page has it already
}

/** Leave the trials, if they are shown. */
function leaveTrials() {
  screen?.close();
  screen = null;
}

function showEntry(problem = "") {
  state = null;
  drawBar();
  leaveTrials();
  onKeys(null);
  const code = el("input", { id: "code", autocomplete: "off", autocapitalize: "characters", spellcheck: "false", maxlength: "20", required: true, class: "code" });
  const access = el("input", { id: "access", type: "password", autocomplete: "off", maxlength: "200" });
  access.value = linkedAccess;
  const error = el("p", { class: "problem", role: "alert" });
  const fail = (key) => error.replaceChildren(say("span", key));
  const send = async (event) => {
    event.preventDefault();
    try {
      await post("/api/enter", { code: code.value, access: access.value });
      await openStudy();
    } catch (problem_) {
      fail(`error_${reasonOf(problem_)}`);
    }
  };
  show(el("form", { class: "card", onsubmit: send, novalidate: true },
    say("h1", "enter_heading"), say("p", "enter_help"),
    say("label", "code", { for: "code" }), code,
    ...(session.access && !linkedAccess ? [say("label", "access", { for: "access" }), say("p", "access_help", { class: "soft" }), access] : []),
    error, say("button", "continue", { type: "submit", class: "main" }),
    session.enrolment ? say("button", "enrol", { type: "button", class: "link", onclick: () => enrol(access.value, fail) }) : null));
  if (problem) fail(problem);
  code.focus();
}

function reasonOf(problem) {
  const known = ["code", "access", "enrolment", "tries", "network"];
  return problem instanceof ApiError && known.includes(problem.reason) ? problem.reason : "server";
}

async function enrol(access, fail) {
  try {
    const { code } = await post("/api/enrol", { access, language: getLanguage() });
    showCode(code);
  } catch (problem) {
    fail(`error_${reasonOf(problem)}`);
  }
}

function spell(code) {
  return `${code.slice(0, 4)}-${code.slice(4)}`;
}

function showCode(code) {
  show(el("section", { class: "card" }, say("h1", "enrolled_heading"), el("p", { class: "big code" }, spell(code)),
    say("p", "enrolled_help"), mainButton("continue", openStudy)));
}

/** The button that a view is about; Space and Enter press it too. */
function mainButton(key, action) {
  let pressed = false;
  const press = () => {
    if (pressed) return;
    pressed = true;
    onKeys(null);
    action();
  };
  onKeys((name) => (name === " " || name === "Enter" ? (press(), true) : false));
  return say("button", key, { type: "button", class: "main", onclick: press });
}

async function openStudy() {
  try {
    adopt(await insist(() => post("/api/open"), trouble("error_network")));
  } catch (problem) {
    return giveUp(problem);
  }
  if (state.started && state.language !== getLanguage()) setLanguage(state.language);
  drawBar();
  relabel();
  if (!state.started) return showQuestionnaire();
  return goOn(true);
}

function adopt(reply) {
  tab = reply.tab ?? tab;
  state = reply;
}

function showQuestionnaire() {
  onKeys(null);
  const error = el("p", { class: "problem", role: "alert" });
  const years = el("input", { id: "years", inputmode: "numeric", maxlength: "2", autocomplete: "off" });
  const roles = ROLES.map((role) => el("label", { class: "choice" }, el("input", { type: "radio", name: "role", value: role }), say("span", role)));
  const form = el("form", { class: "card", novalidate: true },
    say("h1", "about_heading"), say("p", "about_help"),
    el("fieldset", {}, say("legend", "role"), ...roles),
    say("label", "years", { for: "years" }), say("p", "years_help", { class: "soft", id: "years_help" }), years,
    error, say("button", "continue", { type: "submit", class: "main" }));
  years.setAttribute("aria-describedby", "years_help");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const role = new FormData(form).get("role");
    const number = years.value.trim() === "" ? -1 : Number(years.value);
    if (!role) return error.replaceChildren(say("span", "choose_role"));
    if (!Number.isInteger(number) || number < -1 || number > 80) return error.replaceChildren(say("span", "wrong_years"));
    try {
      adopt(await insist(() => post("/api/start", { role, years: number, language: getLanguage() }), trouble("error_network")));
    } catch (problem) {
      return giveUp(problem);
    }
    return goOn(true);
  });
  show(form);
}

/** Go to where the reader stands: instructions when a task begins or the reader comes back, else the next trial. */
async function goOn(returning = false, previous = null) {
  if (state.finished) return showEnd();
  const trial = state.trials[0];
  preload(state.trials);
  if (returning || previous?.task !== trial.task) return showInstructions(trial, returning);
  if (previous.training && !trial.training) return showJudged(trial);
  return showTrial(trial);
}

function showInstructions(trial, returning) {
  leaveTrials();
  show(el("section", { class: "card wide" },
    state.parts > 1 ? say("p", "part", { class: "kicker" }, { part: state.part, parts: state.parts }) : null,
    say("h1", `task_${trial.task}`), say("p", `about_${trial.task}`),
    trial.training ? say("p", "training_next", {}, { count: state.training_left }) : null,
    returning && state.position > 0 ? say("p", "resume", {}, { done: state.position, total: state.total }) : null,
    keyTable(trial.task), mainButton("begin", () => showTrial(trial))));
}

function showJudged(trial) {
  leaveTrials();
  show(el("section", { class: "card" }, say("h1", `task_${trial.task}`), say("p", "judged_next"), keyTable(trial.task),
    mainButton("begin", () => showTrial(trial))));
}

async function showTrial(trial, since = performance.now(), fresh = !screen) {
  if (!screen || screen.task !== trial.task) {
    leaveTrials();
    screen = new TrialScreen(trial.task, { display_ms: state.display_ms, gap_ms: state.gap_ms, pause });
    show(screen.element);
  }
  const mine = screen;
  let given;
  try {
    mine.progress(state.position, state.total, trial.training);
    given = await mine.ask(trial, { since, fresh, afterwards: () => (screen === mine ? preload(state.trials) : undefined) });
  } catch (problem) {
    return screen === mine ? giveUp(problem) : undefined;
  }
  if (screen !== mine) return undefined; // paused meanwhile
  return save(trial, given);
}

async function save(trial, given) {
  const { at, ...content } = given;
  const mine = screen;
  let reply;
  try {
    reply = await insist(() => post("/api/answer", { tab, position: trial.position, ...content }), trouble("error_saving"));
  } catch (problem) {
    return giveUp(problem);
  }
  adopt(reply);
  let since = at;
  if (reply.feedback) since = await mine.teach(reply.feedback, state.position, state.total);
  if (screen !== mine) return undefined;
  const next = state.trials[0];
  if (!state.finished && next.task === trial.task && next.training === trial.training) return showTrial(next, since);
  return goOn(false, trial);
}

/** Sign out, as soon as the server can be reached: the next reader may sit at this very screen. */
function signOut() {
  leaveTrials();
  onKeys(null);
  forget();
  state = null;
  session = { ...session, signed_in: false };
  return insist(() => post("/api/leave"), trouble("error_network")).catch(() => {});
}

async function startAnew(leaving) {
  await leaving;
  session = await insist(() => get("/api/session"), trouble("error_network"));
  showEntry();
}

function pause() {
  if (!screen) return;
  const { code } = state;
  const leaving = signOut();
  show(el("section", { class: "card" }, say("h1", "paused_heading"), say("p", "paused_help"),
    say("p", "your_code", { class: "kicker" }), el("p", { class: "big code" }, spell(code)),
    mainButton("continue", () => startAnew(leaving))));
}

function showEnd() {
  const { total } = state;
  const leaving = signOut();
  show(el("section", { class: "card" }, say("h1", "finished_heading"), say("p", "finished_help", {}, { total }),
    say("button", "another_reader", { type: "button", class: "quiet", onclick: () => startAnew(leaving) })));
}

/** What cannot be mended by trying again: another window, a session that ended, a mistake. */
async function giveUp(problem) {
  leaveTrials();
  onKeys(null);
  forget();
  if (problem.reason === "other_tab") {
    return show(el("section", { class: "card" }, say("h1", "other_tab_heading"), say("p", "other_tab_help"), mainButton("continue_here", openStudy)));
  }
  if (problem.reason === "already_answered" || problem.reason === "out_of_order") return openStudy();
  if (problem.status === 401 || problem.reason === "csrf") {
    session = await insist(() => get("/api/session"), trouble("error_network"));
    return showEntry("signed_out");
  }
  console.error(problem);
  return show(el("section", { class: "card" }, say("h1", "study"), say("p", "error_server", { class: "problem" })));
}

boot();
