'use strict';
// Splats by WebGL2: back to front into a target of half floats, then over the plate into the canvas.

const TEXELS_ACROSS = 256; // splats in a row of the texture of records

const SPLAT_VERTEX = `#version 300 es
precision highp float;
uniform highp sampler2D records;
uniform float size;
flat out vec3 place; // px, and the natural logarithm of the opacity
flat out vec3 conic;
flat out vec3 color;
void main() {
  int splat = gl_VertexID >> 2;
  vec2 corner = vec2(gl_VertexID & 1, (gl_VertexID >> 1) & 1) * 2.0 - 1.0;
  ivec2 at = ivec2(3 * (splat % ${TEXELS_ACROSS}), splat / ${TEXELS_ACROSS});
  place = texelFetch(records, at, 0).xyz;
  conic = texelFetch(records, at + ivec2(1, 0), 0).xyz;
  color = texelFetch(records, at + ivec2(2, 0), 0).xyz;
  // just round the ellipse: a rectangle along the conic's eigenvectors
  float mean = 0.5 * (conic.x + conic.z), apart = 0.5 * (conic.x - conic.z), mixed = 0.5 * conic.y;
  float root = sqrt(apart * apart + mixed * mixed);
  vec2 wide = apart < 0.0 ? vec2(root - apart, -mixed) : vec2(-mixed, root + apart);
  float norm = length(wide);
  wide = norm > 1e-12 ? wide / norm : vec2(1.0, 0.0);
  float room = place.z - (${LOG_CUT});
  vec2 reach = sqrt(room / vec2(max(mean - root, 1e-9), mean + root)) + 0.02;
  vec2 offset = corner.x * reach.x * wide + corner.y * reach.y * vec2(-wide.y, wide.x);
  gl_Position = vec4((place.xy + offset) * 2.0 / size - 1.0, 0.0, 1.0);
}`;

const SPLAT_FRAGMENT = `#version 300 es
precision highp float;
flat in vec3 place;
flat in vec3 conic;
flat in vec3 color;
out vec4 result;
void main() {
  vec2 d = gl_FragCoord.xy - place.xy; // row 0 of the target is the picture's top
  float x = place.z - conic.x * d.x * d.x - d.y * (conic.y * d.x + conic.z * d.y);
  if (x < (${LOG_CUT})) discard;
  float alpha = min(exp(x), 0.999);
  result = vec4(color * alpha, alpha);
}`;

const PLATE_VERTEX = `#version 300 es
void main() {
  gl_Position = vec4(vec2(gl_VertexID & 1, gl_VertexID >> 1) * 4.0 - 1.0, 0.0, 1.0);
}`;

const PLATE_FRAGMENT = `#version 300 es
precision highp float;
uniform highp sampler2D light;
uniform highp sampler2D plate;
uniform int size;
out vec4 result;
void main() {
  ivec2 at = ivec2(int(gl_FragCoord.x), size - 1 - int(gl_FragCoord.y));
  vec4 person = texelFetch(light, at, 0);
  vec3 behind = texelFetch(plate, at, 0).rgb;
  result = vec4(clamp(person.rgb + (1.0 - person.a) * behind, 0.0, 1.0), 1.0);
}`;

function compileProgram(gl, vertex, fragment) {
  const program = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
    throw new Error(`WebGL: ${gl.getProgramInfoLog(program)}`);
  }
  return program;
}

function makeTexture(gl) {
  const texture = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, texture);
  for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, name, gl.NEAREST);
  for (const name of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, name, gl.CLAMP_TO_EDGE);
  return texture;
}

/** A WebGL2 context of a canvas that can draw splats, and the name of what draws; null where there is none. */
function openWebGL(canvas) {
  const gl = canvas.getContext('webgl2', {alpha: false, antialias: false, depth: false});
  if (!gl || !gl.getExtension('EXT_color_buffer_float')) return null;
  const info = gl.getExtension('WEBGL_debug_renderer_info');
  const name = String(gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
  return {gl, name, software: /swiftshader|llvmpipe|softpipe|software|basic render/i.test(name)};
}

class WebGLScreen {
  constructor(gl, splats) {
    this.gl = gl;
    this.rows = Math.ceil(splats / TEXELS_ACROSS);
    this.sorted = new Float32Array(this.rows * TEXELS_ACROSS * RECORD);
    this.splatProgram = compileProgram(gl, SPLAT_VERTEX, SPLAT_FRAGMENT);
    this.plateProgram = compileProgram(gl, PLATE_VERTEX, PLATE_FRAGMENT);
    this.records = makeTexture(gl);
    gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RGBA32F, 3 * TEXELS_ACROSS, this.rows);
    // one list of triangles: software drivers pay for every instance as for a call
    const corners = Uint32Array.from({length: 6 * splats}, (_, i) => 4 * Math.floor(i / 6) + [0, 1, 2, 2, 1, 3][i % 6]);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, corners, gl.STATIC_DRAW);
    this.target = gl.createFramebuffer();
  }

  /** Draw at another size from now on; plate: RGBA bytes at that size. */
  resize(size, plate) {
    const {gl} = this;
    this.size = size;
    gl.deleteTexture(this.light || null);
    gl.deleteTexture(this.plate || null);
    this.light = makeTexture(gl);
    gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RGBA16F, size, size);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.target);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, this.light, 0);
    this.plate = makeTexture(gl);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, size, size, 0, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(plate.buffer));
  }

  /** Draw splats as `Splats.prepare` leaves them. */
  draw(splats, visible) {
    const {gl, size} = this;
    this.upload(splats, visible);
    gl.viewport(0, 0, size, size);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.target);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.useProgram(this.splatProgram);
    gl.uniform1f(gl.getUniformLocation(this.splatProgram, 'size'), size);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.drawElements(gl.TRIANGLES, 6 * visible, gl.UNSIGNED_INT, 0);
    gl.disable(gl.BLEND);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.useProgram(this.plateProgram);
    for (const [unit, name, texture] of [[0, 'light', this.light], [1, 'plate', this.plate]]) {
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D, texture);
      gl.uniform1i(gl.getUniformLocation(this.plateProgram, name), unit);
    }
    gl.uniform1i(gl.getUniformLocation(this.plateProgram, 'size'), size);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  /** Records back to front, as the blending goes. */
  upload(splats, visible) {
    const {gl, sorted} = this, {records, order} = splats;
    for (let i = 0, o = 0; i < visible; ++i) {
      const r = RECORD * order[visible - 1 - i];
      for (let j = 0; j < RECORD; ++j) sorted[o++] = records[r + j];
    }
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, this.records);
    const rows = Math.max(1, Math.ceil(visible / TEXELS_ACROSS));
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, 3 * TEXELS_ACROSS, rows, gl.RGBA, gl.FLOAT, sorted);
  }
}
