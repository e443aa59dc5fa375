"use strict";

function choose(index) {
  const article = document.getElementById("operator-" + index);
  if (!article) return;
  for (const other of document.querySelectorAll("aside > *")) other.hidden = other !== article;
  const place = article.querySelector(".source");
  if (!place.firstChild) {
    const source = document.getElementById("source-" + place.dataset.function);
    place.append(source.content.cloneNode(true));
  }
  for (const one of document.querySelectorAll("[data-operator]")) {
    one.classList.toggle("chosen", one.dataset.operator === String(index));
  }
}

function fromAddress() {
  const match = location.hash.match(/^#operator=(\d+)$/);
  if (match) choose(Number(match[1]));
}

for (const one of document.querySelectorAll("[data-operator]")) {
  const pick = () => { location.hash = "operator=" + one.dataset.operator; };
  one.addEventListener("click", pick);
  one.addEventListener("keydown", (event) => { if (event.key === "Enter") pick(); });
}
window.addEventListener("hashchange", fromAddress);
fromAddress();
