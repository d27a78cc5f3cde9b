// One person: being built, then speaking; their figures; and all that is known and kept of them.
import { get, person, post, remove } from "./api.js";
import { ask, button, bytes, doing, fill, h, icon, say } from "./dom.js";
import { actionsOf, isActive, progressOf, reasonOf } from "./jobs.js";
import { slidesView } from "./slides.js";
import { speakView } from "./speak.js";
import { t } from "./texts.js";

const tabsOf = (frame, one) => ["speak", ...(one.avatars.length ? ["slides"] : []), ...(frame.about.talk && one.avatars.length ? ["talk"] : []),
  "measure", "about"];

export async function personPage(frame, key, tab) {
  const one = await get(person(key));
  const link = (name) => h("a", { href: `#/p/${encodeURIComponent(key)}${name === "speak" ? "" : `/${name}`}`,
    "aria-current": name === tab ? "page" : null }, t(`tabs.${name}`));
  const body = h("div.tab");
  const element = h("section.one", {},
    h("div.title", {}, one.poster && h("img.face", { src: one.poster, alt: "" }), h("h1", {}, one.name),
      h("nav.tabs", { "aria-label": one.name }, tabsOf(frame, one).map(link))), body);
  const view = tab === "slides" ? await slidesView(frame, one) : tab === "talk" ? talkView(one) : tab === "measure" ? await measureView(frame, one) : tab === "about" ? aboutView(frame, one) : await firstView(frame, one);
  fill(body, view.element);
  return { title: one.name, element, leave: () => view.leave?.() };
}

/** Speaking, where there is an avatar; else its build, which becomes speaking when it is done. */
async function firstView(frame, one) {
  if (one.avatars.length) return speakView(frame, one);
  const view = { element: h("div.building") };
  let left = false;
  let shown = null;
  view.leave = () => { left = true; };
  frame.watch(async (queue) => {
    if (left) return;
    const job = queue.jobs.find((job) => job.person === one.key && job.kind === "build");
    if (job) {
      shown = drawBuild(view.element, job, shown, frame);
      return;
    }
    const now = await get(person(one.key)).catch(() => null);
    if (left || !now) return;
    if (now.avatars.length) {
      left = true;
      say(t("built", { name: now.name }), "good");
      frame.redraw(); // with the pages that only who can speak has
    } else if (!view.element.children.length || shown) {
      shown = null;
      fill(view.element, notBuilt(frame, now));
    }
  });
  return view;
}

function notBuilt(frame, one) {
  return h("div.empty", {}, h("h2", {}, t("not-built")), h("p", {}, t(one.clip ? "not-built-hint" : "no-clip-hint")),
    one.clip && h("div.row", {}, ["quick", "good", "best"].map((quality) => button(t(`build-as.${quality}`),
      doing(() => post(person(one.key, "/build"), { quality })), { kind: quality === "good" ? "primary" : "" }))));
}

const STAGES = ["track", "fit", "train"];

function drawBuild(place, job, shown, frame) {
  if (shown?.state === job.state && shown.id === job.id && isActive(job)) {
    shown.progress.replaceWith(shown.progress = progressOf(job));
    drawStages(shown.stages, job);
    drawPicture(shown, job);
    return shown;
  }
  const next = { id: job.id, state: job.state, progress: isActive(job) ? progressOf(job) : h("p.problem", { role: "alert" }, reasonOf(job)),
    stages: h("ol.stages"), picture: h("div.truth") };
  drawStages(next.stages, job);
  drawPicture(next, job);
  fill(place,
    h("div.halves", {}, (isActive(job) || job.picture) && next.picture,
      h("div.card", {}, h("h2", {}, t(isActive(job) ? "building" : "build-failed")), isActive(job) && next.stages, next.progress,
        isActive(job) && h("p.quiet", {}, t("may-close")), actionsOf(job, frame))));
  return next;
}

function drawStages(place, job) {
  const at = STAGES.indexOf(job.stage);
  fill(place, STAGES.map((one, number) => h(`li${number < at ? ".done" : number === at ? ".now" : ""}`,
    { "aria-current": number === at ? "step" : null }, t(`stages.${one}`))));
}

function drawPicture(shown, job) {
  if (!job.picture) {
    if (!shown.picture.children.length) fill(shown.picture, h("div.waiting"), h("p.quiet", {}, t("picture-soon")));
    return;
  }
  if (shown.url === job.picture) return;
  shown.url = job.picture;
  const next = new Image();
  next.alt = t("truth-alt");
  next.addEventListener("load", () => fill(shown.picture, h("div.pair", {}, next),
    h("div.captions", { "aria-hidden": "true" }, h("span", {}, t("truth")), h("span", {}, t("prediction")))));
  next.src = job.picture;
}

