// The editor of an annotation: drawing and moving boxes, keys, times, kinds and words, with undo. It knows nothing of
// saving; whoever uses it is told of every change.

import { fromBody, keyAt, setKey, tidyBox, toBody, toShown, trackBox } from "./model.js";
import { Player, isTyping, isSpokenFor } from "./player.js";
import { data, element } from "./site.js";

const HANDLE_PX = 10; // how near to an edge or corner a box is resized instead of moved
const SMALLEST_PX = 5; // a smaller drag is a click
const COLORS = 10;
const MOST_UNDOS = 300;
const NO_TRACES = "None yet. Stop on the first frame on which you see it, and drag a box around it.";
const byId = (id) => document.getElementById(id);

export class Editor {
  constructor({ onChange, onSubmit }) {
    this.onChange = onChange;
    this.onSubmit = onSubmit;
    this.state = fromBody(null);
    this.chosen = -1;
    this.frozen = false;
    this.undone = [];
    this.done = [];
    this.lastField = null;
    this.extra = []; // traces that are shown and cannot be edited
    const root = document.querySelector("[data-player]");
    this.player = root && data.clip
      ? new Player(root, data.clip, { speakers: [{ name: "", kind: "person" }, { name: "", kind: "model" }], onFrame: () => this.drawHandles?.() })
      : null;
    if (this.player) this.setUpDrawing();
    this.setUpFields();
    this.setUpKeys();
    this.setUpDialogs();
  }

  // ── the state ──

  load(body, { frozen = false, keepHistory = false } = {}) {
    this.state = fromBody(body);
    this.frozen = frozen;
    if (!keepHistory) [this.done, this.undone] = [[], []];
    this.chosen = this.state.traces.length ? 0 : -1;
    this.render();
    const onset = this.state.traces[0]?.onset;
    if (onset !== null && onset !== undefined && !keepHistory) this.player?.seekSeconds(onset);
  }

  get body() { return toBody({ ...this.state, guideline: data.guideline }); }

  // A change that can be undone; writing into one field is one change.
  change(action, field = null) {
    if (this.frozen) return;
    if (field === null || field !== this.lastField) {
      this.done.push(JSON.stringify([this.state, this.chosen]));
      if (this.done.length > MOST_UNDOS) this.done.shift();
    }
    this.undone = [];
    this.lastField = field;
    action();
    this.render();
    this.onChange(this.body);
  }

  travel(from, to) {
    if (this.frozen || !from.length) return;
    to.push(JSON.stringify([this.state, this.chosen]));
    [this.state, this.chosen] = JSON.parse(from.pop());
    this.lastField = null;
    this.render();
    this.onChange(this.body);
  }

  undo() { this.travel(this.done, this.undone); }

  redo() { this.travel(this.undone, this.done); }

  get trace() { return this.state.traces[this.chosen] ?? null; }

  get seconds() { return this.player ? this.player.seconds : 0; }

  setLabel(label) {
    this.change(() => { this.state.label = label; });
  }

  newTrace(box) {
    this.change(() => {
      this.state.traces.push({ onset: this.seconds, offset: null, categories: [], explanation: "", keys: [{ time: this.seconds, box, visible: true }] });
      this.chosen = this.state.traces.length - 1;
      this.state.label = "fake";
    });
  }

  setOnset() {
    const now = this.seconds;
    if (!this.trace) return;
    this.change(() => {
      const { trace } = this;
      const alone = trace.keys.length === 1; // one box is the box at onset: it goes along
      trace.onset = now;
      if (alone) trace.keys[0].time = now;
      if (trace.offset !== null && trace.offset <= now) trace.offset = null;
    });
  }

  setOffset(seconds) {
    if (!this.trace) return;
    if (seconds !== null && this.trace.onset !== null && seconds <= this.trace.onset) {
      this.say("The offset is the first frame on which it is gone: after the onset.");
      return;
    }
    this.change(() => { this.trace.offset = seconds; });
  }

  addKey() {
    const box = this.trace && trackBox(this.trace, this.seconds);
    if (box) this.change(() => setKey(this.trace, this.seconds, box));
    else this.say("Drag a box here first.");
  }

  hideHere() {
    if (!this.trace?.keys.length) return;
    const box = trackBox(this.trace, this.seconds) ?? this.trace.keys[0].box;
    this.change(() => setKey(this.trace, this.seconds, box, false));
  }

  removeHere() {
    if (!this.trace) return;
    const there = keyAt(this.trace, this.seconds);
    if (there > 0) this.change(() => this.trace.keys.splice(there, 1));
    else this.removeTrace();
  }

