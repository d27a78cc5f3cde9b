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

const HOLDS = ["offline", "disk"]; // what an upload waits for to be mended, and goes on then

/** A file, or a recording that still grows, on its way to the server; goes on where it was held up. */
export class Upload {
  /** onprogress(sent, size); onhold(error): why it waits just now, null when it goes on. */
  constructor(kind, name, { size = null, onprogress = () => {}, onhold = () => {} } = {}) {
    Object.assign(this, { kind, name, size, onprogress, onhold, parts: [], sent: 0, ended: false, stopped: false });
  }

  /** A file on its way, once it is run; one that was sent in part before goes on. */
  static of(kind, file, calls = {}) {
    const upload = new Upload(kind, file.name, { size: file.size, ...calls });
    upload.memory = `upload ${kind} ${file.name} ${file.size} ${file.lastModified}`;
    upload.push(file);
    upload.end();
    return upload;
  }

  static file(kind, file, calls) {
    return Upload.of(kind, file, calls).run();
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

  /** Send all there is; resolves to the upload's id, or to null when it was stopped. */
  async run() {
    await this.insist(() => this.begin());
    while (!this.stopped) {
      const all = this.whole?.size ?? 0;
      if (this.sent < all) await this.insist(() => this.sendPiece());
      else if (this.ended) break;
      else await wait(100);
    }
    if (this.stopped) return null;
    await this.insist(() => post(`/api/uploads/${this.id}/finish`));
    if (this.memory) localStorage.removeItem(this.memory);
    return this.id;
  }

  /** Try again while the studio is away or the disk is full. */
  async insist(act) {
    for (;;) {
      try {
        await act();
        if (this.held) this.onhold(null);
        this.held = null;
        return;
      } catch (error) {
        if (!HOLDS.includes(error.code) || this.stopped) throw error;
        if (this.held !== error.code) this.onhold(error);
        this.held = error.code;
        await wait(1000);
      }
    }
  }

  async begin() {
    const before = this.memory && localStorage.getItem(this.memory);
    if (before) {
      const state = await get(`/api/uploads/${before}`).catch((error) => { if (error.code === "offline") throw error; });
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
      else throw error; // what came of the piece before is told by the next answer, as an offset
    }
    this.onprogress(this.sent, this.size);
  }
}

/** What is in a file that has come, once it was looked at; null when nobody waits any more. Throws why it is of no use. */
export async function checked(id, isOver = () => false) {
  while (!isOver()) {
    try {
      const found = await get(`/api/uploads/${id}/check`);
      if (found.error) throw new Refused(found, 200);
      if (found.checked) return found;
    } catch (error) {
      if (error.code !== "offline") throw error;
    }
    await wait(600);
  }
  return null;
}
