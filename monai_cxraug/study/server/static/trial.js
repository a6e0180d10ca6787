// One screen for all trials of a task: the question, the images, the buttons; only what changes is drawn anew.

import { insist } from "./api.js";
import { el, label, notify, resay, say, tell } from "./dom.js";
import { onKeys } from "./keys.js";
import { imagesOf } from "./preload.js";
import { t } from "./texts.js";
import { Viewer, fittingScale } from "./viewer.js";

/** By task: what may be answered, and by which keys besides the arrows. */
const CHOICES = {
  "2afc": [["left", ["1"]], ["right", ["2"]]],
  jnd: [["same", ["s", "1"]], ["different", ["d", "2"]]],
  turing: [["real", ["r"]], ["synthetic", ["s"]]],
};
const ARROWS = ["ArrowLeft", "ArrowRight"];
const PLACES = { "2afc": ["first", "reference", "second"], jnd: ["first"], turing: ["first"] };
const NAMES = { "2afc": { first: "left", reference: "reference", second: "right" }, jnd: { first: "image" }, turing: { first: "image" } };
const FIXATION_MS = 700;

/** The keys of a task, as a list. */
export function keyTable(task) {
  const rows = CHOICES[task].map(([choice, keys], index) => [say("span", choice), [["←", "→"][index], ...keys.map((key) => key.toUpperCase())]]);
  const list = rows.map(([name, keys]) => el("div", {}, el("dt", {}, name), el("dd", {}, keys.map((key) => el("kbd", {}, key)))));
  if (task === "turing") list.push(el("div", {}, say("dt", "confidence"), el("dd", {}, ["1", "2", "3", "4"].map((key) => el("kbd", {}, key)))));
  if (task !== "jnd") {
    list.push(el("div", {}, say("dt", "key_window"), say("dd", "key_window_how", { class: "soft" })));
    list.push(el("div", {}, say("dt", "key_zoom"), say("dd", "key_zoom_how", { class: "soft" })));
    list.push(el("div", {}, say("dt", "key_reset"), el("dd", {}, el("kbd", {}, "0"))));
  }
  list.push(el("div", {}, say("dt", "pause"), el("dd", {}, el("kbd", {}, "P"))));
  return el("dl", { class: "keys" }, list);
}

