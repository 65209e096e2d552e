// @ts-check
// Unpacks the scores of a text and applies temperature and top-k to its probabilities.
// The scores are packed by playground/services/wire_format.py or shaded_text.py.

const PARTS = 1024; // units per bit
const NARROW = 256; // largest vocabulary whose ids fit in one byte
const STRONGEST = 8; // surprisal in bits at which the shading is strongest

export function unpack({ text, scores }, vocabulary) {
  const characters = Array.from(text);
  const N = characters.length;
  const { buffer } = Uint8Array.from(atob(scores), (byte) => byte.charCodeAt(0));
  const wide = vocabulary.length > NARROW;
  const C = (buffer.byteLength - 5 * N) / (wide ? 4 : 3);
  const numbers = new Uint16Array(buffer, 0, 2 * N + C);
  const ids = new (wide ? Uint16Array : Uint8Array)(buffer, numbers.byteLength, C);
  const counts = new Uint8Array(buffer, buffer.byteLength - N);
  const starts = [];
  let start = 0;
  for (const count of counts) {
    starts.push(start);
    start += count;
  }
  const [bits, ranks, others] = [numbers.subarray(0, N), numbers.subarray(N, 2 * N), numbers.subarray(2 * N)];
  return { characters, bits, ranks, counts, starts, others, ids };
}

export const bitsOf = (piece, i) => piece.bits[i] / PARTS;

export function entry(piece, i, vocabulary) {
  const candidates = Array.from({ length: piece.counts[i] }, (_, j) => {
    const at = piece.starts[i] + j;
    return { character: vocabulary[piece.ids[at]], bits: piece.others[at] / PARTS };
  });
  return { character: piece.characters[i], bits: bitsOf(piece, i), rank: piece.ranks[i], candidates, vocabulary };
}

// Returns the sampling probability of each candidate (`all`), and a function `of(bits, rank)` for any other character.
// The probability mass outside the candidates is assumed to be spread evenly over the remaining vocabulary.
export function shaped(entry, temperature, topK) {
  const topBits = entry.candidates.map((candidate) => candidate.bits);
  const weight = (bits) => 2 ** ((topBits[0] - bits) / temperature);
  if (!(temperature > 0)) return { all: topBits.map((_, i) => (i ? 0 : 1)), of: (_bits, rank) => (rank === 1 ? 1 : 0) };
  const weights = topBits.map((bits, i) => (i < topK ? weight(bits) : 0));
  const size = entry.vocabulary.length;
  const missing = Math.max(0, 1 - topBits.reduce((sum, bits) => sum + 2 ** -bits, 0));
  const unlisted = Math.max(0, Math.min(topK, size) - topBits.length);
  const rest = unlisted && missing ? unlisted * weight(-Math.log2(missing / (size - topBits.length))) : 0;
  const total = weights.reduce((sum, one) => sum + one, rest);
  return { all: weights.map((one) => one / total), of: (bits, rank) => (rank <= topK ? weight(bits) / total : 0) };
}

export const heat = (bits) => Math.round(100 * Math.min(1, bits / STRONGEST));
