// A player that knows its frames: steps by one, draws the boxes of the frame on screen, and keeps a lane for each trace.
// `clip` has src, poster, size, duration, times (of all frames) and count; traces are as `trace_json` writes them.

import { boxAt, firstFrameFrom, frameAt, isOn, timeOf } from "./timing.js";
import { element } from "./site.js";

const LANE_REM = 1.6;

export class Player {
  constructor(root, clip, { traces = [], speakers = [], onFrame = null } = {}) {
    this.root = root;
    this.clip = clip;
    this.speakers = speakers;
    this.onFrame = onFrame;
    this.hidden = new Set(); // speakers that are not shown
    this.frame = 0;
    this.aimed = false; // a seek is under way: frames that still come from before it do not count
    this.find = (selector) => root.querySelector(selector);
    this.video = this.find("video");
    this.stage = this.find(".stage");
    this.layer = this.find(".boxes");
    [this.video.width, this.video.height] = [clip.size[0] + (clip.size[0] % 2), clip.size[1] + (clip.size[1] % 2)];
    this.video.poster = clip.poster;
    this.video.src = clip.src;
    this.find(".length").textContent = clip.duration.toFixed(2);
    this.find(".track").setAttribute("aria-valuemax", clip.duration.toFixed(3));
    this.setTraces(traces);
    this.listen();
    this.addTicks();
    new ResizeObserver(() => this.fit()).observe(this.stage);
    this.show(0);
  }

  get seconds() { return timeOf(this.clip, this.frame); }

  percent(seconds) { return `${Math.min(Math.max(seconds / this.clip.duration, 0), 1) * 100}%`; }

  setTraces(traces) {
    this.traces = traces;
    this.boxes = traces.map((trace) => this.makeBox(trace));
    this.layer.replaceChildren(...this.boxes);
    this.makeLanes();
    this.show(this.frame);
  }

  makeBox(trace) {
    const speaker = this.speakers[trace.speaker];
    const box = element("div", `box c${trace.color} ${speaker ? speaker.kind : ""}`);
    box.hidden = true;
    box.append(element("span", "tag", this.nameOf(trace)));
    return box;
  }

  // Who says it, where several speak, and what.
  nameOf(trace) {
    const who = this.speakers.length > 1 ? this.speakers[trace.speaker]?.name : "";
    return who ? `${who}: ${trace.name}` : trace.name;
  }

  // One group of lanes a speaker; a trace goes into the first lane of its group that is free at its onset.
  makeLanes() {
    const lanes = this.find(".lanes");
    let row = 0;
    this.bars = [];
    const nodes = [];
    const groups = [...new Set(this.traces.map((trace) => trace.speaker))];
    for (const group of groups) {
      const ends = [];
      const first = row;
      this.traces.forEach((trace, i) => {
        if (trace.speaker !== group) return;
        const from = Math.min(trace.onset ?? 0, this.clip.duration);
        const to = trace.offset === null ? this.clip.duration : Math.min(trace.offset, this.clip.duration);
        let lane = ends.findIndex((end) => end <= from);
        if (lane < 0) lane = ends.length;
        ends[lane] = to;
        const bar = element("button", `bar c${trace.color} ${this.speakers[group]?.kind ?? ""}`);
        bar.type = "button";
        const name = this.nameOf(trace);
        bar.append(element("span", "", name));
        bar.setAttribute("aria-label", `${name}, from ${from.toFixed(2)} to ${to.toFixed(2)} seconds. Go to its start.`);
        bar.style.left = this.percent(from);
        bar.style.width = this.percent(to - from);
        bar.style.top = `${(first + lane) * LANE_REM}rem`;
        bar.addEventListener("click", () => { this.pause(); this.seekSeconds(from); this.onPick?.(i); });
        this.bars[i] = bar;
        nodes.push(bar);
      });
      row += ends.length;
    }
    lanes.style.height = `${row * LANE_REM}rem`;
    lanes.replaceChildren(...nodes);
  }

  isShown(trace) { return !this.hidden.has(trace.speaker); }

  show(frame) {
    this.frame = frame;
    const seconds = this.seconds;
    this.traces.forEach((trace, i) => {
      this.place(this.boxes[i], this.isShown(trace) ? boxAt(trace, seconds) : null);
      this.bars[i].classList.toggle("live", isOn(trace, seconds));
    });
    this.find(".now").textContent = seconds.toFixed(2);
    this.find(".frame").textContent = frame;
    this.find(".playhead").style.left = this.percent(seconds);
    this.find(".done").style.width = this.percent(seconds);
    const slider = this.find(".track");
    slider.setAttribute("aria-valuenow", seconds.toFixed(3));
    slider.setAttribute("aria-valuetext", `${seconds.toFixed(2)} seconds, frame ${frame}`);
    this.onFrame?.(seconds, frame);
  }

  place(node, box) {
    node.hidden = box === null;
    if (box === null) return;
    const [x0, y0, x1, y1] = box;
    node.style.left = `${x0 * 100}%`;
    node.style.top = `${y0 * 100}%`;
    node.style.width = `${(x1 - x0) * 100}%`;
    node.style.height = `${(y1 - y0) * 100}%`;
    const room = 28;
    const above = y0 * this.layer.clientHeight > room;
    const below = (1 - y1) * this.layer.clientHeight > room;
    node.classList.toggle("under", !above && below);
    node.classList.toggle("within", !above && !below);
    const tag = node.firstChild;
    const left = x0 * this.layer.clientWidth;
    if (tag?.classList?.contains("tag")) {
      tag.style.left = `${Math.max(Math.min(-3, this.layer.clientWidth - tag.offsetWidth - left - 3), -left - 3)}px`;
    }
  }

