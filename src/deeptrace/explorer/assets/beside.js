// Videos that move together, and where two of them differ. The first one leads.

import { Player, isSpokenFor } from "./player.js";
import { data } from "./site.js";

const players = []; // those that can be played
const playerOf = new Map(); // by the place of the video
const canvas = document.getElementById("changes");
const choosers = ["changes-a", "changes-b"].map((id) => document.getElementById(id)).filter(Boolean);
let waiting = false; // the differences are drawn a moment after the last step, not at each
const roots = [...document.querySelectorAll("[data-player]")];
const clips = data.clips.map((clip, i) => [clip, i]).filter(([clip]) => clip !== null);
const LEVELS = 24; // grey levels from which on a difference counts: less is the codec's

clips.forEach(([clip, i], n) => {
  const lead = n === 0;
  players.push(new Player(roots[n], clip, { traces: data.traces[i], onFrame: lead ? (seconds) => follow(seconds) : null }));
  playerOf.set(i, players[n]);
});

function follow(seconds) {
  for (const other of players.slice(1)) {
    if (!other.video.paused) other.pause();
    other.seekOnScreen(seconds);
  }
  schedule();
}

function schedule() {
  if (!canvas || waiting) return;
  waiting = true;
  setTimeout(() => { waiting = false; drawChanges(); }, 120);
}

// Both frames in one size, and red where they differ: what an edit changed, a sham's or a fake's.
function drawChanges() {
  const [a, b] = choosers.map((chooser) => playerOf.get(Number(chooser.value)));
  if (!a || !b) { say("One of these two cannot be shown."); return; }
  if (a.video.readyState < 2 || b.video.readyState < 2) return;
  const width = Math.min(480, a.clip.size[0]);
  const height = Math.round((width * a.clip.size[1]) / a.clip.size[0]);
  const pixels = [a, b].map((player) => {
    const picture = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    picture.drawImage(player.video, 0, 0, width, height);
    return picture.getImageData(0, 0, width, height);
  });
  const [first, second] = pixels.map((image) => image.data);
  let count = 0;
  for (let i = 0; i < first.length; i += 4) {
    const apart = Math.max(...[0, 1, 2].map((c) => Math.abs(first[i + c] - second[i + c])));
    const grey = (first[i] + first[i + 1] + first[i + 2]) / 6 + 40;
    const changed = apart > LEVELS;
    count += changed;
    first[i] = changed ? 229 : grey;
    first[i + 1] = changed ? 72 : grey;
    first[i + 2] = changed ? 77 : grey;
  }
  [canvas.width, canvas.height] = [width, height];
  canvas.getContext("2d").putImageData(pixels[0], 0, 0);
  canvas.dataset.share = String(count / (width * height));
  say(`${((100 * count) / (width * height)).toFixed(1)} % of the pixels differ by more than ${LEVELS} levels at ${a.seconds.toFixed(2)} s`);
}

function say(words) { document.getElementById("changed").textContent = words; }

for (const chooser of choosers) {
  chooser.addEventListener("change", () => {
    const address = new URL(location.href);
    address.searchParams.set("changes", choosers.map((one) => Number(one.value) + 1).join(","));
    history.replaceState(null, "", address); // the address is the view
    drawChanges();
  });
}

for (const player of players) player.video.addEventListener("seeked", schedule);
for (const player of players) player.video.addEventListener("loadeddata", schedule);

const onset = data.traces.flat().map((trace) => trace.onset).find((value) => value !== null);
if (players.length && onset !== undefined) players[0].seekSeconds(onset);

document.addEventListener("keydown", (event) => { if (!isSpokenFor(event)) players[0]?.onKey(event); });
