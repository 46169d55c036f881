"use strict";
// Boxes, timeline and filters of the report. Numbers come from the JSON in #data; text is only ever set by textContent.

const clips = JSON.parse(document.getElementById("data").textContent).clips;

// ── times of frames ─────────────────────────────────────────────────────────────────────────────────────────────

// `times` is one number (frames per second) for a steady clip, else the list of all times.
function timeOf(clip, frame) {
  return typeof clip.times === "number" ? frame / clip.times : clip.times[frame];
}

// The frame on screen at a media time. A file keeps times in ticks, so a frame may come a little early: the
// millisecond covers that.
function frameAt(clip, seconds) {
  let low = 0;
  let high = clip.count - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (timeOf(clip, middle) <= seconds + 0.001) low = middle;
    else high = middle - 1;
  }
  return low;
}

// The first frame on which something that begins at `seconds` can be seen.
function firstFrameFrom(clip, seconds) {
  const frame = frameAt(clip, seconds);
  return timeOf(clip, frame) + 0.001 < seconds ? Math.min(frame + 1, clip.count - 1) : frame;
}

// ── boxes ───────────────────────────────────────────────────────────────────────────────────────────────────────

function isOn(trace, seconds) {
  const begun = trace.onset === null || seconds + 0.0005 >= trace.onset;
  const over = trace.offset !== null && seconds + 0.0005 >= trace.offset;
  return begun && !over;
}

// The same rule as Trace.box_at in Python: linear between keys, hidden from a hidden key to the next.
function boxAt(trace, seconds) {
  if (!isOn(trace, seconds)) return null;
  if (!trace.track || !trace.track.length) return trace.box;
  const next = trace.track.findIndex((key) => key[0] > seconds);
  if (next === 0) return trace.track[0][2] ? trace.track[0][1] : null;
  const here = trace.track[(next === -1 ? trace.track.length : next) - 1];
  if (!here[2] || !here[1]) return null;
  const after = next === -1 ? null : trace.track[next];
  if (!after || !after[1]) return here[1];
  const share = (seconds - here[0]) / (after[0] - here[0]);
  return here[1].map((value, i) => value + (after[1][i] - value) * share);
}

function makeBox(trace) {
  const box = document.createElement("div");
  box.className = `box c${trace.color}`;
  box.hidden = true;
  const tag = document.createElement("span");
  tag.className = "tag";
  tag.textContent = trace.confidence === null ? trace.name : `${trace.name} ${trace.confidence.toFixed(2)}`;
  box.append(tag);
  return box;
}

function placeBox(element, box, stage) {
  element.hidden = box === null;
  if (box === null) return;
  const [x0, y0, x1, y1] = box;
  element.style.left = `${x0 * 100}%`;
  element.style.top = `${y0 * 100}%`;
  element.style.width = `${(x1 - x0) * 100}%`;
  element.style.height = `${(y1 - y0) * 100}%`;
  const room = 30; // a tag is about that many pixels high
  const above = y0 * stage.clientHeight > room;
  const below = (1 - y1) * stage.clientHeight > room;
  element.classList.toggle("under", !above && below);
  element.classList.toggle("within", !above && !below);
  // Slide the tag back to where it is seen whole.
  const tag = element.firstChild;
  const left = x0 * stage.clientWidth;
  tag.style.left = `${Math.max(Math.min(-3, stage.clientWidth - tag.offsetWidth - left - 3), -left - 3)}px`;
}

// ── one player ──────────────────────────────────────────────────────────────────────────────────────────────────

