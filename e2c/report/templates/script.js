"use strict";

// Films play by themselves, but not for who asked for less motion.
if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
  for (const film of document.querySelectorAll("video")) {
    film.pause();
  }
}

// The chosen episode is marked in the table and in both drawings, and told in words.
const table = document.querySelector("table.rows");

function tell(row) {
  const names = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
  const values = [...row.cells].map((cell) => cell.textContent.trim());
  document.getElementById("told").textContent =
    names.map((name, column) => `${name} ${values[column]}`).join(" · ");
}

function choose(episode) {
  for (const part of document.querySelectorAll("[data-episode]")) {
    const chosen = part.dataset.episode === episode;
    part.classList.toggle("chosen", chosen);
    if (chosen && part instanceof SVGElement) part.parentNode.append(part);
    if (chosen && part.matches("tr")) {
      part.querySelector("input").checked = true;
      tell(part);
    }
  }
}

function nearest(parts, event) {
  const distance = (part) => {
    const box = part.getBoundingClientRect();
    return Math.hypot(
      box.x + box.width / 2 - event.clientX, box.y + box.height / 2 - event.clientY);
  };
  return parts.reduce((best, part) => (distance(part) < distance(best) ? part : best));
}

// The arrow keys of the table's radio buttons click, too.
if (table) {
  for (const part of document.querySelectorAll(".plane [data-episode], tr[data-episode]")) {
    part.addEventListener("click", () => choose(part.dataset.episode));
  }
  const map = document.querySelector(".map svg");
  map?.addEventListener("click", (event) => {
    choose(nearest([...map.querySelectorAll("[data-episode]")], event).dataset.episode);
  });
  choose(table.querySelector("input:checked").value);
}

// Commands can be copied with one press where the browser allows it.
if (navigator.clipboard) {
  for (const block of document.querySelectorAll("pre")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(block.querySelector("code").textContent);
      button.textContent = "Copied";
    });
    block.append(button);
  }
}
