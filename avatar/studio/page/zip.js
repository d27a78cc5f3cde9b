// A folder, or several files, as one .zip that is not compressed: what belongs to a deck is sent together.

const CRC = Uint32Array.from({ length: 256 }, (_, number) => {
  let found = number;
  for (let bit = 0; bit < 8; bit += 1) found = found & 1 ? 0xedb88320 ^ (found >>> 1) : found >>> 1;
  return found;
});
const UTF8 = 0x0800; // a part's flag: its name is written so
const DAY = 0x21; // 1 January 1980: when a file was changed says nothing here

function checksum(bytes) {
  let found = 0xffffffff;
  for (const byte of bytes) found = CRC[(found ^ byte) & 255] ^ (found >>> 8);
  return (found ^ 0xffffffff) >>> 0;
}

/** Numbers of [bytes, value] after one another, the lowest byte first. */
function record(...fields) {
  const view = new DataView(new ArrayBuffer(fields.reduce((sum, [size]) => sum + size, 0)));
  let at = 0;
  for (const [size, value] of fields) {
    if (size === 4) view.setUint32(at, value, true);
    else view.setUint16(at, value, true);
    at += size;
  }
  return view.buffer;
}

/** Files as an archive of a name; folders that the browser knows of stay. */
export async function pack(files, name) {
  const parts = [], directory = [];
  let offset = 0, listed = 0;
  for (const file of files) {
    const path = new TextEncoder().encode(file.webkitRelativePath || file.name);
    const sum = checksum(new Uint8Array(await file.arrayBuffer()));
    const about = [[2, 20], [2, UTF8], [2, 0], [2, 0], [2, DAY], [4, sum], [4, file.size], [4, file.size], [2, path.length], [2, 0]];
    const head = record([4, 0x04034b50], ...about);
    const entry = record([4, 0x02014b50], [2, 20], ...about, [2, 0], [2, 0], [2, 0], [4, 0], [4, offset]);
    parts.push(head, path, file);
    directory.push(entry, path);
    offset += head.byteLength + path.length + file.size;
    listed += entry.byteLength + path.length;
  }
  const end = record([4, 0x06054b50], [2, 0], [2, 0], [2, files.length], [2, files.length], [4, listed], [4, offset], [2, 0]);
  const lastModified = Math.max(0, ...files.map((file) => file.lastModified)); // the same files are the same archive
  return new File([...parts, ...directory, end], `${name}.zip`, { type: "application/zip", lastModified });
}
