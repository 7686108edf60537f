"use strict";
// Sorting, filtering and the theme, for every page. Pages of their own listen to "refilter" on the document.
(() => {
  const root = document.documentElement;
  const filter = document.getElementById("filter");
  const weights = document.getElementById("weights");
  const hazardous = document.getElementById("hazardous");
  const theme = document.getElementById("theme");

  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const nameTheme = () => {
    theme.textContent = dark() ? "Light" : "Dark";
    theme.setAttribute("aria-pressed", String(dark()));
  };
  theme.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; nameTheme(); });
  nameTheme();

  const key = (row, index) => {
    const cell = row.cells[index];
    if (cell.dataset.v !== undefined) return Number(cell.dataset.v);
    const text = cell.textContent;
    return text === "–" || text === "" ? null : text;
  };
  // Decibels and percentages stand in words; compared as text with their numbers read, "9%" comes before "10%".
  const words = new Intl.Collator(undefined, { numeric: true });
  const compare = (a, b) => typeof a === "number" && typeof b === "number" ? a - b : words.compare(String(a), String(b));

  const sort = (table, index) => {
    const head = table.tHead.rows[0].cells[index];
    const numeric = head.classList.contains("n");
    const now = head.getAttribute("aria-sort");
    const descending = now ? now === "ascending" : numeric;
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const body = table.tBodies[0];
    const rows = Array.from(body.rows, (row) => [key(row, index), row]);
    rows.sort(([a], [b]) => a === null || b === null ? (a === null) - (b === null) : descending ? compare(b, a) : compare(a, b));
    body.append(...rows.map(([, row]) => row));
  };

  const refilter = () => {
    const wanted = filter.value.trim().toLowerCase();
    let shown = 0;
    for (const table of document.querySelectorAll("table")) {
      const titles = Array.from(table.tHead.rows[0].cells, (cell) => cell.textContent);
      const form = titles.indexOf("weights"), fp16 = titles.indexOf("in fp16");
      for (const row of table.tBodies[0].rows) {
        const named = !wanted || Array.from(row.cells).some((cell) => cell.dataset.v === undefined && cell.textContent.toLowerCase().includes(wanted));
        const formed = !weights || !weights.value || row.cells[form].textContent === weights.value;
        const judged = !hazardous || !hazardous.checked || row.cells[fp16].querySelector(".warn, .bad") !== null;
        row.hidden = !(named && formed && judged);
        shown += !row.hidden;
      }
    }
    document.getElementById("none").hidden = shown > 0;
    const detail = { wanted, form: weights ? weights.value : "", hazardous: Boolean(hazardous && hazardous.checked) };
    document.dispatchEvent(new CustomEvent("refilter", { detail }));
  };

  for (const table of document.querySelectorAll("table")) {
    table.tHead.addEventListener("click", (event) => {
      const head = event.target.closest("th");
      if (head) sort(table, head.cellIndex);
    });
  }
  filter.addEventListener("input", refilter);
  for (const control of [weights, hazardous]) if (control) control.addEventListener("change", refilter);
})();
