// One video: its player, who is shown, and the address of a moment.

import { Player, isSpokenFor } from "./player.js";
import { data } from "./site.js";

const root = document.querySelector("[data-player]");
const copyLink = document.getElementById("copy-link");
let player = null;

if (root && data.clip) {
  player = new Player(root, data.clip, { traces: data.traces, speakers: data.speakers });
  const wanted = Number(new URLSearchParams(location.hash.slice(1)).get("t"));
  const first = data.traces.map((trace) => trace.onset).filter((onset) => onset !== null).sort((a, b) => a - b)[0];
  if (location.hash && Number.isFinite(wanted)) player.seekSeconds(wanted);
  else if (first !== undefined) player.seekSeconds(first);
  for (const box of document.querySelectorAll("[data-speaker]")) {
    const number = Number(box.dataset.speaker);
    box.addEventListener("change", () => {
      if (box.checked) player.hidden.delete(number);
      else player.hidden.add(number);
      player.show(player.frame);
    });
  }
  for (const button of document.querySelectorAll(".jump[data-trace]")) {
    button.addEventListener("click", () => {
      player.pause();
      player.seekSeconds(data.traces[Number(button.dataset.trace)].onset ?? 0);
    });
  }
}

copyLink?.addEventListener("click", async () => {
  const address = new URL(location.href);
  address.hash = player ? `t=${player.seconds.toFixed(3)}` : "";
  history.replaceState(null, "", address);
  try {
    await navigator.clipboard.writeText(address.href);
    copyLink.textContent = "Copied";
  } catch {
    copyLink.textContent = "It is in the address bar";
  }
});

document.addEventListener("keydown", (event) => {
  if (isSpokenFor(event)) return;
  if (player?.onKey(event)) return;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "n" || event.key === "j") document.getElementById("after")?.click();
  if (event.key === "p" || event.key === "k") document.getElementById("before")?.click();
});
