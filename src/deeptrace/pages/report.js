// The clips of a report. A row is made when it is scrolled to, a player when its row is opened. Numbers and words come
// from the JSON in the page; words are only ever set by textContent, addresses are names of files that we wrote.

const { clips, meanings } = JSON.parse(document.getElementById("data").textContent);
const OPEN_AT_ONCE = 12; // so few clips are shown open
const CHUNK = 50; // rows are made, and the details of clips are read, so many at a time
const ROW_REM = 8.75; // how high a row is, about, before it is made
const list = document.getElementById("clips");

function clone(name) {
  return document.getElementById(`${name}-template`).content.firstElementChild.cloneNode(true);
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// ── boxes ───────────────────────────────────────────────────────────────────────────────────────────────────────

function makeBox(trace, _, traces) {
  const box = document.createElement("div");
  box.className = `box c${trace.color}`;
  box.hidden = true;
  const tag = document.createElement("span");
  tag.className = "tag";
  const sure = trace.confidence === null || traces.length < 2 ? "" : ` ${trace.confidence.toFixed(2)}`;
  tag.textContent = trace.name + sure;
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
  if (!tag) return;
  const left = x0 * stage.clientWidth;
  tag.style.left = `${Math.max(Math.min(-3, stage.clientWidth - tag.offsetWidth - left - 3), -left - 3)}px`;
}

function makeBar(trace, i) {
  const bar = element("button", `bar c${trace.color}`);
  bar.type = "button";
  const kinds = trace.categories.length ? trace.categories.join(", ") : "no category";
  bar.setAttribute("aria-label", `Trace ${i + 1}, ${kinds}, ${trace.when || "whole clip"}. Jump to its start.`);
  bar.append(element("span", "", trace.categories[0] || "Trace"));
  return bar;
}

// ── one player ──────────────────────────────────────────────────────────────────────────────────────────────────

// `clip` is the detail of a clip joined with its row; `items` are the elements of its traces, `partItems` those of the
// parts that spoke for "fake" most.
function setUpPlayer(player, clip, items, partItems) {
  const find = (selector) => player.querySelector(selector);
  const video = find("video");
  const stage = find(".stage");
  const layer = find(".boxes");
  const slider = find(".track");
  const bars = clip.traces.map(makeBar);
  find(".lanes").append(...bars);
  const boxes = clip.traces.map(makeBox);
  const parts = (clip.highlights || []).filter((part) => part.box);
  const partBoxes = parts.map(() => element("div", "box part"));
  layer.append(...partBoxes, ...boxes);
  let frame = frameAt(clip, clip.still);
  let started = false; // until then the still picture is shown, with the boxes of its moment
  let aimed = false; // a seek is under way: frames that still come from before it do not count
  let target = 0;
  let loading = false;
  let measured = false; // a player has no size before it is in the page

  const percent = (seconds) => `${Math.min(Math.max(seconds / clip.duration, 0), 1) * 100}%`;

  function show(index) {
    frame = index;
    const seconds = timeOf(clip, index);
    clip.traces.forEach((trace, i) => {
      if (measured) placeBox(boxes[i], boxAt(trace, seconds), layer);
      const live = isOn(trace, seconds);
      bars[i].classList.toggle("live", live);
      items[i].classList.toggle("live", live);
    });
    parts.forEach((part, i) => {
      const on = seconds + 0.0005 >= part.from && seconds + 0.0005 < part.to;
      if (measured) placeBox(partBoxes[i], on ? part.box : null, layer);
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
  find(".toggle").hidden = !clip.traces.length && !parts.length;
  find(".toggle").addEventListener("click", toggleBoxes);

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
    items[i].querySelector(".jump").addEventListener("click", go);
  });
  addTicks(find(".ticks"), clip.duration, percent);
  (clip.highlights || []).forEach((part, i) => {
    const mark = element("span", "part-mark");
    mark.style.left = percent(part.from);
    mark.style.width = percent(Math.min(part.to, clip.duration) - part.from);
    slider.append(mark);
    partItems[i].addEventListener("click", () => seek(firstFrameFrom(clip, part.from)));
  });

  find(".still-note").textContent = `still at ${timeOf(clip, frame).toFixed(2)} s`;
  show(frame);
  new ResizeObserver(() => {
    measured = true;
    fit();
  }).observe(stage);
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

// ── one clip ────────────────────────────────────────────────────────────────────────────────────────────────────

function chipsOf(clip) {
  const chips = [element("span", `chip ${clip.status}`, clip.chip)];
  if (clip.partial) chips.push(element("span", "chip soft", "read in part"));
  if (clip.changed) chips.push(element("span", "chip soft", "file changed"));
  return chips;
}

function makeRow(article, i) {
  const clip = clips[i];
  const row = clone("row");
  const find = (selector) => row.querySelector(selector);
  article.classList.add(clip.status);
  article.setAttribute("aria-labelledby", `name-${i + 1}`);
  find("h2").id = `name-${i + 1}`;
  find(".chips").append(...chipsOf(clip));
  find(".number").textContent = i + 1;
  find(".name").textContent = clip.name;
  find(".sentence bdi").textContent = clip.sentence;
  if (clip.thumb) {
    [find("img").width, find("img").height] = clip.size;
    find("img").src = clip.thumb;
  } else {
    find(".thumb").replaceChildren(element("span", "", "no picture"));
  }
  const opener = find(".opener");
  opener.addEventListener("click", () => toggle(article, i));
  find(".thumb").addEventListener("click", () => toggle(article, i));
  article.append(row);
}

function makeGauge(clip) {
  const gauge = clone("gauge");
  const find = (selector) => gauge.querySelector(selector);
  const set = (selector, x, width) => {
    if (x !== null) find(selector).setAttribute("x", x);
    if (width !== null) find(selector).setAttribute("width", width);
  };
  find(".gauge-number").textContent = clip.p.toFixed(2);
  find("svg").setAttribute("aria-label", `P(fake): ${clip.p.toFixed(2)} of 1`);
  find(".level").classList.add(clip.status);
  set(".level", null, clip.p * 100);
  if (clip.thresholds) {
    const [low, high] = clip.thresholds;
    set(".unsure", low * 100, (high - low) * 100);
    set(".low", low * 100 - 0.25, null);
    set(".high", high * 100 - 0.25, null);
    find(".gauge-words").textContent = `uncertain between ${low.toFixed(2)} and ${high.toFixed(2)}`;
  } else {
    for (const part of [".unsure", ".low", ".high", ".gauge-words"]) find(part).remove();
  }
  return gauge;
}

function makeTrace(clip, trace, i) {
  const item = clone("trace");
  const find = (selector) => item.querySelector(selector);
  item.classList.add(`c${trace.color}`);
  item.dataset.trace = i;
  find("h4").textContent = trace.categories.length ? trace.name : "No category named";
  // One trace: how sure is said once, by P(fake). Several: this is what tells them apart.
  if (trace.confidence === null || clip.traces.length < 2) find(".confidence").remove();
  else find(".confidence").append(`${Math.round(trace.confidence * 100)} %`, element("span", "sr", " confident"));
  if (clip.video) find(".when").remove();
  else find(".jump").remove();
  find(".jump, .when").textContent = trace.when || (clip.video ? "whole clip" : "no time given");
  find(".where").textContent = trace.where;
  if (!trace.track) find(".tracked").remove();
  if (trace.why) find(".why bdi").textContent = trace.why;
  else find(".why").remove();
  for (const category of trace.categories) {
    const kind = trace.categories.length > 1 ? category : "Kind";
    item.append(element("p", "meaning", `${kind}: ${meanings[category]}.`));
  }
  return item;
}

function notice(lead, text, bad) {
  const note = element("p", bad ? "notice bad" : "notice");
  note.append(element("b", "", lead), " ", element("bdi", "", text));
  return note;
}

function fold(summary, ...content) {
  const details = element("details");
  details.append(element("summary", "", summary), ...content);
  return details;
}

function fillPanel(panel, clip, items, partItems) {
  if (clip.p !== undefined) panel.append(makeGauge(clip));
  if (clip.doubt) panel.append(element("p", "doubt", clip.doubt));
  if (clip.status === "unparsed") panel.append(notice("Unparsed:", clip.reason, true));
  if (clip.status === "failed") panel.append(notice(clip.code, clip.reason, true));
  if (clip.status === "unparsed" || clip.status === "failed") {
    panel.append(element("p", "quiet", "Counted apart: neither fake nor real."));
  }
  if (clip.partialWords) panel.append(notice("Partial reading:", `${clip.partialWords} The verdict does not speak of the rest.`));
  if (items.length) {
    const traces = element("ol", "traces");
    traces.append(...items);
    panel.append(element("h3", "", items.length === 1 ? "1 trace" : `${items.length} traces`), traces);
  }
  if (partItems.length) {
    const parts = element("ul", "parts");
    for (const item of partItems) {
      const line = element("li");
      line.append(item);
      parts.append(line);
    }
    panel.append(
      element("h3", "", "What spoke for it most"),
      element("p", "quiet", "Dashed in the picture. No trace: nothing says that a person would see anything there."),
      parts,
    );
  }
  if (clip.more) panel.append(element("p", "notice", clip.more));
  if (clip.flags && clip.flags.length) {
    const flags = element("ul", "flags");
    flags.append(...clip.flags.map((flag) => element("li", "", flag)));
    panel.append(element("h3", "", "Flags"), flags);
  }
  if (clip.text) {
    const text = element("pre", "", clip.text);
    text.dir = "auto";
    text.tabIndex = 0;
    panel.append(fold("Answer of the model, word for word", text));
  }
  const about = element("dl", "about");
  for (const [name, value] of clip.about) {
    const term = element("dd", name === "SHA-256" ? "hash" : "");
    term.append(element("bdi", "", value));
    about.append(element("dt", "", name), term);
  }
  panel.append(fold("About this file", about));
}

function makePlayer(clip, items, partItems) {
  const player = clone("player");
  const find = (selector) => player.querySelector(selector);
  const video = find("video");
  [video.width, video.height] = [clip.size[0] + (clip.size[0] % 2), clip.size[1] + (clip.size[1] % 2)];
  video.poster = clip.poster;
  video.src = clip.video;
  find(".length").textContent = clip.duration.toFixed(2);
  find(".track").setAttribute("aria-valuemax", clip.duration.toFixed(3));
  find(".plain-link").href = clip.video;
  if (clip.overlay) find(".boxed-link").href = clip.overlay;
  else find(".boxed-link").remove();
  find(".note").textContent = clip.note;
  setUpPlayer(player, { ...clip, width: clip.size[0], height: clip.size[1] }, items, partItems);
  return player;
}

function detailOf(i) {
  return JSON.parse(document.getElementById(`details-${Math.floor(i / CHUNK)}`).textContent)[i % CHUNK];
}

function makeBody(article, i) {
  const detail = detailOf(i);
  const clip = { ...clips[i], ...detail, partial: clips[i].partial, partialWords: detail.partial };
  const body = clone("body");
  const items = clip.traces.map((trace, k) => makeTrace(clip, trace, k));
  const left = body.querySelector(".left");
  const partItems = (clip.highlights || []).map((part) => {
    const item = element("button", "jump", part.words);
    item.type = "button";
    item.disabled = !clip.video;
    return item;
  });
  if (clip.video) {
    left.append(makePlayer(clip, items, partItems));
  } else {
    const empty = element("div", "no-picture large");
    empty.append(element("b", "", "No picture"));
    if (clip.status !== "failed" && clip.picture) empty.append(element("bdi", "", clip.picture));
    left.append(empty);
  }
  fillPanel(body.querySelector(".panel"), clip, items, partItems);
  article.append(body);
}

function openClip(article, i) {
  if (!article.querySelector(".columns")) makeBody(article, i);
  article.classList.add("open");
  article.querySelector(".opener").setAttribute("aria-expanded", "true");
}

function toggle(article, i) {
  if (!article.classList.contains("open")) {
    openClip(article, i);
    return;
  }
  pause(article);
  article.classList.remove("open");
  article.querySelector(".opener").setAttribute("aria-expanded", "false");
}

function pause(article) {
  for (const video of article.querySelectorAll("video")) video.pause();
}

// ── the list ────────────────────────────────────────────────────────────────────────────────────────────────────

const articles = new Map(); // by the clip's index, as far as they are made
const members = new Map(); // the clips of each chunk of the list

function articleOf(i) {
  if (articles.has(i)) return articles.get(i);
  const article = element("article", "clip");
  article.id = `clip-${i + 1}`;
  articles.set(i, article);
  makeRow(article, i);
  if (clips.length <= OPEN_AT_ONCE) openClip(article, i);
  return article;
}

function fill(chunk) {
  if (chunk.firstElementChild) return;
  seen.unobserve(chunk);
  chunk.style.minHeight = "";
  chunk.append(...members.get(chunk).map(articleOf));
}

const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) if (isIntersecting) fill(target);
}, { rootMargin: "1000px" });

