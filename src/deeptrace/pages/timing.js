// Times of frames and boxes at a moment: shared by the report (put before its script) and the explorer (a module).
// A clip has `count` frames, `times` and `duration`; a trace has `onset`, `offset`, `box` and `track`.

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

// ── traces at a moment ──────────────────────────────────────────────────────────────────────────────────────────────

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
