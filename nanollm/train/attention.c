/* Causal self-attention for one processor core: softmax(QK' / sqrt(K)) V of each head, and its gradients.

   Compiled by compiled_attention.py with HEAD_DIM = K. Sixteen queries are computed at a time, one in each lane of two
   vectors, so that no sum or maximum runs across lanes, and the scores of those queries stay in the nearest cache. As
   in Dao et al. 2022, "FlashAttention", the scores are never stored as a whole: the backward pass computes them again
   from the logarithm of each query's sum. Nothing is computed above the diagonal of a square of sixteen queries.

   Arrays: qkv (B, T, 3, H, K), output (B, T, H, K), turns (T, K / 2, 2) with cosine and sine of each position's angles
   (NULL without rotary positions), sums (B, H, T). Scores are multiplied by log2(e), so that exponentials are powers of
   two. Vectors are GNU C, which gcc and clang translate for any processor. */

#include <math.h>
#include <string.h>

#define LANES 16                      /* queries computed at a time */
#define WIDTH ((HEAD_DIM + 7) / 8 * 8) /* floats per row of a head: HEAD_DIM, padded with zeros to whole vectors */
#define GROUP (WIDTH % 16 ? 1 : 2)     /* vectors of a row in registers */
#define ROWS (8 / GROUP)
#define EPSILON 1e-5f                  /* as in model.py */
#define UNROLL _Pragma("GCC unroll 16")

typedef float vector __attribute__((vector_size(32), may_alias));
typedef int mask __attribute__((vector_size(32), may_alias));

static inline vector all(float x) { return (vector){x, x, x, x, x, x, x, x}; }
static inline vector at(const float *p) { return *(const vector *)p; }
static inline void put(float *p, vector x) { *(vector *)p = x; }
static inline vector choose(mask m, vector a, vector b) { return (vector)((m & (mask)a) | (~m & (mask)b)); }

static inline vector larger(vector a, vector b) {
    vector c;
    for (int i = 0; i < 8; i++) c[i] = a[i] > b[i] ? a[i] : b[i];
    return c;
}

/* 2^x for x <= 0, and exactly 0 below 2^-125. Relative error below 2e-7. */
static inline vector power(vector x) {
    vector shifted = x + all(12582912.0f); /* adding 1.5 * 2^23 rounds to an integer, which the lowest bits hold */
    vector r = x - (shifted - all(12582912.0f));
    vector p = all(1.327647e-3f);
    p = p * r + all(9.675541e-3f);
    p = p * r + all(5.550713e-2f);
    p = p * r + all(2.402212e-1f);
    p = p * r + all(6.931469e-1f);
    p = p * r + all(1.0000001f);
    return (vector)((mask)(p * (vector)(((mask)shifted << 23) + (mask)all(1.0f))) & (x > all(-125.0f)));
}

/* scores (n, LANES) = rows (n, WIDTH) times columns (HEAD_DIM, LANES) */
static inline void score(const float *restrict rows, const float *restrict columns, float *restrict scores, int n) {
    for (int j = 0; j < n; j += 4) {
        vector sum[4][2] = {{{0}}};
        for (int k = 0; k < HEAD_DIM; k++) {
            vector left = at(columns + k * LANES), right = at(columns + k * LANES + 8);
            UNROLL for (int i = 0; i < 4; i++) {
                vector x = all(rows[(j + i) * WIDTH + k]);
                sum[i][0] += x * left;
                sum[i][1] += x * right;
            }
        }
        UNROLL for (int i = 0; i < 4; i++) {
            put(scores + (j + i) * LANES, sum[i][0]);
            put(scores + (j + i) * LANES + 8, sum[i][1]);
        }
    }
}

/* columns (WIDTH, LANES) = transposed rows (n, WIDTH) times weights (n, LANES) */
static inline void combine(const float *restrict rows, const float *restrict weights, float *restrict columns, int n) {
    for (int k = 0; k < WIDTH; k += 4) {
        vector sum[4][2] = {{{0}}};
        for (int j = 0; j < n; j++) {
            vector left = at(weights + j * LANES), right = at(weights + j * LANES + 8);
            UNROLL for (int i = 0; i < 4; i++) {
                vector x = all(rows[j * WIDTH + k + i]);
                sum[i][0] += x * left;
                sum[i][1] += x * right;
            }
        }
        UNROLL for (int i = 0; i < 4; i++) {
            put(columns + (k + i) * LANES, sum[i][0]);
            put(columns + (k + i) * LANES + 8, sum[i][1]);
        }
    }
}

