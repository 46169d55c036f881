// The review of a video: its candidates, and accepting, correcting, disputing or voting.

import { Editor, fillSummary, showMissing, showStatus } from "./editor.js";
import { fromBody, summaryLines, toShown } from "./model.js";
import { data, element, newKey, send } from "./site.js";

const COLORS = 10;
const byId = (id) => document.getElementById(id);
let review = data.review;
let shown = null; // the candidate that is looked at
let writing = null; // "edit" or "dispute" while an own version is written
let reopening = false; // while the reason for opening it again is written

const editor = new Editor({ onChange: () => {}, onSubmit: () => sendOwn() });
for (const id of ["submit", "undo", "redo", "note-field"]) byId(id).hidden = true;

function show(number) {
  shown = review.candidates[number - 1];
  reopening = false;
  showOthers();
  editor.load(shown.body, { frozen: true });
  render();
}

// The boxes of the other candidates over the same video, each in a colour of its own.
function showOthers() {
  const others = review.candidates.filter((candidate) => candidate !== shown);
  byId("overlaid").hidden = others.length === 0;
  const wanted = byId("show-others").checked ? others : [];
  editor.extra = wanted.flatMap((candidate) => fromBody(candidate.body).traces.map((trace) => (
    { ...toShown(trace, candidate.number % COLORS), speaker: 1, name: `${candidate.number}. ${candidate.by}` })));
}

function behind(number) {
  return Object.keys(review.behind).filter((who) => review.behind[who] === number);
}

function candidateItem(candidate) {
  const item = element("li", candidate === shown ? "chosen" : "");
  const pick = element("button", "trace-pick");
  pick.type = "button";
  pick.setAttribute("aria-pressed", String(candidate === shown));
  const [head, ...lines] = summaryLines(candidate.body);
  pick.append(element("b", "", `${candidate.number}. ${head}`));
  const kind = candidate.number === 1 ? "first pass" : candidate.disputes ? "disputes it" : "correction";
  pick.append(element("span", "quiet", ` by ${candidate.by} (${kind})`));
  if (lines.length) {
    const list = element("span", "candidate-lines");
    for (const line of lines) list.append(element("bdi", "", line));
    pick.append(list);
  }
  if (candidate.reason) pick.append(element("bdi", "why", candidate.reason));
  const people = behind(candidate.number);
  pick.append(element("span", "quiet behind", people.length ? `For it: ${people.join(", ")}` : "Nobody is for it yet"));
  pick.addEventListener("click", () => { if (!writing) show(candidate.number); });
  item.append(pick);
  if (review.status === "disputed" && review.behind[data.who] !== candidate.number) {
    const vote = element("button", "vote", "I am for this one");
    vote.type = "button";
    vote.addEventListener("click", () => step("vote", { candidate: candidate.number }));
    item.append(vote);
  }
  if (review.settled === candidate.number) item.append(element("span", "chip real", "Stands"));
  return item;
}

function words() {
  const author = review.authors.includes(data.who) && !review.alone;
  if (review.status === "settled") return reopening ? "All that was proposed stays; somebody has to agree to one of them anew." : "Settled. It is part of the export of settled videos.";
  if (review.status === "disputed") {
    const people = Object.keys(review.behind).length;
    return people < 3 ? `Disputed. A majority of at least three people decides; ${people} have said which they are for.` : "Disputed. No candidate has more than half of the people yet.";
  }
  if (author) return "This is your own first pass: somebody else has to look at it.";
  if (review.behind[data.who] === shown.number) return "You are for it; it waits for others.";
  if (!mayAccept()) return `It was corrected since. Look at ${review.candidates.length}, the newest.`;
  return "Look at every box, at its onset first. Then accept it, correct it, or say why you dispute it.";
}

// Of a review that was opened again any candidate may be agreed to; else the newest alone.
function mayAccept() { return review.reopened || shown.number === review.candidates.length; }

