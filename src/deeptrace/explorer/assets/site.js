// What every page has: the theme, and how a page sends what it writes. Words are only ever set by textContent.

export const data = JSON.parse(document.getElementById("data").textContent);
const csrf = document.querySelector("meta[name=csrf]").content;

export function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

// A key of its own for each write: sent again after a lost answer, it is still one write.
export function newKey() {
  return crypto.randomUUID ? crypto.randomUUID() : [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
}

// The answer as { status, value }; status 0 where the server cannot be reached.
export async function send(path, body) {
  let response;
  try {
    response = await fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json", "x-csrf": csrf },
      body: JSON.stringify(body),
    });
  } catch {
    return { status: 0, value: { error: { code: "UNREACHABLE", message: "The server cannot be reached." } } };
  }
  let value = {};
  try { value = await response.json(); } catch { /* an answer that is no JSON says nothing */ }
  return { status: response.status, value };
}

export function remember(name, value) {
  try {
    if (value === null) localStorage.removeItem(name);
    else localStorage.setItem(name, value);
    return true;
  } catch { return false; }
}

export function recall(name) {
  try { return localStorage.getItem(name); } catch { return null; }
}

function setUpTheme() {
  const root = document.documentElement;
  const theme = recall("deeptrace-theme");
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  document.getElementById("theme")?.addEventListener("click", () => {
    const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    root.dataset.theme = (root.dataset.theme || system) === "dark" ? "light" : "dark";
    remember("deeptrace-theme", root.dataset.theme);
  });
}

setUpTheme();
