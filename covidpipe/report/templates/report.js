"use strict";
// Sorts, searches and pages the table of images. Cells come formatted; the rows come by falling percentage.
(() => {
  const PAGE = 50;
  const rows = JSON.parse(document.getElementById("image-rows").textContent);
  const table = document.getElementById("image-table");
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const search = document.getElementById("image-search");
  const status = document.getElementById("image-status");
  const previous = document.getElementById("image-previous");
  const next = document.getElementById("image-next");
  const texts = rows.map((row) => row.join(" ").toLowerCase());
  const numeric = heads.map((head) => head.classList.contains("number"));
  let sorted = rows.map((_, i) => i);
  let shown = sorted;
  let start = 0;

  const number = (text) => parseFloat(text.replace(/[<,]/g, ""));

  function compare(column, direction) {
    return (a, b) => {
      const x = rows[a][column], y = rows[b][column];
      if ((x === "–") !== (y === "–")) return x === "–" ? 1 : -1; // what is missing stays at the end
      if (x === y) return a - b;
      const order = numeric[column] ? number(x) - number(y) : x < y ? -1 : 1;
      return direction * order || direction * (b - a);
    };
  }

  function draw() {
    const page = shown.slice(start, start + PAGE);
    body.replaceChildren(...page.map((i) => {
      const line = document.createElement("tr");
      rows[i].forEach((text, column) => {
        const cell = document.createElement("td");
        cell.textContent = text;
        if (numeric[column]) cell.className = "number";
        line.append(cell);
      });
      return line;
    }));
    status.textContent = shown.length
      ? `Rows ${(start + 1).toLocaleString("en")} to ${(start + page.length).toLocaleString("en")} of ` +
        shown.length.toLocaleString("en")
      : "No row has all of these words.";
    previous.disabled = start === 0;
    next.disabled = start + PAGE >= shown.length;
  }

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    shown = words.length ? sorted.filter((i) => words.every((word) => texts[i].includes(word))) : sorted;
    start = 0;
    draw();
  }

  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const was = head.getAttribute("aria-sort");
      const ascending = was ? was === "descending" : !numeric[column];
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      sorted = rows.map((_, i) => i).sort(compare(column, ascending ? 1 : -1));
      filter();
    });
  });
  search.addEventListener("input", filter);
  previous.addEventListener("click", () => { start -= PAGE; draw(); });
  next.addEventListener("click", () => { start += PAGE; draw(); });
  document.getElementById("image-tools").hidden = false;
  draw();
})();