function render() {
  byId("candidates").replaceChildren(...review.candidates.map(candidateItem));
  byId("review-words").textContent = words();
  const open = review.status === "waiting" && (review.alone || !review.authors.includes(data.who)) && !writing;
  const may = review.status === "disputed" && !writing;
  byId("accept").hidden = !open || !mayAccept() || review.behind[data.who] === shown.number;
  byId("correct").hidden = !open;
  byId("dispute").hidden = !(open || may);
  byId("dispute").textContent = may ? "Propose another one" : "Dispute it";
  byId("steps").replaceChildren(...review.steps.map((entry) => {
    const item = element("li", "", `${new Date(entry.at).toLocaleString()}: ${entry.who}, ${entry.kind}`);
    if (entry.reason) item.append(": ", element("bdi", "", entry.reason));
    return item;
  }));
  byId("reopen").hidden = review.status !== "settled" || reopening;
  byId("reopen-buttons").hidden = !reopening;
  byId("reason-field").hidden = !writing && !reopening;
  for (const id of ["submit", "undo", "redo", "note-field"]) byId(id).hidden = !writing;
}

function write(kind) {
  writing = kind;
  editor.load(shown.body, { frozen: false });
  render();
  showStatus(kind === "edit" ? "Correct it, then send. Nothing is sent before." : "Make it what you say it is, say why, then send.", "busy");
  (kind === "edit" ? editor.player?.stage : byId("reason"))?.focus();
}

function reopen(wanted) {
  reopening = wanted;
  showMissing([]);
  render();
  (wanted ? byId("reason") : byId("reopen")).focus();
}

function sendOwn() {
  if (!writing) return;
  const body = { annotation: editor.body, reason: byId("reason").value };
  step(writing, body);
}

async function step(kind, body, base = review.version) {
  const key = newKey();
  const request = { id: data.id, in: data.in, step: kind, base, key, body };
  let answer = await send("/api/review", request);
  if (answer.status === 0) answer = await send("/api/review", request); // the same key: it is one step
  const { status, value } = answer;
  if (status === 200) {
    writing = null;
    byId("reason").value = "";
    showMissing([]);
    review = value.review;
    show(review.settled ?? review.candidates.length);
    showStatus("Kept.", "good");
    return;
  }
  if (status === 409 && value.current) { onConflict(kind, body, value.current, value.error); return; }
  showMissing([value.error?.message ?? "This was not taken."]);
  showStatus("Not kept.", "bad");
}

function onConflict(kind, body, current, error) {
  const dialog = byId("conflict");
  byId("conflict-words").textContent = `${current.who} was here meanwhile (${current.kind}, ${new Date(current.at).toLocaleTimeString()}). ${error.message}.`;
  byId("theirs-head").textContent = `Theirs: ${current.who}`;
  fillSummary(byId("yours"), summaryLines(body.annotation ?? shown.body));
  fillSummary(byId("theirs"), current.body.annotation ? summaryLines(current.body.annotation) : [`${current.kind}${current.body.reason ? `: ${current.body.reason}` : ""}`]);
  byId("take-theirs").onclick = () => location.reload();
  byId("keep-mine").hidden = error.code === "FROZEN" || kind === "accept"; // what was agreed to is no longer what is there
  byId("keep-mine").onclick = () => { dialog.close(); step(kind, body, current.version); };
  dialog.oncancel = (event) => event.preventDefault();
  dialog.showModal();
}

byId("accept").addEventListener("click", () => step("accept", { candidate: shown.number }));
byId("correct").addEventListener("click", () => write("edit"));
byId("dispute").addEventListener("click", () => write("dispute"));

byId("reopen").addEventListener("click", () => reopen(true));
byId("reopen-leave").addEventListener("click", () => reopen(false));
byId("reopen-send").addEventListener("click", () => step("reopen", { reason: byId("reason").value }));
byId("show-others").addEventListener("change", () => { showOthers(); editor.render(); });

const passes = byId("passes");
for (const pass of data.passes) {
  const details = element("details");
  details.append(element("summary", "", `What ${pass.who} handed in`));
  const inner = element("div", "summary-lines");
  fillSummary(inner, summaryLines(pass.body));
  details.append(inner);
  passes.append(details);
}

show(review.settled ?? review.candidates.length);