/** The live page runs beside the studio, at an address of its own on this machine, and is shown in a frame. */
function talkView(one) {
  const place = h("div.row", { "aria-live": "polite" });
  const start = button(t("talk-start"), doing(async () => {
    fill(place, h("p.busy", {}, t("talk-starting")));
    try {
      const { url } = await post(person(one.key, "/talk"));
      fill(element, h("iframe.live", { src: url, title: t("talk-title", { name: one.name }), allow: "microphone; autoplay" }),
        h("p.quiet", {}, h("a", { href: url, target: "_blank", rel: "noopener" }, t("talk-open"))));
      element.className = "talking";
    } catch (error) {
      fill(place, start);
      throw error;
    }
  }), { kind: "primary", sign: "mic" });
  fill(place, start);
  const element = h("div.empty", {}, h("h2", {}, t("talk-title", { name: one.name })), h("p.lead", {}, t("talk-lead")), place);
  return { element };
}

async function measureView(frame, one) {
  const element = h("div.measure");
  let report = one.evaluation;
  let running = false;
  const draw = (job) => fill(element,
    job ? h("div.card", {}, h("h2", {}, t("measuring")), isActive(job) ? progressOf(job) : h("p.problem", { role: "alert" }, reasonOf(job)),
      actionsOf(job, frame))
      : h("div.row.spread", {}, h("p.lead", {}, t("measure-lead")),
        one.avatars.length > 0 && button(t(report ? "measure-again" : "measure"), doing(() => post(person(one.key, "/evaluation"))),
          { kind: "primary" })),
    !one.avatars.length && h("p.quiet", {}, t("no-avatar-yet")),
    report && h("iframe.report", { src: report, title: t("tabs.measure"), sandbox: "" }));
  frame.watch(async (queue) => {
    const job = queue.jobs.find((job) => job.person === one.key && job.kind === "evaluate");
    if (!job && running) report = (await get(person(one.key))).evaluation;
    if (job || running || !element.children.length) draw(job);
    running = !!job;
  });
  return { element };
}

function aboutView(frame, one) {
  const kept = (kind, list) => list.map((file) => h("li.row", {}, h("span.grow", {}, file.name, h("small", {}, ` ${bytes(file.bytes)}`)),
    h("a.button.plain", { href: `${file.url}?download`, download: file.name }, icon("download"), h("span", {}, t("download"))),
    button(t("delete"), doing(async () => {
      if (await ask(t("delete-file", { name: file.name }), t("delete-file-detail"), t("delete"))) {
        await remove(person(one.key, `/${kind}/${encodeURIComponent(file.name)}`));
        frame.redraw();
      }
    }), { sign: "trash", "aria-label": t("delete-file", { name: file.name }) })));
  return {
    element: h("div.about", {},
      h("section.card", {}, h("h2", {}, t("consent")), consentOf(one)),
      h("section.card", {}, h("h2", {}, t("avatars")), h("ul.plain", {}, kept("avatars", one.avatars)),
        one.clip && h("div.row", {}, ["quick", "good", "best"].map((quality) => button(t(`build-as.${quality}`), doing(async () => {
          await post(person(one.key, "/build"), { quality });
          frame.go("#/queue");
        }))))),
      one.clip && h("section.card", {}, h("h2", {}, t("clip")), h("video", { src: one.clip.url, controls: true, preload: "metadata" }),
        h("p.quiet", {}, bytes(one.clip.bytes))),
      one.report && h("section.card.wide", {}, h("h2", {}, t("clip-report")), h("iframe.report", { src: one.report, title: t("clip-report"), sandbox: "" })),
      h("section.card.danger", {}, h("h2", {}, t("delete-person", { name: one.name })),
        h("p", {}, t("delete-person-detail", { size: bytes(one.bytes), folder: one.folder })),
        button(t("delete-everything"), doing(async () => {
          if (await ask(t("delete-person", { name: one.name }), t("delete-person-detail", { size: bytes(one.bytes), folder: one.folder }), t("delete-everything"))) {
            await remove(person(one.key));
            say(t("deleted", { name: one.name }));
            frame.go("#/");
          }
        }), { sign: "trash", kind: "danger" }))),
  };
}

function consentOf(one) {
  const record = one.consent;
  if (!record.subject) return h("p.quiet", {}, t("no-consent"));
  const rows = ["kind", "subject", "attested_by", "date", "uses", "expires", "revocation_contact"].filter((name) => record[name]?.length || name === "kind");
  return h("dl.facts", {}, rows.map((name) => [h("dt", {}, t(`consent-fields.${name}`)),
    h("dd", {}, name === "kind" ? t(`consent-kinds.${record.kind || "consent"}`) : [].concat(record[name]).join(", "))]));
}
