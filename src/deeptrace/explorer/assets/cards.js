// Posters that play while they are pointed at or have the focus.

const WAIT_MS = 120;

for (const card of document.querySelectorAll(".card a")) {
  const poster = card.querySelector("[data-preview]");
  let video = null;
  let waiting = 0;
  const begin = () => {
    if (!poster || video) return;
    video = document.createElement("video");
    Object.assign(video, { muted: true, loop: true, playsInline: true, src: poster.dataset.preview });
    video.setAttribute("aria-hidden", "true");
    const own = video;
    own.addEventListener("error", () => own.remove());
    poster.append(own);
    own.play().catch(() => {}); // the pointer may be gone before the first frame
  };
  const end = () => {
    clearTimeout(waiting);
    if (!video) return;
    video.pause();
    video.remove();
    video.removeAttribute("src");
    video.load();
    video = null;
  };
  card.addEventListener("pointerenter", () => { waiting = setTimeout(begin, WAIT_MS); });
  card.addEventListener("pointerleave", end);
  card.addEventListener("focus", begin);
  card.addEventListener("blur", end);
}
