// All layers of a Llama-like model for one new token a row, on matrix units. Between the products tokens stay in
// columns: a vector holds the same number of sixteen tokens, and norms need no sums across one.
#pragma once
#include "layers.h"
#include "tiles.h"

#ifdef MATRIX_UNITS
// x / sqrt(mean(x^2) + eps) * weight of each token, divided among the threads of a parallel region.
inline void norm_columns(const Columns& x, const bf16* weight, Pair* y, float eps) {
#pragma omp for schedule(static)
    for (int64_t b = 0; b < x.blocks(); b++) {
        const Pair* from = x.at(b);
        Pair* to = y + b * x.block();
        Lanes even[2] = {}, odd[2] = {};
        for (int64_t u = 0; u < x.width / 2; u++) {
            __m512i pairs = pairs_of(from + u * SIDE);
            even[u % 2] += low(pairs) * low(pairs);
            odd[u % 2] += high(pairs) * high(pairs);
        }
        Lanes total = (even[0] + even[1]) + (odd[0] + odd[1]);
        Lanes factor = 1.f / (Lanes)_mm512_sqrt_ps((__m512)(total / (float)x.width + eps));
        for (int64_t u = 0; u < x.width / 2; u++) {
            __m512i pairs = pairs_of(from + u * SIDE), by = _mm512_set1_epi32(((const Pair*)weight)[u]);
            _mm512_storeu_si512(to + u * SIDE, paired(low(pairs) * factor * low(by), high(pairs) * factor * high(by)));
        }
    }
}

// Sums of a strip are added to the tokens' own numbers.
inline void add_strip(const float* c, int64_t first, int64_t count, int64_t output, const bf16* bias, const Columns& x) {
    bias = bias ? bias + output : nullptr;
    for (int64_t b = 0; b < count; b++)
        for (int64_t p = 0; p < SIDE; p++) {
            Pair* at = x.at(first + b, output / 2 + p);
            __m512i pairs = pairs_of(at);
            Lanes even = sums_of(c, count * SIDE, 2 * p, b, bias), odd = sums_of(c, count * SIDE, 2 * p + 1, b, bias);
            _mm512_storeu_si512(at, paired(low(pairs) + even, high(pairs) + odd));
        }
}

inline Lanes fed(Lanes gate, Lanes up) {
    __m512i both = paired(gate, up);
    return low(both) * sigmoid(low(both)) * high(both);
}

// silu(gate) * up of x into columns, where the weight has the rows of gate and then those of up.
inline void feed_columns(const Columns& x, const Linear<bf16>& both, const Columns& y, const Next& then, Sums& sums) {
    int64_t inner = y.width, size = STRIP * x.width;
    float *gate = sums.first(), *up = sums.second();
    auto use = [&](int64_t output, int64_t first, int64_t count, const bf16* bias) {
        const bf16 *b0 = bias ? bias + output : nullptr, *b1 = bias ? bias + inner + output : nullptr;
        int64_t ld = count * SIDE;
        for (int64_t b = 0; b < count; b++)
            for (int64_t p = 0; p < SIDE; p++) {
                Lanes even = fed(sums_of(gate, ld, 2 * p, b, b0), sums_of(up, ld, 2 * p, b, b1));
                Lanes odd = fed(sums_of(gate, ld, 2 * p + 1, b, b0), sums_of(up, ld, 2 * p + 1, b, b1));
                _mm512_storeu_si512(y.at(first + b, output / 2 + p), paired(even, odd));
            }
    };
    Share mine(inner / STRIP);
    for (int64_t s = mine.first; s < mine.end; s++) {
        const bf16 *w = both.weight + s * size, *other = w + inner * x.width;
        const bf16 *next = s + 1 < mine.end ? w + size : then.mine(), *after = s + 1 < mine.end ? other + size : nullptr;
        for (int64_t b = 0; b < x.blocks(); b += BLOCKS, next = after = nullptr) {
            int64_t count = std::min(BLOCKS, x.blocks() - b);
            strip(w, x, b, count, gate, next);
            strip(other, x, b, count, up, after);
            use(s * STRIP, b, count, both.bias);
        }
    }
#pragma omp barrier
}