  // The boxes lie on the picture, which may be smaller than the element (portrait clips), and one column or row smaller
  // than the file where a side is odd.
  fit() {
    const fullWidth = this.video.width;
    const fullHeight = this.video.height;
    const scale = Math.min(this.video.clientWidth / fullWidth, this.video.clientHeight / fullHeight);
    this.layer.style.left = `${this.video.offsetLeft + (this.video.clientWidth - fullWidth * scale) / 2}px`;
    this.layer.style.top = `${this.video.offsetTop + (this.video.clientHeight - fullHeight * scale) / 2}px`;
    this.layer.style.width = `${this.clip.size[0] * scale}px`;
    this.layer.style.height = `${this.clip.size[1] * scale}px`;
    this.show(this.frame);
  }

  pause() { this.video.pause(); }

  togglePlay() {
    if (this.video.paused) this.video.play().catch(() => {});
    else this.video.pause();
  }

  step(frames) { this.pause(); this.seek(this.frame + frames); }

  // The frame on screen at a moment; `seekSeconds` goes to the first one on which what begins then is seen.
  seekOnScreen(seconds) { this.seek(frameAt(this.clip, seconds)); }

  seekSeconds(seconds) { this.seek(firstFrameFrom(this.clip, seconds)); }

  // Aim at the middle of a frame's time on screen: neither rounding nor ticks can then hit its neighbour.
  seek(frame) {
    const wanted = Math.min(Math.max(frame, 0), this.clip.count - 1);
    const begin = timeOf(this.clip, wanted);
    const end = wanted + 1 < this.clip.count ? timeOf(this.clip, wanted + 1) : this.clip.duration;
    this.target = (begin + Math.max(begin, end)) / 2;
    this.aimed = true;
    this.show(wanted);
    if (this.video.readyState > 0) this.video.currentTime = this.target;
    else this.video.addEventListener("loadedmetadata", () => { this.video.currentTime = this.target; }, { once: true });
  }

  listen() {
    const { video } = this;
    if ("requestVideoFrameCallback" in video) {
      const onFrame = (_, meta) => {
        if (!this.aimed) this.show(frameAt(this.clip, meta.mediaTime));
        video.requestVideoFrameCallback(onFrame);
      };
      video.requestVideoFrameCallback(onFrame);
    } else {
      video.addEventListener("timeupdate", () => { if (!this.aimed) this.show(frameAt(this.clip, video.currentTime)); });
    }
    video.addEventListener("seeked", () => {
      if (video.seeking) return;
      this.aimed = false;
      this.show(frameAt(this.clip, video.currentTime));
    });
    video.addEventListener("ended", () => this.show(this.clip.count - 1));
    const play = this.find(".play");
    video.addEventListener("play", () => {
      play.setAttribute("aria-label", "Pause");
      play.querySelector("path").setAttribute("d", "M5.5 4h3v12h-3zM11.5 4h3v12h-3z");
    });
    video.addEventListener("pause", () => {
      play.setAttribute("aria-label", "Play");
      play.querySelector("path").setAttribute("d", "M5 3.5v13l11-6.5z");
    });
    video.addEventListener("error", () => { this.find(".broken").hidden = false; });
    play.addEventListener("click", () => this.togglePlay());
    this.find(".back").addEventListener("click", () => this.step(-1));
    this.find(".next").addEventListener("click", () => this.step(1));
    this.find("select").addEventListener("change", (event) => { video.playbackRate = Number(event.target.value); });
    this.find(".toggle").addEventListener("click", () => this.toggleBoxes());
    this.listenToSlider();
  }

  toggleBoxes() {
    this.layer.hidden = !this.layer.hidden;
    this.find(".toggle").setAttribute("aria-pressed", String(!this.layer.hidden));
  }

  // Keys of a page with one player; true where the key was one of them.
  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    const far = event.shiftKey ? 10 : 1;
    if (event.key === " ") this.togglePlay();
    else if (event.key === "ArrowLeft") this.step(-far);
    else if (event.key === "ArrowRight") this.step(far);
    else if (event.key === "Home") { this.pause(); this.seek(0); }
    else if (event.key === "End") { this.pause(); this.seek(this.clip.count - 1); }
    else if (event.key === "b" || event.key === "B") this.toggleBoxes();
    else return false;
    event.preventDefault();
    return true;
  }

  listenToSlider() {
    const slider = this.find(".track");
    const seekPointer = (event) => {
      const area = slider.getBoundingClientRect();
      this.pause();
      this.seek(frameAt(this.clip, ((event.clientX - area.left) / area.width) * this.clip.duration));
    };
    slider.addEventListener("pointerdown", (event) => { slider.setPointerCapture(event.pointerId); seekPointer(event); });
    slider.addEventListener("pointermove", (event) => { if (slider.hasPointerCapture(event.pointerId)) seekPointer(event); });
  }

  addTicks() {
    const { duration } = this.clip;
    const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800].find((s) => duration / s <= 8) || duration;
    const ticks = [];
    for (let i = 0; i * step <= duration + 1e-6; i += 1) {
      const tick = element("span", i > 0 && i * step > duration * 0.96 ? "end" : "", `${Number((i * step).toFixed(2))} s`);
      tick.style.left = this.percent(i * step);
      ticks.push(tick);
    }
    this.find(".ticks").replaceChildren(...ticks);
  }
}

// Whether a key belongs to a field that is being written into.
export function isTyping(event) {
  const { target } = event;
  return target.matches?.("textarea, input:not([type=checkbox]):not([type=radio]), select, [contenteditable]") ?? false;
}

// Whether a key is already spoken for by the element that has the focus: a space on a button presses it.
export function isSpokenFor(event) {
  return isTyping(event) || (event.key === " " && (event.target.matches?.("button, a, summary, input, label") ?? false));
}