  removeTrace() {
    if (!this.trace) return;
    this.change(() => {
      this.state.traces.splice(this.chosen, 1);
      this.chosen = Math.min(this.chosen, this.state.traces.length - 1);
    });
  }

  toggleCategory(name) {
    if (!this.trace) return;
    this.change(() => {
      const own = new Set(this.trace.categories);
      if (!own.delete(name)) own.add(name);
      this.trace.categories = data.categories.filter((category) => own.has(category));
    });
  }

  choose(number) {
    this.chosen = number;
    this.lastField = null;
    this.render();
  }

  say(words) { const hint = byId("hint"); if (hint) hint.textContent = words; }

  // ── what is on screen ──

  render() {
    const { state, frozen } = this;
    for (const radio of document.querySelectorAll("[name=label]")) {
      radio.checked = radio.value === state.label;
      radio.disabled = frozen;
    }
    const list = byId("traces");
    list.replaceChildren(...state.traces.map((trace, i) => this.traceItem(trace, i)));
    byId("no-traces").hidden = state.traces.length > 0;
    if (frozen) byId("no-traces").textContent = "No trace is marked here.";
    else byId("no-traces").textContent = NO_TRACES;
    byId("trace-form").hidden = this.chosen < 0;
    if (this.trace) this.renderTrace(this.trace);
    this.setField(byId("note"), state.note);
    byId("prelabelled").hidden = !state.prelabel;
    byId("prelabelled").textContent = state.prelabel ? `Begun with what ${state.prelabel} says. Check every box.` : "";
    byId("undo").disabled = frozen || !this.done.length;
    byId("redo").disabled = frozen || !this.undone.length;
    for (const button of document.querySelectorAll("#trace-form button:not(.jump), [data-prelabel]")) button.disabled = frozen;
    document.body.classList.toggle("frozen", frozen);
    if (this.player) {
      this.player.setTraces([...state.traces.map((trace, i) => toShown(trace, i % COLORS)), ...this.extra]);
      this.player.boxes.forEach((box, i) => box.classList.toggle("chosen", i === this.chosen));
      this.drawHandles();
    }
    if (!frozen) this.say(state.traces.length ? "Drag inside the chosen box to move it, at an edge to resize it: each makes a key box at this frame." : "Stop on the first frame on which you see something wrong, and drag a box around it.");
    else this.say("");
  }

  traceItem(trace, i) {
    const item = element("li", `c${i % COLORS}${i === this.chosen ? " chosen" : ""}`);
    const button = element("button", "trace-pick");
    button.type = "button";
    button.setAttribute("aria-pressed", String(i === this.chosen));
    button.append(element("b", "", trace.categories.length ? trace.categories.join(", ") : `Trace ${i + 1}`));
    const from = trace.onset === null ? "no onset" : `${trace.onset.toFixed(2)} s`;
    const to = trace.offset === null ? "to the end" : `to ${trace.offset.toFixed(2)} s`;
    button.append(element("span", "quiet", ` ${from} ${to}, ${trace.keys.length} key box${trace.keys.length === 1 ? "" : "es"}`));
    if (trace.explanation) button.append(element("bdi", "why", trace.explanation));
    button.addEventListener("click", () => {
      this.choose(i);
      if (trace.onset !== null) { this.player?.pause(); this.player?.seekSeconds(trace.onset); }
    });
    item.append(button);
    return item;
  }

  renderTrace(trace) {
    byId("onset").textContent = trace.onset === null ? "not set" : `${trace.onset.toFixed(2)} s`;
    byId("offset").textContent = trace.offset === null ? "end of the video" : `${trace.offset.toFixed(2)} s`;
    byId("keys").replaceChildren(...trace.keys.map((key) => {
      const button = element("button", "jump", `${key.time.toFixed(2)} s${key.visible ? "" : " hidden"}`);
      button.type = "button";
      button.addEventListener("click", () => { this.player?.pause(); this.player?.seekSeconds(key.time); });
      return button;
    }));
    for (const box of document.querySelectorAll("[name=category]")) {
      box.checked = trace.categories.includes(box.value);
      box.disabled = this.frozen;
    }
    this.setField(byId("explanation"), trace.explanation);
  }

  setField(field, text) {
    if (field.value !== text) field.value = text;
    field.readOnly = this.frozen;
  }

  // ── drawing ──

