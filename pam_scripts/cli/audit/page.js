"use strict";
// What the page can do without this: everything but the search, and the counters that switch the filter.
const search = document.getElementById("search");
const found = document.getElementById("found");
const rows = [...document.querySelectorAll("tr.ill, tr.healthy")];
const problems = [...document.querySelectorAll(".problem li")];
const texts = new Map([...rows, ...problems].map((one) => [one, one.textContent.toLowerCase()]));
const folded = new Map([...document.querySelectorAll("details")].map((one) => [one, one.open]));

function show(name) {
  const button = document.getElementById(name);
  if (button) button.checked = true;
}

function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const [one, text] of texts) one.classList.toggle("missed", !words.every((word) => text.includes(word)));
  for (const group of document.querySelectorAll("tbody, .problem"))
    group.classList.toggle("missed", !group.querySelector("tr.ill:not(.missed), tr.healthy:not(.missed), li:not(.missed)"));
  for (const [one, open] of folded) one.open = open || words.length > 0;
  // Whoever searches for a record wants it, healthy or not.
  document.body.classList.toggle("searching", words.length > 0);
  found.textContent = words.length ? `${rows.filter((one) => !one.classList.contains("missed")).length} of ${rows.length}` : "";
}

search.hidden = false;
search.labels[0].hidden = false;
search.addEventListener("input", filter);
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== search) {
    event.preventDefault();
    search.focus();
  } else if (event.key === "Escape" && document.activeElement === search) {
    search.value = "";
    filter();
  }
});
for (const link of document.querySelectorAll("a[data-show]")) link.addEventListener("click", () => show(link.dataset.show));
filter();
