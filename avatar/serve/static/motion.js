// Draws an avatar here, from the motion that a session sends: scripts of /viewer, and the avatar's drawing file.

const SCRIPTS = ["drawing_file", "motion", "light", "splats", "assembler", "blending", "painter", "webgl", "worker", "engines", "view"];

// Plain scripts: their names are those of the page, and workers load them, too.
function load(server, name) {
  const id = `script-${name}`;
  if (document.getElementById(id)) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const script = Object.assign(document.createElement("script"), { id, src: new URL(`viewer/${name}.js`, server) });
    script.onload = resolve;
    script.onerror = () => reject(new Error(`${name}.js cannot be loaded`));
    document.head.append(script);
  });
}

// A view of a canvas that nothing was drawn into yet. ask: fetches a path of the server.
export async function openView(server, ask, path, canvas) {
  for (const name of SCRIPTS) await load(server, name);
  const answer = await ask(path);
  if (!answer.ok) throw new Error((await answer.json()).error);
  return new AvatarView(canvas, await readDrawing(await answer.arrayBuffer()), "auto");
}

// A message of the motion stream (docs/formats.md): its frame, the sound, and what the view draws.
export function readMotion(data) {
  const view = new DataView(data), stop = data.byteLength - 2 * view.getUint16(2, true);
  return {
    index: view.getUint32(4, true),
    pcm: new Int16Array(data.slice(stop)),
    values: new Float32Array(data.slice(16, stop)),
  };
}