  setUpDrawing() {
    const { stage, layer } = this.player;
    this.ink = element("div", "ink");
    this.rubber = element("div", "rubber");
    this.rubber.hidden = true;
    this.handles = element("div", "handles");
    this.handles.hidden = true;
    for (const side of ["nw", "n", "ne", "e", "se", "s", "sw", "w"]) this.handles.append(element("span", `handle ${side}`));
    this.ink.append(this.handles, this.rubber);
    stage.append(this.ink);
    new ResizeObserver(() => {
      for (const side of ["left", "top", "width", "height"]) this.ink.style[side] = layer.style[side];
    }).observe(layer);
    this.player.onPick = (i) => { if (i < this.state.traces.length) this.choose(i); };
    this.ink.addEventListener("pointerdown", (event) => this.beginDrag(event));
    this.ink.addEventListener("pointermove", (event) => this.goOn(event));
    this.ink.addEventListener("pointerup", (event) => this.endDrag(event));
    this.ink.addEventListener("pointercancel", () => { this.drag = null; this.rubber.hidden = true; this.drawHandles(); });
  }

  point(event) {
    const area = this.ink.getBoundingClientRect();
    return [(event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height];
  }

  shownBox(i) {
    const box = this.player.boxes[i];
    if (!box || box.hidden) return null;
    return trackBox(this.state.traces[i], this.seconds);
  }

  // What lies under the pointer: a side or corner of the chosen box, its inside, another box, or nothing.
  hit(x, y) {
    const area = this.ink.getBoundingClientRect();
    const own = this.trace && this.shownBox(this.chosen);
    if (own) {
      const [dx, dy] = [HANDLE_PX / area.width, HANDLE_PX / area.height];
      const near = { w: Math.abs(x - own[0]) < dx, e: Math.abs(x - own[2]) < dx, n: Math.abs(y - own[1]) < dy, s: Math.abs(y - own[3]) < dy };
      const within = x > own[0] - dx && x < own[2] + dx && y > own[1] - dy && y < own[3] + dy;
      const sides = Object.keys(near).filter((side) => near[side]);
      if (within && sides.length) return { kind: "resize", sides, box: own };
      if (within) return { kind: "move", box: own };
    }
    for (let i = this.state.traces.length - 1; i >= 0; i -= 1) {
      const box = this.shownBox(i);
      if (box && x > box[0] && x < box[2] && y > box[1] && y < box[3]) return { kind: "other", number: i, box };
    }
    return { kind: "draw" };
  }

  beginDrag(event) {
    if (event.button !== 0) return;
    this.player.stage.focus({ preventScroll: true });
    this.player.pause();
    if (this.frozen) return;
    event.preventDefault();
    const [x, y] = this.point(event);
    const hit = this.hit(x, y);
    if (hit.kind === "other") {
      this.choose(hit.number);
      hit.kind = "move";
    }
    this.ink.setPointerCapture(event.pointerId);
    this.drag = { ...hit, x, y, clientX: event.clientX, clientY: event.clientY, now: hit.box ?? null, moved: false };
  }

  goOn(event) {
    const [x, y] = this.point(event);
    if (!this.drag) {
      const { kind, sides } = this.frozen ? { kind: "none" } : this.hit(x, y);
      this.ink.dataset.over = kind === "resize" ? sides.join("") : kind;
      return;
    }
    const { drag } = this;
    const far = Math.max(Math.abs(event.clientX - drag.clientX), Math.abs(event.clientY - drag.clientY));
    drag.moved = drag.moved || far >= SMALLEST_PX;
    drag.now = this.dragged(drag, x, y);
    if (drag.moved) this.drawRubber(drag.now);
  }

  dragged(drag, x, y) {
    if (drag.kind === "draw") return tidyBox(drag.x, drag.y, x, y);
    const [x0, y0, x1, y1] = drag.box;
    if (drag.kind === "resize") {
      return tidyBox(drag.sides.includes("w") ? x : x0, drag.sides.includes("n") ? y : y0, drag.sides.includes("e") ? x : x1, drag.sides.includes("s") ? y : y1);
    }
    const dx = Math.min(Math.max(x - drag.x, -x0), 1 - x1);
    const dy = Math.min(Math.max(y - drag.y, -y0), 1 - y1);
    return tidyBox(x0 + dx, y0 + dy, x1 + dx, y1 + dy);
  }

  drawRubber(box) {
    this.rubber.hidden = false;
    const [x0, y0, x1, y1] = box;
    Object.assign(this.rubber.style, { left: `${x0 * 100}%`, top: `${y0 * 100}%`, width: `${(x1 - x0) * 100}%`, height: `${(y1 - y0) * 100}%` });
  }

  endDrag(event) {
    const { drag } = this;
    this.drag = null;
    this.rubber.hidden = true;
    if (!drag) return;
    const [x, y] = this.point(event);
    const box = this.dragged(drag, x, y);
    const area = this.ink.getBoundingClientRect();
    const small = (box[2] - box[0]) * area.width < SMALLEST_PX || (box[3] - box[1]) * area.height < SMALLEST_PX;
    if (!drag.moved || small) { this.drawHandles(); return; }
    if (drag.kind !== "draw") this.change(() => setKey(this.trace, this.seconds, box));
    else if (this.trace && !this.trace.keys.length) this.change(() => this.firstBox(box));
    else this.newTrace(box);
  }

  firstBox(box) {
    setKey(this.trace, this.seconds, box);
    if (this.trace.onset === null) this.trace.onset = this.seconds;
  }

  drawHandles() {
    if (!this.handles) return;
    const box = this.trace && !this.frozen ? this.shownBox(this.chosen) : null;
    this.handles.hidden = box === null;
    if (box) Object.assign(this.handles.style, { left: `${box[0] * 100}%`, top: `${box[1] * 100}%`, width: `${(box[2] - box[0]) * 100}%`, height: `${(box[3] - box[1]) * 100}%` });
  }

  // ── fields and keys ──

  setUpFields() {
    for (const radio of document.querySelectorAll("[name=label]")) radio.addEventListener("change", () => this.setLabel(radio.value));
    for (const box of document.querySelectorAll("[name=category]")) box.addEventListener("change", () => this.toggleCategory(box.value));
    byId("explanation").addEventListener("input", (event) => this.change(() => { this.trace.explanation = event.target.value; }, `explanation ${this.chosen}`));
    byId("note").addEventListener("input", (event) => this.change(() => { this.state.note = event.target.value; }, "note"));
    byId("trace-form").addEventListener("submit", (event) => event.preventDefault());
    const press = { "onset-here": () => this.setOnset(), "offset-here": () => this.setOffset(this.seconds), "offset-end": () => this.setOffset(null), "key-add": () => this.addKey(), "key-hide": () => this.hideHere(), "trace-delete": () => this.removeTrace(), undo: () => this.undo(), redo: () => this.redo(), submit: () => this.onSubmit() };
    for (const [id, action] of Object.entries(press)) byId(id).addEventListener("click", action);
    const go = (seconds) => { if (seconds !== null && seconds !== undefined) { this.player?.pause(); this.player?.seekSeconds(seconds); } };
    byId("onset").addEventListener("click", () => go(this.trace?.onset));
    byId("offset").addEventListener("click", () => go(this.trace?.offset));
  }

  setUpKeys() {
    document.addEventListener("keydown", (event) => {
      if (document.querySelector("dialog[open]")) return;
      const command = event.ctrlKey || event.metaKey;
      if (event.key === "Escape" && isTyping(event)) { event.target.blur(); this.player?.stage.focus(); return; }
      if (command && event.key === "Enter") { event.preventDefault(); this.onSubmit(); return; }
      if (command && event.key.toLowerCase() === "z" && !isTyping(event)) {
        event.preventDefault();
        if (event.shiftKey) this.redo(); else this.undo();
        return;
      }
      if (isSpokenFor(event) || command || event.altKey) return;
      if (this.player?.onKey(event)) return;
      if (this.onPlainKey(event.key)) event.preventDefault();
    });
  }

  onPlainKey(key) {
    const labels = { f: "fake", r: "real", u: "unsure" };
    const number = Number(key);
    const actions = { i: () => this.setOnset(), o: () => this.setOffset(this.seconds), k: () => this.addKey(), h: () => this.hideHere(), e: () => byId("explanation").focus(), Delete: () => this.removeHere(), Backspace: () => this.removeHere(), "?": () => byId("help").showModal(), "[": () => this.cycle(-1), "]": () => this.cycle(1) };
    if (number >= 1 && number <= data.categories.length) this.toggleCategory(data.categories[number - 1]);
    else if (key.toLowerCase() in labels) this.setLabel(labels[key.toLowerCase()]);
    else if (actions[key] ?? actions[key.toLowerCase()]) (actions[key] ?? actions[key.toLowerCase()])();
    else return false;
    return true;
  }

  cycle(by) {
    const count = this.state.traces.length;
    if (count) this.choose((this.chosen + by + count) % count);
  }

  setUpDialogs() {
    byId("help-open").addEventListener("click", () => byId("help").showModal());
    for (const button of document.querySelectorAll("[data-close]")) button.addEventListener("click", () => button.closest("dialog").close());
  }
}

export function showStatus(words, kind) {
  const status = byId("status");
  status.textContent = words;
  status.className = `status ${kind}`;
}

export function showMissing(words) {
  byId("missing").replaceChildren(...words.map((word) => element("li", "", word)));
}

export function fillSummary(node, lines) {
  node.replaceChildren(...lines.map((line, i) => element(i ? "p" : "b", "", line)));
}