function setUp(player) {
  const clip = clips[Number(player.dataset.clip)];
  const article = player.closest("article");
  const find = (selector) => player.querySelector(selector);
  const video = find("video");
  const stage = find(".stage");
  const layer = find(".boxes");
  const slider = find(".track");
  const bars = [...player.querySelectorAll(".bar")];
  const items = [...article.querySelectorAll(".trace")];
  const boxes = clip.traces.map(makeBox);
  layer.append(...boxes);
  let frame = frameAt(clip, clip.still);
  let started = false; // until then the still picture is shown, with the boxes of its moment
  let aimed = false; // a seek is under way: frames that still come from before it do not count
  let target = 0;
  let loading = false;
  let near = false; // measuring hundreds of players that nobody looks at would take seconds

  const percent = (seconds) => `${Math.min(Math.max(seconds / clip.duration, 0), 1) * 100}%`;

  function show(index) {
    frame = index;
    const seconds = timeOf(clip, index);
    clip.traces.forEach((trace, i) => {
      if (near) placeBox(boxes[i], boxAt(trace, seconds), layer);
      const live = isOn(trace, seconds);
      bars[i].classList.toggle("live", live);
      items[i].classList.toggle("live", live);
    });
    find(".now").textContent = seconds.toFixed(2);
    find(".playhead").style.left = percent(seconds);
    find(".done").style.width = percent(seconds);
    slider.setAttribute("aria-valuenow", seconds.toFixed(3));
    slider.setAttribute("aria-valuetext", `${seconds.toFixed(2)} seconds`);
  }

  // The boxes lie on the picture, which may be smaller than the element (portrait clips, full screen).
  function fit() {
    // A video has even sides; the copy of an odd clip holds one more column or row that no box speaks of.
    const fullWidth = clip.width + (clip.width % 2);
    const fullHeight = clip.height + (clip.height % 2);
    const scale = Math.min(video.clientWidth / fullWidth, video.clientHeight / fullHeight);
    const width = clip.width * scale;
    const height = clip.height * scale;
    layer.style.left = `${video.offsetLeft + (video.clientWidth - fullWidth * scale) / 2}px`;
    layer.style.top = `${video.offsetTop + (video.clientHeight - fullHeight * scale) / 2}px`;
    layer.style.width = `${width}px`;
    layer.style.height = `${height}px`;
    show(frame);
  }

  function begin() {
    started = true;
    find(".still-note").hidden = true;
  }

  // Aim at the middle of a frame's time on screen: neither rounding nor ticks can then hit its neighbour.
  function seek(index) {
    const wanted = Math.min(Math.max(index, 0), clip.count - 1);
    const next = wanted + 1 < clip.count ? timeOf(clip, wanted + 1) : clip.duration;
    target = (timeOf(clip, wanted) + Math.max(next, timeOf(clip, wanted))) / 2;
    aimed = true;
    begin();
    show(wanted);
    if (video.readyState > 0) {
      video.currentTime = target;
    } else if (!loading) {
      loading = true;
      video.addEventListener("loadedmetadata", () => { video.currentTime = target; }, { once: true });
      video.preload = "auto";
      video.load();
    }
  }

  function togglePlay() {
    if (video.paused) video.play().catch(() => {});
    else video.pause();
  }

  function toggleBoxes() {
    const button = find(".toggle");
    if (!button) return;
    layer.hidden = !layer.hidden;
    button.setAttribute("aria-pressed", String(!layer.hidden));
  }

  // The frame callback tells which frame is really on screen; where it is missing, the clock has to do.
  if ("requestVideoFrameCallback" in video) {
    const onFrame = (_, meta) => {
      if (started && !aimed) show(frameAt(clip, meta.mediaTime));
      video.requestVideoFrameCallback(onFrame);
    };
    video.requestVideoFrameCallback(onFrame);
  } else {
    const follow = () => {
      if (!aimed) show(frameAt(clip, video.currentTime));
      if (!video.paused) requestAnimationFrame(follow);
    };
    video.addEventListener("play", follow);
  }
  video.addEventListener("seeked", () => {
    if (video.seeking) return;
    aimed = false;
    show(frameAt(clip, video.currentTime));
  });
  video.addEventListener("ended", () => show(clip.count - 1));
  video.addEventListener("play", () => {
    begin();
    find(".play").setAttribute("aria-label", "Pause");
    find(".play path").setAttribute("d", "M5.5 4h3v12h-3zM11.5 4h3v12h-3z");
  });
  video.addEventListener("pause", () => {
    find(".play").setAttribute("aria-label", "Play");
    find(".play path").setAttribute("d", "M5 3.5v13l11-6.5z");
  });
  video.addEventListener("error", () => { find(".broken").hidden = false; });
  video.addEventListener("click", togglePlay);

  find(".play").addEventListener("click", togglePlay);
  find(".back").addEventListener("click", () => { video.pause(); seek(frame - 1); });
  find(".next").addEventListener("click", () => { video.pause(); seek(frame + 1); });
  find(".full").addEventListener("click", () => {
    if (document.fullscreenElement) document.exitFullscreen();
    else stage.requestFullscreen().catch(() => {});
  });
  find("select").addEventListener("change", (event) => { video.playbackRate = Number(event.target.value); });
  if (find(".toggle")) find(".toggle").addEventListener("click", toggleBoxes);

  stage.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " " || event.key === "k") togglePlay();
    else if (event.key === "ArrowLeft") seek(frame - 1);
    else if (event.key === "ArrowRight") seek(frame + 1);
    else if (event.key === "b" || event.key === "B") toggleBoxes();
    else return;
    event.preventDefault();
  });

  // ── its timeline ──

  const seekPointer = (event) => {
    const area = slider.getBoundingClientRect();
    seek(frameAt(clip, ((event.clientX - area.left) / area.width) * clip.duration));
  };
  slider.addEventListener("pointerdown", (event) => { slider.setPointerCapture(event.pointerId); seekPointer(event); });
  slider.addEventListener("pointermove", (event) => { if (slider.hasPointerCapture(event.pointerId)) seekPointer(event); });
  slider.addEventListener("keydown", (event) => {
    const second = Math.max(Math.round(clip.count / clip.duration), 1);
    const moves = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -second, PageUp: second };
    if (event.key in moves) seek(frame + moves[event.key]);
    else if (event.key === "Home") seek(0);
    else if (event.key === "End") seek(clip.count - 1);
    else return;
    event.preventDefault();
  });

  const rows = Math.max(0, ...clip.traces.map((trace) => trace.lane + 1));
  find(".lanes").style.height = `${rows * 1.75}rem`;
  clip.traces.forEach((trace, i) => {
    const from = trace.onset === null ? 0 : Math.min(trace.onset, clip.duration);
    const to = trace.offset === null ? clip.duration : Math.min(trace.offset, clip.duration);
    bars[i].style.left = percent(from);
    bars[i].style.width = percent(to - from);
    bars[i].style.top = `${trace.lane * 1.75}rem`;
    const go = () => seek(firstFrameFrom(clip, from));
    bars[i].addEventListener("click", go);
    const jump = items[i].querySelector(".jump");
    jump.hidden = false;
    jump.addEventListener("click", go);
  });
  addTicks(find(".ticks"), clip.duration, percent);

  video.controls = false; // ours do more; without script the browser's stay
  find(".controls").hidden = false;
  find(".timeline").hidden = false;
  find(".still-note").textContent = `still at ${timeOf(clip, frame).toFixed(2)} s`;
  find(".still-note").hidden = false;
  show(frame);
  const come = () => {
    if (near) return;
    near = true;
    new ResizeObserver(fit).observe(stage);
    fit();
  };
  new IntersectionObserver((entries, watch) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    watch.disconnect();
    come();
  }, { rootMargin: clips.length > 40 ? "600px" : "1000000px" }).observe(stage);
  addEventListener("beforeprint", come);
}

