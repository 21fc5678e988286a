// All layers of a Llama-like model for one new token a row.
#pragma once
#include "decode.h"
#include "linear.h"

template <class T>
struct Layer {
    const T *before, *between;  // norms
    const T *query_norm, *key_norm;  // or none
    Linear<T> qkv, out, both, down;
    T *keys, *values;
};

template <class T>
struct Model {
    const Layer<T>* layers;
    int64_t count, hidden, inner;
    const T *norm, *cos, *sin;
    float eps;
    Shape shape;
};

// The number as it is when it has been written down.
template <class T>
Lanes rounded(Lanes x) {
    T place[W];
    store(place, x);
    return load(place);
}

// silu(gate) * up of x, where the weight has the rows of gate and then those of up.
template <class T>
void feed(const T* x, int64_t rows, int64_t width, Linear<T> both, int64_t inner, Sums& sums, T* y) {
    divide(rows, inner, [&](int64_t first, int64_t count, int64_t output) {
        const T *from = x + first * width, *up = both.weight + inner * width;
        bool as_it_stands = few<T>(rows);
        panel(from, count, both.weight + output * width, width, as_it_stands, sums.first(), sums.place());
        panel(from, count, up + output * width, width, as_it_stands, sums.second(), sums.place());
        const T* bias = both.bias ? both.bias + inner + output : nullptr;
        each(sums.first(), count, output, both.bias, [&](int64_t r, int64_t n, Lanes g) {
            int64_t at = n - output;
            Lanes u = load(sums.second() + r * TILE + at);
            g = rounded<T>(g);
            u = rounded<T>(bias ? u + load(bias + at) : u);
            store(y + (first + r) * inner + n, g * sigmoid(g) * u);
        });
    });
}

template <class T>
void norms(const T* x, const T* weight, T* y, int64_t rows, int64_t width, float eps) {
#pragma omp for schedule(static)
    for (int64_t r = 0; r < rows; r++) norm_row(x + r * width, weight, y + r * width, width, eps);
}

// x [rows, hidden], the embedded tokens, becomes the normed output of the last layer. Row r has ``lengths[r]`` tokens
// in the cache, each of which has ``room``.
template <class T>
void step(const Model<T>& model, T* x, int64_t rows, const int64_t* lengths, int64_t room,
          const Groups& groups) {
    const Shape& shape = model.shape;
    int64_t hidden = model.hidden, heads = shape.heads * shape.dim, joined = heads + 2 * shape.kv_heads * shape.dim;
    static thread_local std::vector<T> memory;  // of the caller, kept from token to token
    memory.resize(std::max<size_t>(memory.size(), rows * (hidden + joined + heads + model.inner)));
    T *normed = memory.data(), *qkv = normed + rows * hidden, *found = qkv + rows * joined, *fed = found + rows * heads;
    auto add = [&](int64_t r, int64_t n, Lanes v) { store(x + r * hidden + n, load(x + r * hidden + n) + v); };
#pragma omp parallel if (rows * hidden * model.inner > 1 << 20)
    {
        Scratch scratch;
        Sums sums;
        for (int64_t l = 0; l < model.count; l++) {
            const Layer<T>& layer = model.layers[l];
            Turn<T> turn{layer.query_norm, layer.key_norm, model.cos, model.sin, model.eps};
            Cache<T> cache{layer.keys, layer.values, lengths, room};
            norms(x, layer.before, normed, rows, hidden, model.eps);
            apply(normed, rows, hidden, layer.qkv, joined, sums,
                  [&](int64_t r, int64_t n, Lanes v) { store(qkv + r * joined + n, v); });
            decode(qkv, joined, cache, turn, found, groups, shape, scratch);
            apply(found, rows, heads, layer.out, hidden, sums, add);
            norms(x, layer.between, normed, rows, hidden, model.eps);
            feed(normed, rows, hidden, layer.both, model.inner, sums, fed);
            apply(fed, rows, model.inner, layer.down, hidden, sums, add);
        }
        norms(x, model.norm, x, rows, hidden, model.eps);
    }
}
