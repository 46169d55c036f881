"use strict";
// Light and dark, remembered with the report's choice. Everything else on the page works without script.

const root = document.documentElement;
const button = document.getElementById("theme");
const media = matchMedia("(prefers-color-scheme: dark)");

try {
  const theme = localStorage.getItem("deeptrace-theme");
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
} catch { /* a page from disk may have no storage */ }

button.addEventListener("click", () => {
  const system = media.matches ? "dark" : "light";
  const theme = (root.dataset.theme || system) === "dark" ? "light" : "dark";
  root.dataset.theme = theme;
  try { localStorage.setItem("deeptrace-theme", theme); } catch { /* same */ }
});
button.hidden = false;
