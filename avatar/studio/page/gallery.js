// A person's films: what is being made, what is there, played, downloaded, deleted, made again.
import { get, person, remove } from "./api.js";
import { ask, button, bytes, clock, doing, fill, h, icon } from "./dom.js";
import { actionsOf, isActive, progressOf, reasonOf, titleOf } from "./jobs.js";
import { t } from "./texts.js";

export class Gallery {
  /** slides: whether films of decks are shown, or all others; onagain(film): takes over a film's settings. */
  constructor(frame, one, { slides, onagain }) {
    Object.assign(this, { frame, one, slides, onagain, kinds: slides ? ["present"] : ["speak", "dub", "say"] });
    this.list = h("ul.films");
    this.element = h("section.gallery", {}, h("h2", {}, t("films")), this.list);
    frame.watch((queue) => this.draw(queue));
  }

  show() {
    this.list.scrollIntoView({ behavior: "smooth", block: "nearest" });
  }

  get films() {
    return this.one.films.filter((film) => (film.job?.kind === "present") === this.slides);
  }

  async draw(queue) {
    const jobs = queue.jobs.filter((job) => job.person === this.one.key && this.kinds.includes(job.kind));
    const ids = jobs.map((job) => job.id).join();
    if (this.ids !== undefined && this.ids !== ids) {
      const now = await get(person(this.one.key)).catch(() => this.one);
      this.one.films = now.films;
    }
    const key = `${jobs.map((job) => job.id + job.state + job.reason).join()} ${this.films.map((film) => film.url).join()}`;
    if (key === this.key) {
      for (const job of jobs.filter(isActive)) {
        this.list.querySelector(`[data-job="${CSS.escape(job.id)}"] .progress, [data-job="${CSS.escape(job.id)}"] p.quiet`)?.replaceWith(progressOf(job));
      }
    } else {
      fill(this.list, jobs.map((job) => this.pending(job)), this.films.map((film) => this.film(film)),
        !jobs.length && !this.films.length && h("li.quiet", {}, t("no-films")));
    }
    this.ids = ids;
    this.key = key;
  }

  pending(job) {
    return h(`li.card.pending.${job.state}`, { "data-job": job.id }, h("h3", {}, titleOf(job)),
      isActive(job) ? progressOf(job) : h("p.problem", { role: "alert" }, reasonOf(job)), actionsOf(job, this.frame));
  }

  film(film) {
    const name = film.name.replace(/\.[^.]+$/, "");
    const command = film.command && h("details.command", {}, h("summary", {}, icon("terminal"), t("command")),
      h("pre", { tabindex: "0" }, `cd ${this.frame.about.folder}\n${film.command}`));
    const shown = film.captions.find((url) => url.endsWith(".vtt"));
    const video = h(`video${film.job?.kind === "present" ? ".wide-film" : ""}`,
      { src: film.url, controls: true, preload: "metadata", playsInline: true, "aria-label": name },
      shown && h("track", { kind: "captions", src: shown, label: t("captions"), srclang: film.job?.language?.slice(0, 2) || "en" }));
    return h("li.card.film-card", {},
      video,
      h("h3", {}, name), h("p.quiet", {}, `${bytes(film.bytes)} · ${new Date(film.made * 1000).toLocaleString()}`),
      h("div.row", {},
        h("a.button.plain", { href: `${film.url}&download`, download: film.name }, icon("download"), h("span", {}, t("download"))),
        film.captions.map((url) => h("a.button.plain", { href: `${url}?download`, download: decodeURIComponent(url.split("/").pop()) },
          icon("download"), h("span", {}, `${t("captions")} .${url.split(".").pop()}`))),
        film.job && button(t("make-again"), () => this.onagain(film), { sign: "again" }),
        button(t("delete"), doing(() => this.delete(film)), { sign: "trash", "aria-label": t("delete-file", { name: film.name }) })),
      film.job?.kind === "present" && this.chapters(film, video),
      command);
  }

  /** Chapters of a film of slides, found when they are asked for; a click goes to one. */
  chapters(film, video) {
    const list = h("ol.chapters");
    return h("details.command", { ontoggle: doing(async () => {
      if (list.children.length) return;
      const { chapters } = await get(person(this.one.key, `/chapters/${encodeURIComponent(film.name)}`));
      fill(list, chapters.map((one) => h("li", {}, button(`${clock(one.start)}  ${one.title}`, () => {
        video.currentTime = one.start;
        video.play().catch(() => {});
      }, { kind: "link" }))));
    }) }, h("summary", {}, t("chapters")), list);
  }

  async delete(film) {
    if (!await ask(t("delete-file", { name: film.name }), t("delete-file-detail"), t("delete"))) return;
    await remove(person(this.one.key, `/films/${encodeURIComponent(film.name)}`));
    this.one.films = this.one.films.filter((one) => one !== film);
    await this.draw(this.frame.queue);
  }
}
