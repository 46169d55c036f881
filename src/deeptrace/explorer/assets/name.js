// The name one works under.

import { data, send } from "./site.js";

const form = document.getElementById("name-form");
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const name = new FormData(form, event.submitter).get("name");
  const { status, value } = await send("/api/name", { name });
  if (status === 200) location.assign(data.next);
  else {
    const problem = document.getElementById("problem");
    problem.textContent = value.error?.message ?? "This name was not taken.";
    problem.hidden = false;
  }
});
