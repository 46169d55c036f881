// A participant's page: one clip or pair at a time, played once; the first click, the answer, how sure, and a box.

import { tidyBox } from "./model.js";
import { data, element, newKey, send } from "./site.js";

const byId = (id) => document.getElementById(id);
const RETRY_MS = 1500;
const MOST_HEIGHT_VH = 48;
const SMALLEST_PX = 5;

function problem(words) {
  byId("problem").textContent = words;
  byId("problem").hidden = !words;
}

// Sent until it is answered: the same key makes it one answer.
async function surely(path, body) {
  for (;;) {
    const answer = await send(path, body);
    if (answer.status !== 0 && answer.status < 500) { problem(answer.status === 200 ? "" : (answer.value.error?.message ?? "This did not work.")); return answer; }
    problem("The server cannot be reached. Trying again…");
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

if (data.begin) {
  byId("begin").addEventListener("click", async () => {
    byId("begin").disabled = true;
    const { status, value } = await surely("/api/begin", { key: newKey() });
    if (status === 200) location.assign(`/s/${value.code}`);
    else byId("begin").disabled = false;
  });
} else {
  runStudy(data);
}

function runStudy(state) {
  let videos = [];
  let click = null;
  let box = null;
  let ended = 0; // when the clip was over, in the clock of the page

  function showOnly(...ids) {
    for (const id of ["ready", "stages", "question", "end"]) byId(id).hidden = !ids.includes(id);
  }

  function begin() {
    [videos, click, box] = [[], null, null];
    byId("stages").replaceChildren();
    byId("question").reset();
    byId("next").disabled = true;
    byId("draw-words").hidden = true;
    if (state.next === null) {
      byId("progress").textContent = "";
      byId("code").textContent = state.code;
      byId("withdraw").disabled = state.withdrawn;
      if (state.withdrawn) byId("withdraw").textContent = "Withdrawn";
      showOnly("end");
      return;
    }
    byId("progress").textContent = `${state.next} of ${state.of}`;
    const pair = state.kind === "pair";
    byId("ready-head").textContent = pair ? `Pair ${state.next}` : `Clip ${state.next}`;
    byId("asked").textContent = pair ? "Which one was faked?" : "Was something faked?";
    for (const label of document.querySelectorAll(".for-pair")) label.hidden = !pair;
    for (const label of document.querySelectorAll(".for-single")) label.hidden = pair;
    if (state.shown) {
      problem("This clip was shown to you already. Answer from what you saw, or say that you could not watch it.");
      ask();
      return;
    }
    showOnly("ready");
    byId("play").disabled = false;
    byId("play").focus();
  }

  async function play() {
    byId("play").disabled = true;
    const { status, value } = await surely("/api/show", { code: state.code, trial: state.next });
    if (status !== 200) { byId("play").disabled = false; return; }
    byId("stages").replaceChildren(...value.clips.map((clip, side) => makeStage(clip, side)));
    showOnly("stages");
    await Promise.all(videos.map((video) => new Promise((resolve) => {
      if (video.readyState >= 4) resolve();
      else video.addEventListener("canplaythrough", resolve, { once: true });
    })));
    for (const video of videos) video.play().catch(() => problem("The clip cannot be played here."));
  }

  function makeStage(clip, side) {
    const stage = element("div", "study-stage");
    stage.style.maxWidth = `${(MOST_HEIGHT_VH * clip.size[0]) / clip.size[1]}vh`; // the questions stay in sight below it
    const video = document.createElement("video");
    Object.assign(video, { muted: true, playsInline: true, preload: "auto", disablePictureInPicture: true });
    [video.width, video.height] = clip.size;
    video.src = `/s/${encodeURIComponent(state.code)}/${state.next}/${side}`;
    video.addEventListener("error", () => problem("The clip cannot be played here. Say that you could not watch it."));
    video.addEventListener("error", ask, { once: true });
    video.addEventListener("ended", () => { if (videos.every((other) => other.ended || other.error)) over(); });
    stage.addEventListener("pointerdown", (event) => {
      if (video.ended || video.paused || click) return;
      const area = video.getBoundingClientRect();
      noteClick(side, (event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height);
      const dot = element("span", "study-dot");
      Object.assign(dot.style, { left: `${click.x * 100}%`, top: `${click.y * 100}%` });
      stage.append(dot);
    });
    videos.push(video);
    stage.append(video);
    return stage;
  }

  function noteClick(side, x, y) {
    const within = (value) => (value === null ? null : Math.min(Math.max(value, 0), 1));
    click = { side, x: within(x), y: within(y), seconds: videos[side].currentTime };
  }

  function over() {
    ended = performance.now();
    ask();
  }

  function ask() {
    if (!ended) ended = performance.now();
    showOnly("question");
    document.querySelector("#answers label:not([hidden]) input").focus();
  }

  // The moment of the click, to draw on; shown only to who says that there was something, and clicked on it.
  function offerBox(answer) {
    const wanted = click !== null && click.x !== null && answer !== "real" && videos.length > 0;
    byId("draw-words").hidden = !wanted;
    byId("stages").hidden = !wanted;
    if (!wanted) { box = null; return; }
    videos.forEach((video, side) => { video.parentElement.hidden = side !== click.side; });
    const video = videos[click.side];
    const stage = video.parentElement;
    if (stage.classList.contains("drawing")) return;
    stage.classList.add("drawing");
    stage.querySelector(".study-dot")?.remove();
    video.currentTime = click.seconds;
    drawOn(stage, video);
  }

  function drawOn(stage, video) {
    const rubber = element("div", "rubber");
    rubber.hidden = true;
    stage.append(rubber);
    let start = null;
    const at = (event) => {
      const area = video.getBoundingClientRect();
      return [(event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height];
    };
    const show = (value) => {
      const [x0, y0, x1, y1] = value;
      rubber.hidden = false;
      Object.assign(rubber.style, { left: `${x0 * 100}%`, top: `${y0 * 100}%`, width: `${(x1 - x0) * 100}%`, height: `${(y1 - y0) * 100}%` });
    };
    stage.addEventListener("pointerdown", (event) => { event.preventDefault(); start = at(event); stage.setPointerCapture(event.pointerId); });
    stage.addEventListener("pointermove", (event) => { if (start) show(tidyBox(...start, ...at(event))); });
    stage.addEventListener("pointerup", (event) => {
      if (!start) return;
      const drawn = tidyBox(...start, ...at(event));
      start = null;
      const area = video.getBoundingClientRect();
      if ((drawn[2] - drawn[0]) * area.width < SMALLEST_PX || (drawn[3] - drawn[1]) * area.height < SMALLEST_PX) { rubber.hidden = box === null; if (box) show(box); return; }
      box = drawn;
      show(box);
    });
  }

  async function answer(extra) {
    byId("next").disabled = true;
    const body = { code: state.code, trial: state.next, key: newKey(), after_ms: Math.round(performance.now() - ended), ...extra };
    const { status, value } = await surely("/api/answer", body);
    ended = 0;
    if (status === 200) state = value;
    else if (status === 409) { location.reload(); return; }
    else { byId("next").disabled = false; return; }
    begin();
  }

  byId("play").addEventListener("click", play);
  byId("unwatched").addEventListener("click", () => answer({ unwatched: true }));
  byId("question").addEventListener("change", () => {
    const form = new FormData(byId("question"));
    byId("next").disabled = !(form.get("answer") && form.get("confidence"));
    if (form.get("answer")) offerBox(form.get("answer"));
  });
  byId("question").addEventListener("submit", (event) => {
    event.preventDefault();
    const form = new FormData(byId("question"));
    if (!form.get("answer") || !form.get("confidence")) return;
    const real = form.get("answer") === "real";
    answer({ answer: form.get("answer"), confidence: Number(form.get("confidence")), click, box: real ? null : box });
  });
  byId("withdraw").addEventListener("click", async () => {
    const { status } = await surely("/api/withdraw", { code: state.code });
    if (status === 200) { byId("withdraw").textContent = "Withdrawn"; byId("withdraw").disabled = true; }
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const playing = videos.length > 0 && !byId("stages").hidden && byId("question").hidden;
    if (playing && event.key === " ") {
      event.preventDefault();
      if (!click) noteClick(0, null, null);
    } else if (!byId("question").hidden) {
      const values = { f: "fake", n: "real", l: "left", r: "right" };
      const wanted = /^[1-4]$/.test(event.key) ? `[name=confidence][value="${event.key}"]` : `[name=answer][value="${values[event.key.toLowerCase()] ?? ""}"]`;
      const radio = document.querySelector(wanted);
      if (radio && !radio.closest("label").hidden) radio.click();
    }
  });
  begin();
}
