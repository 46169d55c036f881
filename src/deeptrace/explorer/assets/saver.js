// Saves an annotation as it grows. What was not acknowledged yet lies in this browser and is sent again, under the same
// key, until it is: after a lost answer, a killed server, a closed laptop.

import { newKey, recall, remember, send } from "./site.js";

const WAIT_MS = 300;
const LONGEST_RETRY_MS = 15_000;

export class Saver {
  // `begin` is { in, id, who, base }; `on` has status(text, kind), conflict(mine, current) and saved(value).
  constructor(begin, on) {
    this.begin = begin;
    this.on = on;
    this.base = begin.base;
    this.place = `deeptrace-unsaved ${location.host} ${begin.in} ${begin.who} ${begin.id}`;
    this.sent = null; // { body, key, base }: may have arrived or not
    this.pending = null; // { body, key }: the newest, not sent yet
    this.timer = 0;
    this.retry = 0;
    this.busy = false;
    this.stopped = false;
    addEventListener("visibilitychange", () => { if (document.hidden) this.flush(); });
    addEventListener("online", () => this.flush());
    addEventListener("beforeunload", (event) => {
      if (this.pending && !this.keep()) event.preventDefault(); // the browser keeps nothing: ask before it is lost
    });
  }

  // The body that an earlier page left unsent here; null where there is none.
  left() {
    let kept = null;
    try { kept = JSON.parse(recall(this.place) ?? "null"); } catch { /* not ours */ }
    if (!kept || (!kept.sent && !kept.pending)) return null;
    this.sent = kept.sent;
    this.pending = kept.pending;
    this.base = kept.base;
    this.schedule(0);
    return (this.pending ?? this.sent).body;
  }

  get isClean() { return !this.sent && !this.pending; }

  keep() {
    return remember(this.place, this.isClean ? null : JSON.stringify({ sent: this.sent, pending: this.pending, base: this.base }));
  }

  change(body) {
    if (this.stopped) return;
    this.pending = { body, key: newKey() };
    this.keep();
    this.on.status("Saving…", "busy");
    this.schedule(WAIT_MS);
  }

  schedule(ms) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.flush(), ms);
  }

  async flush(submit = false) {
    if (this.busy || this.stopped) return false;
    clearTimeout(this.timer);
    this.busy = true;
    try {
      while (this.sent || this.pending) {
        if (!this.sent) {
          this.sent = { ...this.pending, base: this.base };
          this.pending = null;
          this.keep();
        }
        const mine = this.sent;
        const { status, value } = await send("/api/save", { in: this.begin.in, id: this.begin.id, base: mine.base, key: mine.key, body: mine.body, submit: mine.submit ?? false });
        if (!this.answered(mine, status, value)) return false;
      }
      return true;
    } finally { this.busy = false; }
  }

  // Whether one may go on with the next.
  answered(mine, status, value) {
    if (status === 200) {
      this.sent = null;
      this.base = value.event.version;
      this.retry = 0;
      this.keep();
      if (this.isClean) this.on.status(`Saved ${new Date(value.event.at).toLocaleTimeString()}`, "good");
      this.on.saved(mine, value);
      return true;
    }
    if (status === 409) {
      this.sent = null;
      const newest = this.pending ?? mine;
      this.pending = null;
      this.on.conflict(newest, value.current, value.error);
      return false;
    }
    if (status === 0 || status >= 500 || status === 429 || status === 408) {
      this.retry = Math.min(this.retry ? this.retry * 2 : 1000, LONGEST_RETRY_MS);
      this.on.status("Not saved yet: the server cannot be reached. Your work is kept in this browser.", "bad");
      this.schedule(this.retry);
      return false;
    }
    this.sent = null; // it would be refused again
    this.keep();
    this.on.status(value.error?.message ?? "This was not taken.", "bad");
    this.on.refused?.(mine, value);
    return false;
  }

  // Mine on top of what is there: both stay in the history.
  overwrite(mine, version) {
    this.base = version;
    this.pending = { ...mine, key: newKey() };
    this.keep();
    return this.flush();
  }

  drop(version) {
    this.base = version;
    this.sent = null;
    this.pending = null;
    this.keep();
  }

  async submit(body) {
    while (this.busy) await new Promise((resolve) => setTimeout(resolve, 50));
    if (!(await this.flush())) return false;
    this.pending = { body, key: newKey(), submit: true };
    this.keep();
    return this.flush();
  }
}