/* sums (n, WIDTH) += weights (n, LANES) times rows (LANES, WIDTH) */
static inline void spread(const float *restrict weights, const float *restrict rows, float *restrict sums, int n) {
    for (int j = 0; j < n; j += ROWS)
        for (int k = 0; k < WIDTH; k += 8 * GROUP) {
            vector sum[ROWS][GROUP];
            UNROLL for (int i = 0; i < ROWS; i++)
                UNROLL for (int g = 0; g < GROUP; g++) sum[i][g] = at(sums + (j + i) * WIDTH + k + 8 * g);
            for (int t = 0; t < LANES; t++) {
                vector row[GROUP];
                UNROLL for (int g = 0; g < GROUP; g++) row[g] = at(rows + t * WIDTH + k + 8 * g);
                UNROLL for (int i = 0; i < ROWS; i++) {
                    vector x = all(weights[(j + i) * LANES + t]);
                    UNROLL for (int g = 0; g < GROUP; g++) sum[i][g] += x * row[g];
                }
            }
            UNROLL for (int i = 0; i < ROWS; i++)
                UNROLL for (int g = 0; g < GROUP; g++) put(sums + (j + i) * WIDTH + k + 8 * g, sum[i][g]);
        }
}

/* Remove the keys after each query from the square that the diagonal crosses. */
static inline void hide_future(float *restrict square) {
    const mask lane = {0, 1, 2, 3, 4, 5, 6, 7};
    for (int j = 0; j < LANES; j++)
        for (int half = 0; half < 2; half++) {
            vector *x = (vector *)(square + j * LANES + 8 * half);
            mask visible = lane + 8 * half >= (mask){j, j, j, j, j, j, j, j};
            *x = choose(visible, *x, all(-INFINITY));
        }
}

static inline void transpose(const float *restrict rows, float *restrict columns, float factor) {
    for (int k = 0; k < HEAD_DIM; k++)
        for (int t = 0; t < LANES; t++) columns[k * LANES + t] = rows[t * WIDTH + k] * factor;
}

static inline float inverse_rms(const float *x) {
    float sum = 0;
    for (int k = 0; k < HEAD_DIM; k++) sum += x[k] * x[k];
    return 1 / sqrtf(sum / HEAD_DIM + EPSILON);
}

/* Copy a head's vectors to rows (T, WIDTH), normalized and rotated on request (rms_normalize() and rotate()). */
static void load(const float *restrict from, long stride, int T, const float *turns, int norm, float *restrict rows) {
    for (int t = 0; t < T; t++, from += stride, rows += WIDTH) {
        float factor = norm ? inverse_rms(from) : 1;
        for (int k = 0; k < HEAD_DIM; k++) rows[k] = from[k] * factor;
        if (turns)
            for (int k = 0; k < HEAD_DIM; k += 2) {
                float c = turns[t * HEAD_DIM + k], s = turns[t * HEAD_DIM + k + 1], x = rows[k], y = rows[k + 1];
                rows[k] = x * c - y * s;
                rows[k + 1] = x * s + y * c;
            }
    }
}

/* Write the gradient of what load() read from `from`, given the gradient of its rows. */
static void store(const float *restrict grads, const float *from, float *to, long stride, int T, const float *turns,
                  int norm) {
    for (int t = 0; t < T; t++, grads += WIDTH, from += stride, to += stride) {
        for (int k = 0; k < HEAD_DIM; k++) to[k] = grads[k];
        if (turns)
            for (int k = 0; k < HEAD_DIM; k += 2) {
                float c = turns[t * HEAD_DIM + k], s = turns[t * HEAD_DIM + k + 1], x = to[k], y = to[k + 1];
                to[k] = x * c + y * s;
                to[k + 1] = y * c - x * s;
            }
        if (norm) {
            float factor = inverse_rms(from), along = 0;
            for (int k = 0; k < HEAD_DIM; k++) along += to[k] * from[k];
            along *= factor * factor / HEAD_DIM;
            for (int k = 0; k < HEAD_DIM; k++) to[k] = factor * (to[k] - along * from[k]);
        }
    }
}

static int padded(int T) { return (T + LANES - 1) / LANES * LANES; }

/* Number of floats of zeroed memory, aligned to 32 bytes, that forward() and backward() need. */
long scratch_size(int T) { return (long)padded(T) * (8 * WIDTH + 2 * LANES) + 3 * WIDTH * LANES; }

