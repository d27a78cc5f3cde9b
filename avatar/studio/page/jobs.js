// A job of the queue, as it is shown everywhere: what it is, how far, how long, what to do when it fails.
import { post, text } from "./api.js";
import { ask, bar, button, doing, duration, fill, h } from "./dom.js";
import { advice, t } from "./texts.js";

export const isActive = (job) => job.state === "waiting" || job.state === "running";
const path = (job, rest) => `/api/queue/${encodeURIComponent(job.id)}/${rest}`;

/** Words for what a job makes. */
export function titleOf(job) {
  const name = (job.output || job.id).split("/").pop().replace(/\.[^.]+$/, "");
  return t(`kinds.${job.kind}`, { name }) || `${job.kind} ${name}`;
}

/** Stage and time left, with a bar. */
export function progressOf(job) {
  if (job.state === "waiting") return h("p.quiet", {}, t("waiting-turn"));
  const stage = t(`stages.${job.stage}`) || job.stage;
  const left = job.left === null || job.left === undefined ? "" : t("left", { time: duration(job.left) });
  const share = job.total ? job.done / job.total : null;
  return h("div.progress", {}, h("p", {}, h("strong", {}, stage), left && h("span.quiet", {}, ` · ${left}`)), bar(share, stage));
}

/** Buttons of a job that waits, runs or has failed. */
export function actionsOf(job, frame) {
  if (isActive(job)) {
    return h("div.row", {}, button(t("cancel-job"), doing(async () => {
      if (job.state === "waiting" || await ask(t("cancel-question"), t("cancel-detail"), t("cancel-job"))) await post(path(job, "cancel"));
    })));
  }
  const log = h("pre.log", { tabindex: "0", hidden: true });
  const usable = job.kind === "build" && !job.forced && /--force/.test(job.reason);
  return h("div", {},
    h("div.row", {},
      button(t("try-again"), doing(() => post(path(job, "retry"))), { sign: "again" }),
      usable && button(t("build-anyway"), doing(() => post(path(job, "retry"), { force: true }))),
      button(t("show-log"), doing(async () => {
        log.textContent = await text(path(job, "log")) || t("no-log");
        log.hidden = !log.hidden;
      })),
      button(t("dismiss"), doing(() => post(path(job, "cancel"))))),
    log);
}

/** Why a job failed, as a sentence of its own; the flag of the command line is a button here. */
export function reasonOf(job) {
  return advice(job.reason.replace(/, or build all the same with --force/, "").replace(/; see \S+report\.html/, ""));
}

export function jobCard(job, frame) {
  return h(`li.card.job.${job.state}`, {},
    h("div.head", {}, h("h2", {}, titleOf(job)), job.person && h("a", { href: `#/p/${encodeURIComponent(job.person)}` }, job.person)),
    isActive(job) ? progressOf(job) : h("p.problem", { role: "alert" }, reasonOf(job)),
    actionsOf(job, frame));
}

/** Draw a list of jobs again only where something has changed, so that focus and open logs stay. */
export class JobList {
  constructor(frame, kind = "ul.jobs") {
    this.frame = frame;
    this.element = h(kind);
    this.shown = new Map();
  }

  update(jobs) {
    const keys = new Set(jobs.map((job) => job.id));
    for (const [id, one] of this.shown) if (!keys.has(id)) { one.element.remove(); this.shown.delete(id); }
    for (const job of jobs) {
      const before = this.shown.get(job.id);
      if (before?.state === job.state && isActive(job)) {
        before.element.querySelector(".progress, p.quiet")?.replaceWith(progressOf(job));
      } else if (!before || before.state !== job.state || before.reason !== job.reason) {
        const element = jobCard(job, this.frame);
        if (before) before.element.replaceWith(element);
        else this.element.append(element);
        this.shown.set(job.id, { element, state: job.state, reason: job.reason });
      }
    }
  }
}
