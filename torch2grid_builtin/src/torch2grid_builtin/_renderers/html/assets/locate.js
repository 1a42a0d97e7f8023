// Back from a cell to its weights: the same as torch2grid_core's pictures/locate.py, block by block.

function blocksOf(panel) {
  if (!panel.layout) return null;
  return panel.layout.map((numbers) => {
    const [tensor, start, row, column, ...moves] = numbers;
    const dims = [];
    for (let i = 0; i < moves.length; i += 3) dims.push({ length: moves[i], down: moves[i + 1], across: moves[i + 2], stride: 1 });
    for (let i = dims.length - 2; i >= 0; i--) dims[i].stride = dims[i + 1].stride * dims[i + 1].length;
    const bounds = { top: row, left: column, high: 1, wide: 1 };
    for (const dim of dims) {
      bounds.top += Math.min(dim.down, 0) * (dim.length - 1);
      bounds.left += Math.min(dim.across, 0) * (dim.length - 1);
      bounds.high += Math.abs(dim.down) * (dim.length - 1);
      bounds.wide += Math.abs(dim.across) * (dim.length - 1);
    }
    return { tensor, start, dims, ...bounds, size: dims.reduce((size, dim) => size * dim.length, 1) };
  });
}

function offsets(from, to, origin, dims, direction) {
  const moving = dims.filter((dim) => dim[direction]).sort((a, b) => Math.abs(b[direction]) - Math.abs(a[direction]));
  const found = [];
  for (let place = from; place < to; place++) {
    let left = place - origin;
    let offset = 0;
    for (const dim of moving) {
      const step = Math.abs(dim[direction]);
      const digit = Math.min(Math.floor(left / step), dim.length - 1);
      left -= digit * step;
      offset += (dim[direction] < 0 ? dim.length - 1 - digit : digit) * dim.stride;
    }
    if (left === 0) found.push(offset);
  }
  return found;
}

// The weights in a cell by tensor: {tensor, first, last, count, parts: [{start, down, across}]}.
function weightsOf(blocks, cell, row, column) {
  const found = new Map();
  for (const block of blocks) {
    const rows = [Math.max(row * cell[0], block.top), Math.min((row + 1) * cell[0], block.top + block.high)];
    const columns = [Math.max(column * cell[1], block.left), Math.min((column + 1) * cell[1], block.left + block.wide)];
    if (rows[0] >= rows[1] || columns[0] >= columns[1] || !block.size) continue;
    const down = offsets(rows[0], rows[1], block.top, block.dims, "down");
    const across = offsets(columns[0], columns[1], block.left, block.dims, "across");
    if (!down.length || !across.length) continue;
    const first = block.start + least(down) + least(across);
    const last = block.start + most(down) + most(across);
    const known = found.get(block.tensor) ?? { tensor: block.tensor, first, last, count: 0, parts: [] };
    known.first = Math.min(known.first, first);
    known.last = Math.max(known.last, last);
    known.count += down.length * across.length;
    known.parts.push({ start: block.start, down, across });
    found.set(block.tensor, known);
  }
  return [...found.values()];
}

const least = (numbers) => numbers.reduce((a, b) => Math.min(a, b), Infinity);
const most = (numbers) => numbers.reduce((a, b) => Math.max(a, b), -Infinity);

function unravel(index, shape) {
  const digits = [];
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    digits.unshift(index % shape[axis]);
    index = Math.floor(index / shape[axis]);
  }
  return digits;
}

// The index to write at a place of an axis whose indices are [first, step].
function indexAt(indices, place) {
  return indices ? indices[0] + place * indices[1] : place;
}

// The index in the whole tensor of a weight that has these digits in the part that was taken of it.
function placed(digits, taken) {
  if (!taken || taken.filter(Array.isArray).length !== digits.length) return digits;
  let next = 0;
  return taken.map((each) => (Array.isArray(each) ? each[0] + each[2] * digits[next++] : each));
}

const MOST_COMBINATIONS = 20000;

// Which weights these are, in words: one index, a range along each axis, or a run of the flat order.
function indexText(weights, shape, taken) {
  const { first, last, count } = weights;
  if (!shape || shape.length === 0) {
    if (count === 1 && taken?.length) return `[${placed([], taken).join(", ")}]`;
    if (count === 1) return shape ? "the one number" : `weight ${grouped(first)}`;
    return `weights ${grouped(first)} … ${grouped(last)}${last - first + 1 === count ? "" : `, ${grouped(count)} of them`}`;
  }
  if (count === 1) return `[${placed(unravel(first, shape), taken).join(", ")}]`;
  if (count <= MOST_COMBINATIONS) {
    const low = shape.map(() => Infinity);
    const high = shape.map(() => -Infinity);
    for (const part of weights.parts) {
      for (const down of part.down) {
        for (const across of part.across) {
          unravel(part.start + down + across, shape).forEach((digit, axis) => {
            low[axis] = Math.min(low[axis], digit);
            high[axis] = Math.max(high[axis], digit);
          });
        }
      }
    }
    const box = low.reduce((size, from, axis) => size * (high[axis] - from + 1), 1);
    if (box === count) {
      const [from, to] = [placed(low, taken), placed(high, taken)];
      return `[${from.map((index, axis) => (index === to[axis] ? index : `${index}…${to[axis]}`)).join(", ")}]`;
    }
  }
  const [from, to] = [first, last].map((flat) => placed(unravel(flat, shape), taken).join(", "));
  return `[${from}] … [${to}]`;
}