/* Compute the heads from number `first` to `last` of B * H. */
void forward(const float *qkv, const float *turns, int norm, float *output, float *sums, float *scratch, int T, int H,
             int first, int last) {
    const int size = padded(T) * WIDTH, D = H * HEAD_DIM;
    const float factor = 1.44269504f / sqrtf(HEAD_DIM);
    float *q = scratch, *k = q + size, *v = k + size, *weights = v + size;
    float *query = weights + padded(T) * LANES, *sum = query + WIDTH * LANES;
    for (int head = first; head < last; head++) {
        long b = head / H, offset = head % H * HEAD_DIM;
        const float *from = qkv + b * T * 3 * D + offset;
        float *to = output + b * T * D + offset;
        load(from, 3 * D, T, turns, norm, q);
        load(from + D, 3 * D, T, turns, norm, k);
        load(from + 2 * D, 3 * D, T, 0, 0, v);
        for (int t0 = 0; t0 < T; t0 += LANES) {
            int n = t0 + LANES;
            transpose(q + t0 * WIDTH, query, factor);
            score(k, query, weights, n);
            hide_future(weights + t0 * LANES);
            vector highest[2] = {all(-INFINITY), all(-INFINITY)}, total[2] = {{0}};
            for (int j = 0; j < n; j++)
                UNROLL for (int half = 0; half < 2; half++)
                    highest[half] = larger(highest[half], at(weights + j * LANES + 8 * half));
            for (int j = 0; j < n; j++)
                UNROLL for (int half = 0; half < 2; half++) {
                    vector *x = (vector *)(weights + j * LANES + 8 * half);
                    *x = power(*x - highest[half]);
                    total[half] += *x;
                }
            combine(v, weights, sum, n);
            vector share[2] = {all(1) / total[0], all(1) / total[1]};
            for (int i = 0; i < HEAD_DIM; i++)
                UNROLL for (int half = 0; half < 2; half++)
                    put(sum + i * LANES + 8 * half, at(sum + i * LANES + 8 * half) * share[half]);
            for (int t = 0; t < LANES && t0 + t < T; t++) {
                for (int i = 0; i < HEAD_DIM; i++) to[(t0 + t) * D + i] = sum[i * LANES + t];
                sums[(long)head * T + t0 + t] = highest[t / 8][t % 8] + log2f(total[t / 8][t % 8]);
            }
        }
    }
}

/* Write the gradient of qkv for the same heads, given the gradient of the output. */
void backward(const float *grad, const float *qkv, const float *turns, int norm, const float *output,
              const float *sums, float *grad_qkv, float *scratch, int T, int H, int first, int last) {
    const int size = padded(T) * WIDTH, D = H * HEAD_DIM;
    const float scale = 1 / sqrtf(HEAD_DIM);
    float *q = scratch, *k = q + size, *v = k + size, *g = v + size, *o = g + size;
    float *dq = o + size, *dk = dq + size, *dv = dk + size, *weights = dv + size, *slopes = weights + padded(T) * LANES;
    float *query = slopes + padded(T) * LANES, *column = query + WIDTH * LANES, *sum = column + WIDTH * LANES;
    for (int head = first; head < last; head++) {
        long b = head / H, offset = head % H * HEAD_DIM;
        const float *from = qkv + b * T * 3 * D + offset;
        float *to = grad_qkv + b * T * 3 * D + offset;
        load(from, 3 * D, T, turns, norm, q);
        load(from + D, 3 * D, T, turns, norm, k);
        load(from + 2 * D, 3 * D, T, 0, 0, v);
        load(grad + b * T * D + offset, D, T, 0, 0, g);
        load(output + b * T * D + offset, D, T, 0, 0, o);
        memset(dk, 0, 2 * size * sizeof(float)); /* and dv */
        for (int t0 = 0; t0 < T; t0 += LANES) {
            int n = t0 + LANES;
            vector z[2] = {{0}}, mean[2] = {{0}}; /* of the slopes, weighted: Dao et al. 2022, §B.2 */
            for (int t = 0; t < LANES && t0 + t < T; t++) {
                float dot = 0;
                for (int i = 0; i < WIDTH; i++) dot += g[(t0 + t) * WIDTH + i] * o[(t0 + t) * WIDTH + i];
                mean[t / 8][t % 8] = dot;
                z[t / 8][t % 8] = sums[(long)head * T + t0 + t];
            }
            transpose(q + t0 * WIDTH, query, 1.44269504f * scale);
            transpose(g + t0 * WIDTH, column, 1);
            score(k, query, weights, n);
            score(v, column, slopes, n);
            hide_future(weights + t0 * LANES);
            for (int j = 0; j < n; j++)
                UNROLL for (int half = 0; half < 2; half++) {
                    vector *x = (vector *)(weights + j * LANES + 8 * half);
                    vector *y = (vector *)(slopes + j * LANES + 8 * half);
                    *x = power(*x - z[half]);
                    *y = *x * (*y - mean[half]) * all(scale);
                }
            spread(weights, g + t0 * WIDTH, dv, n);
            spread(slopes, q + t0 * WIDTH, dk, n);
            combine(k, slopes, sum, n);
            for (int t = 0; t < LANES; t++)
                for (int i = 0; i < HEAD_DIM; i++) dq[(t0 + t) * WIDTH + i] = sum[i * LANES + t];
        }
        store(dq, from, to, 3 * D, T, turns, norm);
        store(dk, from + D, to + D, 3 * D, T, turns, norm);
        store(dv, from, to + 2 * D, 3 * D, T, 0, 0);
    }
}