export class TrialScreen {
  /** Args: task; display_ms and gap_ms of the study; what to do when the reader pauses. */
  constructor(task, { display_ms, gap_ms, pause }) {
    Object.assign(this, { task, display_ms, gap_ms, pause });
    this.choice = "";
    this.panes = PLACES[task].map((place) => this.#pane(place));
    this.viewer = new Viewer(this.panes.map((pane) => pane.querySelector("canvas")), task !== "jnd");
    this.message = el("p", { class: "message" }); // where the images of a JND trial are not
    this.stage = el("div", { class: `stage task-${task}` }, this.panes, this.message);
    this.answers = el("div", { class: `answers task-${task}` });
    this.bar = el("progress", { max: "1", value: "0" });
    this.count = say("span", "progress", { class: "count" }, { done: 0, total: 0 });
    this.badge = say("span", "training", { class: "badge", hidden: true });
    this.resetButton = task === "jnd" ? null : say("button", "reset", { type: "button", class: "quiet", hidden: true, onclick: () => this.viewer.restore() });
    this.viewer.onChange = () => this.#noteView();
    this.element = el("section", { class: "trial" },
      el("div", { class: "top" }, say("h1", `task_${task}`), this.badge, el("span", { class: "grow" }), this.resetButton, this.count, label(this.bar, "progress_label"),
        say("button", "pause", { type: "button", class: "quiet", onclick: () => this.#pause() })),
      this.stage, this.answers);
    new ResizeObserver(() => this.arrange()).observe(this.stage);
  }

  progress(done, total, training) {
    resay(this.count, "progress", { done, total });
    this.bar.max = total;
    this.bar.value = done;
    this.badge.hidden = !training;
  }

  /** Show a trial and wait for the answer. */
  async ask(trial, { since, fresh, afterwards }) {
    const images = await insist(() => imagesOf(trial), (error) => notify(error === null ? "" : "error_network"));
    this.choice = "";
    this.saving = false;
    this.stage.classList.remove("right", "wrong");
    const interruptions = this.task === "jnd" ? await this.#flash(images, since, fresh, afterwards) : {};
    if (this.task !== "jnd") {
      this.viewer.load(this.panes.map((pane) => images[pane.dataset.place]));
      this.arrange();
    }
    this.#drawChoices();
    const visible = await painted();
    if (this.task !== "jnd") {
      this.#measure(since, visible);
      afterwards();
    }
    const answer = await this.#decide(visible);
    const more = this.task === "turing" ? await this.#confide(answer, visible) : { confidence: 0, at: answer.at };
    this.saving = true;
    onKeys(null);
    return {
      answer: this.choice,
      confidence: more.confidence,
      reaction_ms: Math.max(0, Math.round(((more.decided ?? answer.at) - visible) * 10) / 10),
      display: { ...this.viewer.record(), ratio: devicePixelRatio, screen_width: window.screen.width, screen_height: window.screen.height, ...interruptions, ...more.display },
      at: more.at,
    };
  }

  /** Tell whether a training answer was right; wait for the reader. */
  teach({ right, expected }, done, total) {
    this.saving = false;
    resay(this.count, "progress", { done, total });
    this.bar.value = done;
    this.stage.classList.add(right ? "right" : "wrong");
    const text = say("p", right ? "right_answer" : "wrong_answer", { class: `feedback ${right ? "right" : "wrong"}` }, { expected: t(expected) });
    return new Promise((resolve) => {
      const go = (event) => resolve(event.timeStamp);
      this.#fill(text, this.#button("next", [t("key_space")], go));
      tell(text.textContent);
      this.#open("next");
      this.#keys((name, event) => (name === " " || name === "Enter" ? (go(event), true) : false));
    });
  }

  /** Fit the images into the room there is. */
  arrange() {
    const ratio = devicePixelRatio;
    const box = this.stage.getBoundingClientRect();
    if (!box.width || !box.height) return;
    const caption = this.task === "2afc" ? 34 : 0;
    const gap = 16;
    const { size } = this.viewer;
    if (this.task !== "2afc") return this.viewer.resize(fittingScale(size, box.width, box.height, ratio), ratio);
    const row = fittingScale(size, (box.width - 2 * gap) / 3, box.height - caption, ratio);
    this.answers.style.setProperty("--row", `${Math.round((3 * size.width * row) / ratio + 2 * gap)}px`);
    const stack = fittingScale(size, (box.width - gap) / 2, (box.height - gap) / 2 - caption, ratio);
    this.answers.style.setProperty("--pane", `${Math.round((size.width * row) / ratio)}px`);
    this.stage.classList.toggle("stack", stack > row || (stack === row && box.height > box.width));
    return this.viewer.resize(Math.max(row, stack), ratio);
  }

  #pane(place) {
    const canvas = label(el("canvas", { role: "img" }), NAMES[this.task][place]);
    const caption = this.task === "2afc" ? say("figcaption", NAMES[this.task][place]) : null;
    return el("figure", { "data-place": place }, canvas, caption);
  }

  #button(key, keys, press, attributes = {}) {
    return el("button", { type: "button", class: "answer", ...attributes, onclick: (event) => { event.currentTarget.blur(); press(event); } },
      say("span", key), el("span", { class: "hint", "aria-hidden": "true" }, keys.map((one) => el("kbd", {}, one))));
  }

  #drawChoices() {
    this.buttons = CHOICES[this.task].map(([choice, keys], index) =>
      this.#button(choice, [["←", "→"][index], ...keys.slice(0, 1).map((key) => key.toUpperCase())], (event) => this.choose?.(choice, event), { "data-choice": choice }));
    this.#fill(...this.buttons);
    this.answers.classList.add("choices");
    if (this.task === "jnd") this.message.replaceChildren(say("span", "task_jnd"));
  }

  /** What stands below the images, and nothing else. */
  #fill(...content) {
    this.#open("");
    this.answers.classList.remove("choices");
    this.message.replaceChildren();
    this.answers.replaceChildren(...content);
  }

  /** Say in the page what it waits for; tests, and whoever drives the page, look at it. */
  #open(what) {
    this.answers.dataset.open = what;
  }

