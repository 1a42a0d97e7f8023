// Packed numbers: base64, zlib, and 32-bit words as four planes of bytes, the highest first.

const block = (name) => JSON.parse(document.getElementById(name).textContent);
const head = block("head");

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function words(text, Kind) {
  const bytes = await unpacked(text);
  const count = bytes.length / 4;
  const pattern = new Uint32Array(count);
  for (let i = 0; i < count; i++) {
    pattern[i] = (bytes[i] << 24) | (bytes[count + i] << 16) | (bytes[2 * count + i] << 8) | bytes[3 * count + i];
  }
  return new Kind(pattern.buffer);
}

const maps = {};
function colorMap(name) {
  if (!maps[name]) maps[name] = Uint8Array.from(atob(head.maps[name]), (char) => char.charCodeAt(0));
  return maps[name];
}

// As ColorScale.fraction: 0 at the low limit, 1 at the high one; symlog bends by asinh.
function fractionOf(panel) {
  const bend = panel.bend ? (value) => Math.asinh(value / panel.bend) : (value) => value;
  const low = bend(panel.low);
  const span = bend(panel.high) - low;
  return (value) => (bend(value) - low) / span;
}
