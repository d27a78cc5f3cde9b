// Where a film is from: the signed manifest and the invisible mark, as `avatar verify` reads them.
import { Upload, post } from "./api.js";
import { bar, button, droppable, explain, fill, h, icon, pickFile } from "./dom.js";
import { t } from "./texts.js";

export async function verifyPage() {
  const result = h("div.result", { "aria-live": "polite" });
  const look = async (file) => {
    fill(result, h("p.busy", {}, t("verifying", { name: file.name })), bar(null, t("verifying", { name: file.name })));
    try {
      const id = await Upload.file("verify", file);
      fill(result, finding(await post("/api/verify", { upload: id })));
    } catch (error) {
      fill(result, h("p.problem", { role: "alert" }, explain(error)));
    }
  };
  const file = pickFile("video/*,image/*,audio/*", look);
  return {
    title: t("verify"),
    element: h("section.verify", {}, h("h1", {}, t("verify-title")), h("p.lead", {}, t("verify-lead")),
      droppable(h("div.drop", {}, h("div.choices", {}, h("button.choice", { type: "button", onclick: () => file.click() },
        icon("shield"), h("strong", {}, t("verify-choose")), h("span", {}, t("verify-hint")))), file), look), result),
  };
}

function finding(found) {
  const { manifest, mark } = found;
  const made = found.layer !== "none";
  const rows = [
    [t("manifest"), `${t(`manifests.${manifest.state}`) || manifest.state}${manifest.by ? ` · ${manifest.by}` : ""}${manifest.why ? ` (${manifest.why})` : ""}`],
    [t("mark"), mark ? t("mark-found", { number: mark.number, start: mark.start, confidence: mark.confidence.toFixed(1) }) : t("mark-none")],
    ...found.log.slice(0, 1).map((one) => [t("made-here"), `${one.made} · ${one.file}`]),
  ];
  return h("div.card", {}, h(`p.grade.${made ? "good" : "fair"}`, {}, icon("shield"), t(made ? "generated" : "nothing-found")),
    h("p.quiet", {}, t(made ? "generated-hint" : "nothing-found-hint")),
    h("dl.facts", {}, rows.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])));
}