  /** Wait for a choice. */
  #decide(visible) {
    return new Promise((resolve) => {
      this.#open("choice");
      this.choose = (choice, event) => {
        if (event.timeStamp < visible) return;
        this.choice = choice;
        this.choose = null;
        this.#open("");
        this.#mark();
        resolve({ at: event.timeStamp });
      };
      this.#keys((name, event) => {
        const choice = this.#choiceOf(name, event);
        if (choice) this.choose?.(choice, event);
        return Boolean(choice);
      });
    });
  }

  #choiceOf(name, event) {
    if (event.shiftKey) return "";
    return CHOICES[this.task].find(([, keys], index) => ARROWS[index] === name || keys.includes(name))?.[0] ?? "";
  }

  #mark() {
    for (const button of this.buttons) {
      button.setAttribute("aria-pressed", String(button.dataset.choice === this.choice));
    }
  }

  /** Wait for 1 to 4; until then the reader may change the choice. */
  #confide(first, visible) {
    let decided = first.at;
    return new Promise((resolve) => {
      const finish = (confidence, event) => {
        this.choose = null;
        this.#open("");
        resolve({ confidence, decided, at: event.timeStamp, display: { confidence_ms: Math.round(event.timeStamp - decided) } });
      };
      this.choose = (choice, event) => {
        this.choice = choice;
        decided = event.timeStamp;
        this.#mark();
      };
      const scale = [1, 2, 3, 4].map((one) => this.#button(`confidence_${one}`, [String(one)], (event) => finish(one, event), { "data-confidence": String(one) }));
      this.answers.replaceChildren(...this.buttons, el("div", { class: "scale", role: "group", "aria-labelledby": "confidence" },
        say("p", "confidence", { id: "confidence" }), el("div", {}, scale)));
      tell(t("confidence"));
      this.#open("confidence");
      this.#keys((name, event) => {
        if (["1", "2", "3", "4"].includes(name)) return finish(Number(name), event), true;
        const choice = this.#choiceOf(name, event);
        if (choice) this.choose(choice, event);
        return Boolean(choice);
      });
    });
  }

  /** Show two images one after the other; once more only where the page was covered meanwhile. */
  async #flash(images, since, fresh, afterwards) {
    this.viewer.hide();
    this.viewer.load([images.first]);
    this.arrange();
    for (let interruptions = 0; ; interruptions += 1) {
      if (fresh || interruptions) await this.#ready(interruptions ? "interrupted" : "ready");
      this.#fill(say("p", "watch", { class: "feedback soft" }));
      this.#keys(null);
      this.stage.classList.add("fixation");
      const fixed = await painted();
      if (!interruptions && !fresh) this.#measure(since, fixed);
      if (!interruptions) afterwards();
      const times = await this.#present(images, fixed);
      if (times) return { ...times, interruptions };
    }
  }

  /** Draw in the very frames that are meant; returns how long each was seen, or null where the page was covered. */
  async #present(images, fixed) {
    let covered = document.hidden;
    const note = () => { covered ||= document.hidden; };
    document.addEventListener("visibilitychange", note);
    const first = await frameAt(fixed + FIXATION_MS);
    this.stage.classList.remove("fixation");
    this.viewer.reveal(images.first);
    const gap = await frameAt(first + this.display_ms);
    this.viewer.hide();
    const second = await frameAt(gap + this.gap_ms);
    this.viewer.reveal(images.second);
    const end = await frameAt(second + this.display_ms);
    this.viewer.hide();
    document.removeEventListener("visibilitychange", note);
    const round = (value) => Math.round(value * 10) / 10;
    return covered ? null : { first_ms: round(gap - first), gap_ms: round(second - gap), second_ms: round(end - second) };
  }

  #ready(key) {
    return new Promise((resolve) => {
      this.#fill(this.#button("continue", [t("key_space")], resolve));
      this.message.replaceChildren(say("span", key));
      tell(t(key));
      this.#open("next");
      this.#keys((name) => (name === " " || name === "Enter" ? (resolve(), true) : false));
    });
  }

  /** The reader went elsewhere: whatever still runs here must not listen any more. */
  close() {
    this.closed = true;
  }

  /** Keys of every moment, and those of this one. */
  #keys(special) {
    if (this.closed) return;
    onKeys((name, event) => special?.(name, event) || this.#commonKey(name, event));
  }

  #commonKey(name, event) {
    if (name === "p") return this.#pause(), true;
    if (this.task === "jnd") return false;
    if (name === "0") return this.viewer.restore(), true;
    if (name === "+" || name === "=") return (this.viewer.zooms += 1), this.viewer.zoomBy(1.25), true;
    if (name === "-") return (this.viewer.zooms += 1), this.viewer.zoomBy(0.8), true;
    const steps = { ArrowLeft: [-16, 0], ArrowRight: [16, 0], ArrowUp: [0, -8], ArrowDown: [0, 8] };
    if (!event.shiftKey || !steps[name]) return false;
    this.viewer.changes += 1;
    this.viewer.adjust(...steps[name]);
    return true;
  }

  #noteView() {
    const { zoom, window, level } = this.viewer;
    if (this.resetButton) this.resetButton.hidden = zoom === 1 && window === 255 && level === 127.5;
  }

  #pause() {
    if (this.saving) return;
    this.pause();
  }

  /** How long the change of trials took, from the key to the picture; tests and readers' consoles can see it. */
  #measure(since, visible) {
    if (visible >= since) performance.measure("trial-change", { start: since, end: visible, detail: this.task });
  }
}

/** The next frame; what is drawn in it is seen with it. */
function frame() {
  return new Promise((resolve) => requestAnimationFrame(resolve));
}

/** The first frame at a time, or nearer to it than the next one would be. */
async function frameAt(time) {
  let now = await frame();
  while (now < time - 4) now = await frame();
  return now;
}

/** The time at which what was drawn last has been handed to the screen. */
async function painted() {
  await frame();
  return frame();
}
