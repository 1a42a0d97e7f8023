// Packed numbers: base64, zlib, and 32-bit words as four planes of bytes, the highest first.

/** Bytes of base64. @param {string} text @returns {Uint8Array<ArrayBuffer>} */
export const bytesOf = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));

/** The bytes that were packed as text. @param {string} text @returns {Promise<Uint8Array>} */
export async function unpacked(text) {
  const bytes = bytesOf(text);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/**
 * 32-bit numbers of a typed array's kind. @template T @param {string} text @param {new (buffer: ArrayBuffer) => T} Kind @returns {Promise<T>}
 */
export async function words(text, Kind) {
  const bytes = await unpacked(text);
  const count = bytes.length / 4;
  const pattern = new Uint32Array(count);
  for (let i = 0; i < count; i++) {
    pattern[i] = (bytes[i] << 24) | (bytes[count + i] << 16) | (bytes[2 * count + i] << 8) | bytes[3 * count + i];
  }
  return new Kind(pattern.buffer);
}