inline void step_on_tiles(const Model<bf16>& model, bf16* x, int64_t rows, const int64_t* lengths, int64_t room,
                          const Groups& groups) {
    const Shape& shape = model.shape;
    int64_t hidden = model.hidden, heads = shape.heads * shape.dim, joined = heads + 2 * shape.kv_heads * shape.dim;
    static thread_local std::vector<Pair> memory;  // of the caller, kept from token to token
    Columns own{nullptr, rows, hidden}, normed = own, found{nullptr, rows, heads}, fed{nullptr, rows, model.inner};
    int64_t flat = rows * (joined + heads) / 2;  // what attention reads and makes, in rows
    memory.resize(std::max<size_t>(memory.size(), 2 * own.size() + found.size() + fed.size() + flat + SIDE));
    own.data = memory.data() + (64 - (uintptr_t)memory.data() % 64) % 64 / sizeof(Pair);
    normed.data = own.data + own.size();
    found.data = normed.data + normed.size();
    fed.data = found.data + found.size();
    bf16 *qkv = (bf16*)(fed.data + fed.size()), *out = qkv + rows * joined;
#pragma omp parallel if (rows * hidden * model.inner > 1 << 18)
    {
        Tiles held;
        Scratch scratch;
        Sums sums;
        into_columns(x, own);
        for (int64_t l = 0; l < model.count; l++) {
            const Layer<bf16>& layer = model.layers[l];
            Turn<bf16> turn{layer.query_norm, layer.key_norm, model.cos, model.sin, model.eps};
            Cache<bf16> cache{layer.keys, layer.values, lengths, room};
            norm_columns(own, layer.before, normed.data, model.eps);
            by_strips(normed, layer.qkv.weight, joined, Next{layer.out.weight, heads, hidden}, sums.first(),
                      [&](int64_t output, int64_t first, int64_t count, const float* c) {
                          const bf16* bias = layer.qkv.bias ? layer.qkv.bias + output : nullptr;
                          strip_to_rows(c, first, count, bias, rows, qkv + output, joined);
                      });
            decode(qkv, joined, cache, turn, out, groups, shape, scratch);
            into_columns(out, found);
            auto add = [&](const bf16* bias) {
                return [&, bias](int64_t output, int64_t first, int64_t count, const float* c) {
                    add_strip(c, first, count, output, bias, own);
                };
            };
            by_strips(found, layer.out.weight, hidden, Next{layer.both.weight, hidden, model.inner}, sums.first(),
                      add(layer.out.bias));
            norm_columns(own, layer.between, normed.data, model.eps);
            feed_columns(normed, layer.both, fed, Next{layer.down.weight, model.inner, hidden}, sums);
            const bf16* after = l + 1 < model.count ? model.layers[l + 1].qkv.weight : nullptr;
            by_strips(fed, layer.down.weight, hidden, Next{after, hidden, joined}, sums.first(), add(layer.down.bias));
        }
        norm_columns(own, model.norm, normed.data, model.eps);
        into_rows(normed, x);
    }
}

// z [rows, outputs] in float32 = x [rows, width] times a weight, at least STRIP rows of it, and its bias.
inline void project_on_tiles(const bf16* x, int64_t rows, int64_t width, Linear<bf16> linear, int64_t outputs, float* z) {
    static thread_local std::vector<Pair> memory;
    Columns columns{nullptr, rows, width};
    memory.resize(std::max<size_t>(memory.size(), columns.size() + SIDE));
    columns.data = memory.data() + (64 - (uintptr_t)memory.data() % 64) % 64 / sizeof(Pair);
#pragma omp parallel if (rows * width * outputs > 1 << 18)
    {
        Tiles held;
        Sums sums;
        into_columns(x, columns);
        auto use = [&](int64_t output, int64_t first, int64_t count, const float* c) {
            strip_to_rows(c, first, count, linear.bias ? linear.bias + output : nullptr, rows, z + output, outputs);
        };
        by_strips(columns, linear.weight, outputs / STRIP * STRIP, Next{}, sums.first(), use);
        if (int64_t last = outputs - STRIP; outputs % STRIP)  // some outputs of the strip before it again
            by_strips(columns, linear.weight + last * width, STRIP, Next{}, sums.first(),
                      [&](int64_t, int64_t first, int64_t count, const float* c) { use(last, first, count, c); });
    }
}
#endif
