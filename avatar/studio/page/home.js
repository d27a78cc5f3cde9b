// The people of the library; where there is nobody yet, what the studio is for.
import { get } from "./api.js";
import { bytes, duration, h, icon } from "./dom.js";
import { t } from "./texts.js";

export async function home(frame) {
  const found = await get("/api/people");
  if (!found.people.length) return { element: welcome() };
  const cards = found.people.map((one) => [one, h("span.status")]);
  frame.watch((queue) => cards.forEach(([one, place]) => drawStatus(one, place, queue)));
  return {
    title: t("people"),
    element: h("section.people", {},
      h("h1", {}, t("people")),
      h("ul.cards", {},
        h("li", {}, h("a.person.new", { href: "#/new" }, h("span.portrait", {}, icon("plus")), h("strong", {}, t("new-avatar")),
          h("span.status", {}, t("new-avatar-hint")))),
        cards.map(([one, place]) => h("li", {}, card(one, place)))),
      h("p.quiet", {}, t("on-disk", { folder: found.folder, free: bytes(found.free) }))),
  };
}

function card(one, place) {
  return h("a.person", { href: `#/p/${encodeURIComponent(one.key)}` },
    h("span.portrait", {}, one.poster ? h("img", { src: one.poster, alt: "", loading: "lazy" }) : h("span.letter", {}, one.name[0])),
    h("strong", {}, one.name), place);
}

function drawStatus(one, place, queue) {
  const job = queue.jobs.find((job) => job.person === one.key);
  const words = {
    running: () => job.left === null || job.left === undefined ? t("stages.start") : t("left", { time: duration(job.left) }),
    waiting: () => t("waiting"),
  };
  place.textContent = job ? (words[job.state] || (() => t("needs-you")))()
    : one.avatars.length ? t("films-count", { n: one.films }) : t("no-avatar-yet");
  place.classList.toggle("busy", job?.state === "running");
  place.classList.toggle("bad", !!job && !words[job.state]);
}

function welcome() {
  return h("section.welcome", {},
    h("div.words", {},
      h("h1", {}, t("welcome-title")),
      h("p.lead", {}, t("welcome-lead")),
      h("p.row", {}, h("a.button.primary.big", { href: "#/new" }, t("welcome-start"))),
      h("ul.promises", {}, ["here", "quick", "honest"].map((one) => h("li", {}, icon("check"), t(`promises.${one}`))))),
    h("ol.steps", {}, ["film", "look", "build", "speak"].map((one, number) =>
      h("li", {}, h("span.number", {}, String(number + 1)), h("div", {}, h("strong", {}, t(`steps.${one}`)), h("p", {}, t(`steps.${one}-hint`)))))));
}
