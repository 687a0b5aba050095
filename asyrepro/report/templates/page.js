"use strict";
const root = document.documentElement;
root.classList.add("js");

// Theme: the system's, until the button is pressed; ?theme=dark and ?theme=light set it, too.
const themeButton = document.getElementById("theme");
const systemDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches);
const nameTheme = () => { themeButton.textContent = isDark() ? "Light theme" : "Dark theme"; };
const stored = (value) => {
  try { // a page opened from a file may have no storage
    if (value) localStorage.setItem("theme", value);
    return localStorage.getItem("theme");
  } catch { return null; }
};
const wanted = new URLSearchParams(location.search).get("theme") || stored();
if (wanted === "dark" || wanted === "light") root.dataset.theme = wanted;
themeButton.hidden = false;
themeButton.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  stored(root.dataset.theme);
  nameTheme();
});
systemDark.addEventListener("change", nameTheme);
nameTheme();

// Galleries: one picture at a time with its error map, and another one over its left part.
const galleries = [...document.querySelectorAll(".gallery")].map((gallery) => {
  const radios = [...gallery.querySelectorAll("input[type=radio]")];
  const stage = gallery.querySelector(".stage");
  const views = [...stage.querySelectorAll(".view")];
  const errors = [...gallery.querySelectorAll(".errors .view")];
  const other = gallery.querySelector("select");
  const slider = gallery.querySelector("input[type=range]");
  const sides = gallery.querySelector("output");

  const show = () => {
    const chosen = radios.findIndex((radio) => radio.checked);
    const at = Number(slider.value);
    stage.style.setProperty("--at", at + "%");
    stage.classList.toggle("whole", at === 0 || at === 100);
    views.forEach((view, k) => {
      view.classList.toggle("shown", k === chosen);
      view.classList.toggle("other", k === Number(other.value) && k !== chosen && at > 0);
    });
    errors.forEach((view, k) => view.classList.toggle("shown", k === chosen));
    const title = (k) => other.options[k].text;
    const both = at > 0 && at < 100 && chosen !== Number(other.value);
    sides.value = both ? `Left: ${title(other.value)}, right: ${title(chosen)}` : "";
  };
  const choose = (k) => {
    const radio = radios[(k + radios.length) % radios.length];
    radio.checked = true;
    if (radios.includes(document.activeElement)) radio.focus({ preventScroll: true });
    show();
  };
  for (const control of [...radios, other, slider]) control.addEventListener("input", show);

  const drag = (event) => {
    const box = stage.getBoundingClientRect();
    slider.value = (100 * (event.clientX - box.left)) / box.width;
    show();
  };
  stage.addEventListener("pointermove", (event) => { if (event.buttons & 1) drag(event); });
  stage.addEventListener("dragstart", (event) => event.preventDefault());
  show();
  return { gallery, stage, radios, choose };
});

// Keys act on the gallery that has the focus, digits else on the one that fills most of the window.
const inView = () => {
  const seen = galleries.map(({ gallery }) => {
    const box = gallery.getBoundingClientRect();
    return Math.min(box.bottom, innerHeight) - Math.max(box.top, 0);
  });
  const most = Math.max(0, ...seen);
  return most > 0 ? galleries[seen.indexOf(most)] : null;
};
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.tagName === "SELECT") return;
  const number = event.key.length === 1 ? "123456789".indexOf(event.key) : -1;
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const one = galleries.find(({ gallery }) => gallery.contains(event.target)) || inView();
  if (!one) return;
  const { stage, radios, choose } = one;
  if (number >= 0 && number < radios.length) choose(number);
  else if (step && event.target === stage) choose(radios.findIndex((r) => r.checked) + step);
  else return;
  event.preventDefault();
});

// Print shows what is folded away, too.
let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open], .quote)")];
  folded.forEach((details) => { details.open = true; });
});
addEventListener("afterprint", () => folded.forEach((details) => { details.open = false; }));
