// The grid: a changed filter is a new address.

import "./cards.js";

const form = document.getElementById("view");
document.getElementById("apply").hidden = true;

function apply() {
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(form)) {
    if (value !== "" && !(name === "sort" && value === "order")) query.append(name, value);
  }
  const text = query.toString();
  location.assign(text ? `/?${text}` : "/");
}

form.addEventListener("change", (event) => { if (event.target.name !== "q") apply(); });
form.addEventListener("submit", (event) => { event.preventDefault(); apply(); });
form.querySelector("[name=q]").addEventListener("search", (event) => { if (event.target.value === "") apply(); });

const opener = document.querySelector(".filters-open");
opener.addEventListener("click", () => {
  const open = document.querySelector(".filters-side").classList.toggle("open");
  opener.setAttribute("aria-expanded", String(open));
});
