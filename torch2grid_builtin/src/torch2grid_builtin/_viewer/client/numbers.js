// Numbers as they are stored, decoded here: what a page needs to read a file by itself. Little-endian, as safetensors stores them.

/** @typedef {{bytes: number, decode: (view: DataView, offset: number) => number}} Kind */

/** A float of few bits. @param {number} pattern @param {number} exponent bits @param {number} mantissa bits @param {boolean} finite no infinity: all ones are NaN @returns {number} */
export function small(pattern, exponent, mantissa, finite) {
  const sign = (pattern >> (exponent + mantissa)) & 1 ? -1 : 1;
  const power = (pattern >> mantissa) & ((1 << exponent) - 1);
  const rest = pattern & ((1 << mantissa) - 1);
  const bias = (1 << (exponent - 1)) - 1;
  const most = (1 << exponent) - 1;
  if (power === most && (finite ? rest === (1 << mantissa) - 1 : rest)) return NaN;
  if (power === most && !finite) return sign * Infinity;
  if (!power) return sign * rest * 2 ** (1 - bias - mantissa);
  return sign * (1 + rest / (1 << mantissa)) * 2 ** (power - bias);
}

/** All values of a narrow float. @param {number} bits @param {(pattern: number) => number} value @returns {Float32Array} */
const table = (bits, value) => Float32Array.from({ length: 1 << bits }, (_, pattern) => value(pattern));

/** @type {Map<string, Float32Array>} */
const tables = new Map();

/** @param {string} name @param {number} bits @param {(pattern: number) => number} value */
function looked(name, bits, value) {
  let found = tables.get(name);
  if (!found) {
    found = table(bits, value);
    tables.set(name, found);
  }
  return found;
}

/** Bytes of a number of a dtype; 0 for one that is not decoded here. @param {string} dtype @returns {number} */
export function widthOf(dtype) {
  return { float64: 8, float32: 4, float16: 2, bfloat16: 2, float8_e4m3fn: 1, float8_e5m2: 1, int64: 8, int32: 4, int16: 2, int8: 1, uint64: 8, uint32: 4, uint16: 2, uint8: 1, bool: 1 }[dtype] ?? 0;
}

/** The numbers in bytes. @param {ArrayBuffer} bytes @param {string} dtype @returns {Float64Array | Float32Array} */
export function decoded(bytes, dtype) {
  switch (dtype) {
    case "float64":
      return new Float64Array(bytes);
    case "float32":
      return new Float32Array(bytes);
    case "float16": {
      const values = looked(dtype, 16, (pattern) => small(pattern, 5, 10, false));
      return Float32Array.from(new Uint16Array(bytes), (pattern) => values[pattern]);
    }
    case "bfloat16": {
      const narrow = new Uint16Array(bytes);
      const wide = new Uint32Array(narrow.length);
      for (let i = 0; i < narrow.length; i++) wide[i] = narrow[i] << 16;
      return new Float32Array(wide.buffer);
    }
    case "float8_e4m3fn": {
      const values = looked(dtype, 8, (pattern) => small(pattern, 4, 3, true));
      return Float32Array.from(new Uint8Array(bytes), (pattern) => values[pattern]);
    }
    case "float8_e5m2": {
      const values = looked(dtype, 8, (pattern) => small(pattern, 5, 2, false));
      return Float32Array.from(new Uint8Array(bytes), (pattern) => values[pattern]);
    }
    case "int64":
      return Float64Array.from(new BigInt64Array(bytes), Number);
    case "uint64":
      return Float64Array.from(new BigUint64Array(bytes), Number);
    case "int32":
      return Float64Array.from(new Int32Array(bytes));
    case "uint32":
      return Float64Array.from(new Uint32Array(bytes));
    case "int16":
      return Float32Array.from(new Int16Array(bytes));
    case "uint16":
      return Float32Array.from(new Uint16Array(bytes));
    case "int8":
      return Float32Array.from(new Int8Array(bytes));
    case "uint8":
    case "bool":
      return Float32Array.from(new Uint8Array(bytes));
    default:
      throw new Error(`numbers of ${dtype} are not decoded here`);
  }
}
