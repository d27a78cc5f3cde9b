'use strict';
// WebAssembly from a program in words, so that a page needs neither a build step nor bytes that nobody can read.
// A program is a list (operation argument...), as in WebAssembly's own text format; names are local variables.

const TYPES = {i32: 0x7f, f32: 0x7d, f64: 0x7c, v128: 0x7b};
const OPERATIONS = {
  'i32.add': [0x6a], 'i32.sub': [0x6b], 'i32.mul': [0x6c], 'i32.lt_s': [0x48], 'i32.gt_s': [0x4a], 'i32.le_s': [0x4c],
  'i32.load': [0x28, 2, 0], 'f32.load': [0x2a, 2, 0], 'i32.trunc_sat_f64_s': [0xfc, 2], 'f64.convert_i32_s': [0xb7],
  'f32.convert_i32_s': [0xb2], 'f64.promote_f32': [0xbb], 'f32.demote_f64': [0xb6],
  'f64.add': [0xa0], 'f64.sub': [0xa1], 'f64.mul': [0xa2], 'f64.div': [0xa3], 'f64.neg': [0x9a], 'f64.ceil': [0x9b],
  'f64.floor': [0x9c], 'f64.sqrt': [0x9f], 'f64.ge': [0x66], 'v128.load': [0xfd, 0, 2, 0], 'v128.store': [0xfd, 0x0b, 2, 0],
  'v128.and': [0xfd, 0x4e], 'v128.any_true': [0xfd, 0x53], 'f32x4.splat': [0xfd, 0x13], 'f32x4.gt': [0xfd, 0x44],
  'f32x4.add': [0xfd, 0xe4, 1], 'f32x4.sub': [0xfd, 0xe5, 1], 'f32x4.mul': [0xfd, 0xe6, 1], 'f32x4.pmin': [0xfd, 0xea, 1],
  'f32x4.pmax': [0xfd, 0xeb, 1], 'i32x4.add': [0xfd, 0xae, 1], 'i32x4.shl': [0xfd, 0xab, 1],
};
// what an operation's arguments are, where its name does not begin with it
const TAKEN = {
  'f64.convert_i32_s': 'i32', 'f32.convert_i32_s': 'i32', 'i32.trunc_sat_f64_s': 'f64', 'f32.demote_f64': 'f64',
  'f64.promote_f32': 'f32', 'f32x4.splat': 'f32', 'i32.load': 'i32', 'f32.load': 'i32', 'i32x4.shl': 'i32',
};

/** A number in LEB128, of either sign. */
function signed(value) {
  const low = value & 127, rest = value >> 7;
  return (rest === 0 && !(low & 64)) || (rest === -1 && low & 64) ? [low] : [low | 128, ...signed(rest)];
}

/** One of 0 and more. */
function unsigned(value) {
  return value < 128 ? [value] : [value & 127 | 128, ...unsigned(value >>> 7)];
}

function floats(...values) {
  return [...new Uint8Array(Float32Array.from(values).buffer)];
}

function constant(type, value) {
  if (type === 'i32') return [0x41, ...signed(value)];
  return type === 'f32' ? [0x43, ...floats(value)] : [0x44, ...new Uint8Array(Float64Array.of(value).buffer)];
}

/** The lists of a program's text. */
function parseProgram(text) {
  const lists = [[]];
  for (const word of text.match(/[()]|[^\s()]+/g)) {
    if (word === '(') lists.push([]);
    else if (word === ')') lists.at(-2).push(lists.pop());
    else lists.at(-1).push(word);
  }
  return lists[0];
}

/** Bytes of a list, name or number; names: local variables with their place and type; type: of a number. */
function compile(node, names, type) {
  if (typeof node === 'string') return node in names ? [0x20, ...unsigned(names[node].place)] : constant(type, Number(node));
  const [operation, ...rest] = node, all = (nodes, kind) => nodes.flatMap((one) => compile(one, names, kind));
  if (operation === 'set') return [...compile(rest[1], names, names[rest[0]].type), 0x21, ...unsigned(names[rest[0]].place)];
  if (operation === 'lanes') return [0xfd, 0x0c, ...floats(...rest.map(Number))];
  if (operation === 'if') return [...all([rest[0]]), 0x04, 0x40, ...all(rest.slice(1)), 0x0b];
  // as long as the first argument holds, which is looked at before the first turn, or after it
  if (operation === 'while') return compile(['if', rest[0], ['repeat', ...rest]], names);
  if (operation === 'repeat') return [0x03, 0x40, ...all(rest.slice(1)), ...all([rest[0]]), 0x0d, 0, 0x0b];
  if (!(operation in OPERATIONS)) throw new Error(`the assembler knows no ${operation}`);
  return [...all(rest, TAKEN[operation] || operation.slice(0, 3)), ...OPERATIONS[operation]];
}

/** A module's bytes: one function `run` of i32 parameters over an imported memory; locals: names by type. */
function assemble(parameters, locals, text) {
  const names = {}, kinds = Object.entries(locals).flatMap(([type, all]) => all.map((name) => [name, type]));
  [...parameters.map((name) => [name, 'i32']), ...kinds].forEach(([name, type], place) => { names[name] = {place, type}; });
  const code = parseProgram(text).flatMap((one) => compile(one, names));
  const declared = [kinds.length, ...kinds.flatMap(([, type]) => [1, TYPES[type]])];
  const body = [...declared, ...code, 0x0b], part = (id, bytes) => [id, ...unsigned(bytes.length), ...bytes];
  const word = (letters) => [letters.length, ...new TextEncoder().encode(letters)];
  return Uint8Array.from([
    0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    ...part(1, [1, 0x60, parameters.length, ...parameters.map(() => TYPES.i32), 0]),
    ...part(2, [1, ...word('env'), ...word('memory'), 2, 0, 1]),
    ...part(3, [1, 0]),
    ...part(7, [1, ...word('run'), 0, 0]),
    ...part(10, [1, ...unsigned(body.length), ...body]),
  ]);
}
