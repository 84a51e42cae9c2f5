// Sorts a table by a column: down, up, then as it was. Empty cells stay last; each body by itself.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  const bodies = [...table.tBodies].map((body) => [body, [...body.rows]]);

  const value = (row, column) => {
    const cell = row.cells[column];
    if (!cell) return null; // a line across the table, which stays on top
    if (cell.classList.contains("num")) return Number.parseFloat(cell.dataset.value);
    return cell.textContent.trim().toLowerCase();
  };

  const compare = (column, direction) => (a, b) => {
    const [x, y] = [value(a, column), value(b, column)];
    if (x === null || y === null) return (y === null) - (x === null);
    if (typeof x === "string") return direction * x.localeCompare(y);
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
    return direction * (x - y);
  };

  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const numeric = head.classList.contains("num");
      const order = numeric ? ["descending", "ascending", "none"] : ["ascending", "descending", "none"];
      const next = order[(order.indexOf(head.ariaSort ?? "none") + 1) % 3];
      heads.forEach((other) => other.setAttribute("aria-sort", other === head ? next : "none"));
      for (const [body, rows] of bodies) {
        const sign = next === "ascending" ? 1 : -1;
        const sorted = next === "none" ? rows : [...rows].sort(compare(column, sign));
        body.append(...sorted);
      }
    });
  });
}
