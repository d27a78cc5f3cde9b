// The queue: what runs, what waits, what failed and why; also what `avatar batch` does in this folder.
import { post } from "./api.js";
import { bar, button, doing, fill, h } from "./dom.js";
import { JobList } from "./jobs.js";
import { t } from "./texts.js";

export async function queuePage(frame) {
  const list = new JobList(frame);
  const note = h("p.notice", { role: "status", hidden: true });
  const empty = h("p.quiet");
  const other = h("div");
  frame.watch((queue) => {
    note.hidden = !queue.note && !queue.elsewhere;
    note.textContent = queue.elsewhere ? t("elsewhere") : queue.note;
    empty.textContent = queue.jobs.length ? "" : t("queue-empty");
    list.update(queue.jobs);
    fill(other, queue.other.map(batch));
  });
  return { title: t("queue"), element: h("section.queue", {}, h("h1", {}, t("queue")), note, empty, list.element, other) };
}

function batch(one) {
  const counts = {};
  for (const job of one.jobs) counts[job.state] = (counts[job.state] || 0) + 1;
  const words = Object.entries(counts).map(([state, n]) => `${n} ${t(`states.${state}`)}`).join(", ");
  return h("section.card.batch", {}, h("h2", {}, t("batch", { name: one.name })), h("p.quiet", {}, words),
    h("ul.plain", {}, one.jobs.filter((job) => job.state !== "done").map((job) =>
      h("li.row", {}, h("span.grow", {}, job.id, h("small", {}, ` ${t(`states.${job.state}`)}${job.reason ? `: ${job.reason}` : ""}`)),
        job.total > 0 && bar(job.done / job.total, job.id),
        one.running && ["running", "waiting"].includes(job.state) && button(t("cancel-job"),
          doing(() => post(`/api/batches/${encodeURIComponent(one.name)}/cancel`, { id: job.id })))))));
}
