// Requests to the studio's own server; uploads that go on after a lost connection.

export class Refused extends Error {
  constructor(answer, status) {
    super(answer.error || `HTTP ${status}`);
    this.code = answer.code;
    this.values = answer.values || {};
    this.status = status;
  }
}

async function send(method, path, body, options = {}) {
  let response;
  try {
    response = await fetch(path, { method, body, credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused({ error: "the studio does not answer", code: "offline" }, 0);
  }
  if (!response.ok) {
    const answer = await response.json().catch(() => ({}));
    throw new Refused(answer, response.status);
  }
  return response;
}

export const get = async (path) => (await send("GET", path)).json();
export const text = async (path) => (await send("GET", path)).text();
export const post = async (path, values = {}) => (await send("POST", path, JSON.stringify(values))).json();
export const remove = async (path) => (await send("DELETE", path)).json();
export const postBlob = async (path, blob) => (await send("POST", path, blob)).json();
export const stream = (path, values, signal) => send("POST", path, JSON.stringify(values), { signal });
export const person = (key, rest = "") => `/api/people/${encodeURIComponent(key)}${rest}`;

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A file, or a recording that still grows, on its way to the server; goes on where a connection was lost. */
export class Upload {
  constructor(kind, name, { size = null, onprogress = () => {} } = {}) {
    Object.assign(this, { kind, name, size, onprogress, parts: [], sent: 0, ended: false, stopped: false });
  }

  /** Send a file; resolves to the upload's id. A file that was sent in part before goes on. */
  static async file(kind, file, onprogress) {
    const upload = new Upload(kind, file.name, { size: file.size, onprogress });
    upload.memory = `upload ${kind} ${file.name} ${file.size} ${file.lastModified}`;
    upload.push(file);
    upload.end();
    return upload.run();
  }

  push(blob) {
    this.parts.push(blob);
    this.whole = new Blob(this.parts);
  }

  end() {
    this.ended = true;
  }

  stop() {
    this.stopped = true;
  }

  async run() {
    await this.begin();
    while (!this.stopped) {
      const all = this.whole?.size ?? 0;
      if (this.sent < all) await this.sendPiece();
      else if (this.ended) break;
      else await wait(100);
    }
    if (this.stopped) return null;
    await post(`/api/uploads/${this.id}/finish`);
    if (this.memory) localStorage.removeItem(this.memory);
    return this.id;
  }

  async begin() {
    const before = this.memory && localStorage.getItem(this.memory);
    if (before) {
      const state = await get(`/api/uploads/${before}`).catch(() => null);
      if (state && !state.whole) {
        Object.assign(this, { id: before, piece: 4e6, sent: state.received });
        return;
      }
    }
    const state = await post("/api/uploads", { kind: this.kind, name: this.name, size: this.size });
    Object.assign(this, { id: state.id, piece: state.piece });
    if (this.memory) localStorage.setItem(this.memory, this.id);
  }

  async sendPiece() {
    const piece = this.whole.slice(this.sent, this.sent + this.piece);
    try {
      const response = await send("PATCH", `/api/uploads/${this.id}?offset=${this.sent}`, piece);
      this.sent = (await response.json()).received;
    } catch (error) {
      if (error.code === "offset") this.sent = error.values.received;
      else if (error.code === "offline") {
        await wait(1000);
        const state = await get(`/api/uploads/${this.id}`).catch(() => null);
        if (state) this.sent = state.received;
      } else throw error;
    }
    this.onprogress(this.sent, this.size);
  }
}

/** What is in a file that has come, once it was looked at. */
export async function checked(id, isOver = () => false) {
  while (!isOver()) {
    try {
      const found = await get(`/api/uploads/${id}/check`);
      if (found.checked) return found;
    } catch (error) {
      if (error.code !== "offline") throw error;
    }
    await wait(600);
  }
  return null;
}