function makeChunk(shown) {
  const chunk = element("div", "chunk");
  chunk.style.minHeight = `${shown.length * ROW_REM}rem`;
  members.set(chunk, shown);
  return chunk;
}

const chosen = { filter: "all", words: "", sort: "order" };
const wanted = {
  all: () => true,
  fake: (clip) => clip.status === "fake",
  uncertain: (clip) => clip.status === "uncertain",
  real: (clip) => clip.status === "real",
  failed: (clip) => clip.status === "failed" || clip.status === "unparsed",
};
const unknownLast = (a, b, of) => (of(a) === undefined) - (of(b) === undefined) || a - b;
const p = (i) => clips[i].p;
const orders = {
  order: (a, b) => a - b,
  fake: (a, b) => (p(a) !== undefined && p(b) !== undefined && p(b) - p(a)) || unknownLast(a, b, p),
  real: (a, b) => (p(a) !== undefined && p(b) !== undefined && p(a) - p(b)) || unknownLast(a, b, p),
  name: (a, b) => names.compare(clips[a].name, clips[b].name) || a - b,
};
const names = new Intl.Collator(undefined, { numeric: true });
let searched = null; // what the search looks at, made when it is first used

function showChosen() {
  const words = chosen.words.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length && !searched) {
    searched = clips.map((clip) => `${clip.name}\n${clip.chip}\n${clip.sentence}`.toLowerCase());
  }
  const shown = [];
  clips.forEach((clip, i) => {
    if (wanted[chosen.filter](clip) && words.every((word) => searched[i].includes(word))) shown.push(i);
    else if (articles.has(i)) pause(articles.get(i));
  });
  shown.sort(orders[chosen.sort]);
  showList(shown);
  const told = document.getElementById("shown");
  if (told) told.textContent = shown.length === clips.length ? "" : `${shown.length.toLocaleString("en")} of ${clips.length.toLocaleString("en")} clips shown`;
}

