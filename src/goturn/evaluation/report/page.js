"use strict";
// Conveniences alone: without this script tables keep their order, and videos open one by one.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const numeric = head.dataset.kind === "number";
      const before = head.getAttribute("aria-sort");
      const up = before ? before === "descending" : !numeric;
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const compare = (a, b) => {
        if (!numeric) return key(a).localeCompare(key(b)) * (up ? 1 : -1);
        const [x, y] = [key(a), key(b)];
        if (x === "" || y === "") return (x === "") - (y === "");
        return (x - y) * (up ? 1 : -1);
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
}

for (const section of document.querySelectorAll("section.videos")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "all";
  const videos = [...section.querySelectorAll("details.video")];
  const name = () => {
    button.textContent = videos.every((video) => video.open) ? "Close all" : "Open all";
  };
  button.addEventListener("click", () => {
    const open = !videos.every((video) => video.open);
    videos.forEach((video) => { video.open = open; });
    name();
  });
  section.addEventListener("toggle", name, true);
  name();
  section.querySelector(".legend").after(button);
}
