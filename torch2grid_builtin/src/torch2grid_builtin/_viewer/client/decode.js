// Packed numbers: base64, zlib, and 32-bit words as four planes of bytes, the highest first.

/** Bytes of base64. @param {string} text @returns {Uint8Array<ArrayBuffer>} */
export const bytesOf = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));

/** The bytes that were compressed. @param {Blob} packed @returns {Promise<Uint8Array>} */
export async function inflated(packed) {
  return new Uint8Array(await new Response(packed.stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer());
}

/** The bytes that were packed as text. @param {string} text @returns {Promise<Uint8Array>} */
export const unpacked = (text) => inflated(new Blob([bytesOf(text)]));

/** 32-bit numbers of a typed array's kind, of bytes that came the highest of all first. @template T @param {Uint8Array} bytes @param {new (buffer: ArrayBuffer) => T} Kind @returns {T} */
export function wordsOf(bytes, Kind) {
  const count = bytes.length / 4;
  const pattern = new Uint32Array(count);
  for (let i = 0; i < count; i++) {
    pattern[i] = (bytes[i] << 24) | (bytes[count + i] << 16) | (bytes[2 * count + i] << 8) | bytes[3 * count + i];
  }
  return new Kind(pattern.buffer);
}

/**
 * 32-bit numbers of a typed array's kind. @template T @param {string} text @param {new (buffer: ArrayBuffer) => T} Kind @returns {Promise<T>}
 */
export const words = async (text, Kind) => wordsOf(await unpacked(text), Kind);