function showList(shown) {
  if (!clips.length) return;
  for (const chunk of members.keys()) {
    seen.unobserve(chunk);
    chunk.replaceChildren();
  }
  members.clear();
  const chunks = [];
  for (let k = 0; k < shown.length; k += CHUNK) chunks.push(makeChunk(shown.slice(k, k + CHUNK)));
  if (chunks.length) fill(chunks[0]);
  list.replaceChildren(...chunks);
  for (const chunk of chunks.slice(1)) seen.observe(chunk);
}

function setUpTools() {
  const tools = document.querySelector(".tools");
  if (!tools) return;
  const buttons = [...tools.querySelectorAll("[data-filter]")];
  for (const button of buttons) {
    button.addEventListener("click", () => {
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      chosen.filter = button.dataset.filter;
      showChosen();
    });
  }
  document.getElementById("search").addEventListener("input", (event) => {
    chosen.words = event.target.value;
    showChosen();
  });
  document.getElementById("sort").addEventListener("change", (event) => {
    chosen.sort = event.target.value;
    showChosen();
  });
  tools.hidden = false;
}

// The address of one clip (#clip-17) opens it, whatever is filtered.
function openNamed() {
  const i = Number((/^#clip-(\d+)$/.exec(location.hash) || [])[1]) - 1;
  if (!(i in clips)) return;
  const chunkOf = () => [...members.keys()].find((chunk) => members.get(chunk).includes(i));
  if (!chunkOf()) document.querySelector("[data-filter=all]").click();
  if (!chunkOf()) return; // searched away
  fill(chunkOf());
  openClip(articleOf(i), i);
  articleOf(i).scrollIntoView({ behavior: "instant" });
}

function openAll() {
  for (const [chunk, shown] of members) {
    fill(chunk);
    for (const i of shown) openClip(articleOf(i), i);
  }
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
setUpTools();
showChosen();
addEventListener("beforeprint", () => { if (clips.length <= CHUNK) openAll(); });
addEventListener("hashchange", openNamed);
openNamed();
