// One's own first pass: the editor, saving as it grows, handing in.

import { Editor, fillSummary, showMissing, showStatus } from "./editor.js";
import { summaryLines } from "./model.js";
import { Saver } from "./saver.js";
import { data, newKey, send } from "./site.js";

const byId = (id) => document.getElementById(id);
let frozen = data.frozen;

const editor = new Editor({
  onChange: (body) => { showMissing([]); saver.change(body); },
  onSubmit: () => submit(),
});
const saver = new Saver({ in: data.in, id: data.id, who: data.who, base: data.event?.version ?? 0 }, {
  status: showStatus,
  saved: (mine, value) => { if (mine.submit) handedIn(value); },
  conflict: (mine, current, error) => onConflict(mine, current, error),
  refused: (mine, value) => { if (mine.submit) showMissing([value.error.message]); },
});

const left = frozen ? null : saver.left();
editor.load(left ?? data.event?.body ?? null, { frozen });
if (frozen) handedIn({ event: data.event, feedback: data.feedback });
else if (data.event) showStatus(`Saved ${new Date(data.event.at).toLocaleTimeString()}`, "good");

async function submit() {
  if (frozen) return;
  const problems = missing(editor.body);
  showMissing(problems);
  if (!problems.length) await saver.submit(editor.body);
}

// The same rules as on the server, said before it is asked.
function missing(body) {
  if (body.label === null) return ["Say what it is: fake, real, or cannot tell."];
  if (body.label !== "fake") return body.traces.length ? [`${body.traces.length} traces are marked, but the label is ${body.label}. Remove them, or say fake.`] : [];
  if (!body.traces.length) return ["Fake: mark at least one trace, or say that you cannot tell."];
  return body.traces.flatMap((trace, i) => [
    ...(trace.bbox_xyxy ? [] : [`Trace ${i + 1}: draw its box at the onset.`]),
    ...(trace.onset_seconds === null ? [`Trace ${i + 1}: set the onset (key I).`] : []),
    ...(trace.categories || trace.explanation ? [] : [`Trace ${i + 1}: choose a kind, or say in words what is wrong.`]),
  ]);
}

function handedIn(value) {
  frozen = true;
  saver.stopped = true;
  editor.extra = (data.truth ?? []).map((trace) => ({ ...trace, speaker: 0, color: 5, name: "true box" }));
  editor.load(value.event.body, { frozen: true, keepHistory: true });
  showStatus("Handed in. It stays as it is.", "good");
  byId("submit").hidden = true;
  byId("undo").hidden = true;
  byId("redo").hidden = true;
  byId("after").hidden = false;
  byId("following").href = data.following;
  byId("following").focus();
  if (value.feedback) showFeedback(value.feedback);
}

function showFeedback(feedback) {
  const node = byId("feedback");
  node.hidden = false;
  node.classList.toggle("bad", !feedback.passed);
  fillSummary(node, [feedback.passed ? "As the guideline asks." : "Not yet as the guideline asks.", ...feedback.words]);
}

function onConflict(mine, current, error) {
  if (!current || error.code === "FROZEN") {
    showStatus(error.message, "bad");
    if (current) { data.event = current; handedIn({ event: current }); }
    return;
  }
  const dialog = byId("conflict");
  byId("conflict-words").textContent = `Version ${current.version} was saved by ${current.who} at ${new Date(current.at).toLocaleTimeString()}, perhaps in another window. Yours is not saved yet.`;
  byId("theirs-head").textContent = `Theirs: ${current.who}`;
  fillSummary(byId("yours"), summaryLines(mine.body));
  fillSummary(byId("theirs"), summaryLines(current.body));
  byId("take-theirs").onclick = () => {
    dialog.close();
    saver.drop(current.version);
    editor.load(current.body);
    showStatus("Theirs is shown.", "good");
  };
  byId("keep-mine").onclick = () => { dialog.close(); saver.overwrite(mine, current.version); };
  dialog.oncancel = (event) => event.preventDefault(); // it has to be chosen
  dialog.showModal();
}

for (const button of document.querySelectorAll("[data-prelabel]")) {
  button.addEventListener("click", async () => {
    if (!(await saver.flush())) return;
    const { status, value } = await send("/api/prelabel", { in: data.in, id: data.id, run: button.dataset.prelabel, base: saver.base, key: newKey() });
    if (status !== 200) { showStatus(value.error?.message ?? "The model's word was not taken.", "bad"); return; }
    saver.drop(value.event.version);
    editor.load(value.event.body);
    showStatus("Begun with what the model says.", "good");
  });
}