function addTicks(element, duration, percent) {
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800].find((s) => duration / s <= 8) || duration;
  for (let i = 0; i * step <= duration + 1e-6; i += 1) {
    const tick = document.createElement("span");
    tick.textContent = `${Number((i * step).toFixed(2))} s`;
    tick.style.left = percent(i * step);
    if (i > 0 && i * step > duration * 0.96) tick.className = "end";
    element.append(tick);
  }
}

// ── the page ────────────────────────────────────────────────────────────────────────────────────────────────────

function setUpFilters() {
  const group = document.querySelector(".filters");
  if (!group) return;
  const buttons = [...group.querySelectorAll("button")];
  const entries = [...document.querySelectorAll("[data-status]")];
  const wanted = {
    all: () => true,
    fake: (entry) => entry.dataset.status === "fake",
    real: (entry) => entry.dataset.status === "real",
    uncertain: (entry) => entry.dataset.uncertain === "true",
    failed: (entry) => entry.dataset.status === "failed" || entry.dataset.status === "unparsed",
  };
  for (const button of buttons) {
    button.addEventListener("click", () => {
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      let shown = 0;
      for (const entry of entries) {
        entry.hidden = !wanted[button.dataset.filter](entry);
        if (entry.hidden) for (const video of entry.querySelectorAll("video")) video.pause();
        else if (entry.tagName === "ARTICLE") shown += 1;
      }
      document.getElementById("shown").textContent = `${shown} clips shown`;
    });
  }
  group.hidden = false;
}

function setUpTheme() {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const remember = (theme) => {
    root.dataset.theme = theme;
    try { localStorage.setItem("deeptrace-theme", theme); } catch { /* a page from disk may have no storage */ }
  };
  try {
    const theme = localStorage.getItem("deeptrace-theme");
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  } catch { /* same */ }
  button.addEventListener("click", () => {
    const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    remember((root.dataset.theme || system) === "dark" ? "light" : "dark");
  });
  button.hidden = false;
}

setUpTheme();
setUpFilters();
document.querySelectorAll(".player").forEach(setUp);
