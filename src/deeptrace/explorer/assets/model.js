// An annotation while it is edited: traces with key boxes, and the body that is sent. Seconds and fractions.

import { boxAt } from "./timing.js";

const NEAR_SECONDS = 0.0005; // two key boxes so close are of one frame

export function fromBody(body) {
  return {
    label: body?.label ?? null,
    note: body?.note ?? "",
    prelabel: body?.prelabel ?? null,
    guideline: body?.guideline ?? null,
    traces: (body?.traces ?? []).map((trace) => ({
      onset: trace.onset_seconds,
      offset: trace.offset_seconds,
      categories: trace.categories ?? [],
      explanation: trace.explanation ?? "",
      keys: trace.track
        ? trace.track.map((key) => ({ time: key.time_seconds, box: key.bbox_xyxy, visible: key.visible }))
        : trace.bbox_xyxy
          ? [{ time: trace.onset_seconds ?? 0, box: trace.bbox_xyxy, visible: true }]
          : [],
    })),
  };
}

export function toBody(state) {
  return {
    label: state.label,
    note: state.note,
    prelabel: state.prelabel,
    guideline: state.guideline,
    traces: state.traces.map((trace) => ({
      bbox_xyxy: trackBox(trace, trace.onset ?? trace.keys[0]?.time ?? 0) ?? trace.keys.find((key) => key.box)?.box ?? null,
      onset_seconds: trace.onset,
      offset_seconds: trace.offset,
      categories: trace.categories.length ? trace.categories : null,
      explanation: trace.explanation.trim() ? trace.explanation : null,
      track: trace.keys.length > 1
        ? trace.keys.map((key) => ({ time_seconds: key.time, bbox_xyxy: key.box, visible: key.visible }))
        : null,
      confidence: null,
    })),
  };
}

// What the player draws.
export function toShown(trace, color) {
  return {
    speaker: 0,
    color,
    name: trace.categories[0] ?? "Trace",
    onset: trace.onset,
    offset: trace.offset,
    box: trace.keys[0]?.box ?? null,
    track: trace.keys.length ? trace.keys.map((key) => [key.time, key.box, key.visible]) : null,
    confidence: null,
  };
}

// The box of the track at a moment, whether the trace is on then or not.
export function trackBox(trace, seconds) {
  if (!trace.keys.length) return null;
  return boxAt({ onset: null, offset: null, box: null, track: trace.keys.map((key) => [key.time, key.box, key.visible]) }, seconds);
}

export function keyAt(trace, seconds) {
  return trace.keys.findIndex((key) => Math.abs(key.time - seconds) < NEAR_SECONDS);
}

export function setKey(trace, seconds, box, visible = true) {
  const there = keyAt(trace, seconds);
  if (there >= 0) trace.keys[there] = { ...trace.keys[there], box, visible };
  else trace.keys.push({ time: seconds, box, visible });
  trace.keys.sort((a, b) => a.time - b.time);
}

// A box within the frame, its sides in order; to a millionth, which is less than a pixel of any video.
export function tidyBox(x0, y0, x1, y1) {
  const round = (value) => Math.round(Math.min(Math.max(value, 0), 1) * 1e6) / 1e6;
  return [round(Math.min(x0, x1)), round(Math.min(y0, y1)), round(Math.max(x0, x1)), round(Math.max(y0, y1))];
}

export function summaryLines(body) {
  const names = { fake: "Fake", real: "Real", unsure: "Cannot tell" };
  const lines = [names[body?.label] ?? "No label yet"];
  for (const trace of body?.traces ?? []) {
    const when = trace.onset_seconds === null ? "no onset" : `from ${trace.onset_seconds.toFixed(2)} s`;
    const to = trace.offset_seconds === null ? "" : ` to ${trace.offset_seconds.toFixed(2)} s`;
    const box = trace.bbox_xyxy ? `, box ${trace.bbox_xyxy.map((v) => v.toFixed(2)).join(" ")}` : "";
    lines.push(`${(trace.categories ?? ["Trace"]).join(", ")} ${when}${to}${box}${trace.explanation ? `: ${trace.explanation}` : ""}`);
  }
  if (body?.note) lines.push(`Note: ${body.note}`);
  return lines;
}
