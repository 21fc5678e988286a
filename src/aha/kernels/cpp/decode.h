// Attention of one new token a row: it is turned to its position, enters the cache, and attends to what is there.
#pragma once
#include "packed.h"
#include "rows.h"

// Keys and values [rows, kv_heads, room, dim]; row r has ``lengths[r]`` tokens before the new one.
template <class T>
struct Cache {
    T *keys, *values;
    const int64_t* lengths;
    int64_t room;
};

// What is done to heads of queries and keys before they meet: norms where there are weights, and the turn.
template <class T>
struct Turn {
    const T *query_norm, *key_norm, *cos, *sin;  // tables [positions, dim]
    float eps;
};

template <class T, class U>
void turned(const T* x, const T* weight, const Turn<T>& turn, int64_t position, int64_t dim, U* y) {
    T normed[512];
    if (weight) {
        norm_row(x, weight, normed, dim, turn.eps);
        x = normed;
    }
    rotate_head(x, turn.cos + position * dim, turn.sin + position * dim, y, dim, 1);
}

// Scores of G heads, ``ld`` apart, with four keys.
template <int G, class T>
void dots_of_four(const float* queries, const T* const* keys, int64_t dim, float* scores, int64_t ld) {
    Lanes total[G][4];
    for (int h = 0; h < G; h++)
        for (int j = 0; j < 4; j++) total[h][j] = load(queries + h * dim) * load(keys[j]);
    for (int64_t i = W; i < dim; i += W)
        for (int j = 0; j < 4; j++) {
            Lanes key = load(keys[j] + i);
            for (int h = 0; h < G; h++) total[h][j] += load(queries + h * dim + i) * key;
        }
    for (int h = 0; h < G; h++) {
        Lanes* t = total[h];
        Four four = sums(quarter(t[0]), quarter(t[1]), quarter(t[2]), quarter(t[3]));
        memcpy(scores + h * ld, &four, sizeof four);
    }
}

inline void fetch(const void* from, int64_t bytes) {
    for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch((const char*)from + at);
}

// ``next``: what is read after the keys, as many rows of it.
template <class T>
void dots(const float* queries, int64_t group, const T* keys, int64_t count, int64_t dim, float* scores, int64_t ld,
          const T* next) {
    for (int64_t j = 0; j < count; j += 4) {
        fetch(next + j * dim, 4 * dim * sizeof(T));
        const T* four[4];
        for (int64_t n = 0; n < 4; n++) four[n] = keys + std::min(j + n, count - 1) * dim;
        for (int64_t h = 0; h < group; h += 4) {
            const float* from = queries + h * dim;
            float* to = scores + h * ld + j;
            switch (group - h) {
                case 1: dots_of_four<1>(from, four, dim, to, ld); break;
                case 2: dots_of_four<2>(from, four, dim, to, ld); break;
                case 3: dots_of_four<3>(from, four, dim, to, ld); break;
                default: dots_of_four<4>(from, four, dim, to, ld);
            }
        }
    }
}

// qkv [rows, heads + 2 kv_heads, dim], ``stride`` apart -> out [rows, heads, dim].
template <class T>
void decode(const T* qkv, int64_t stride, Cache<T> cache, Turn<T> turn, T* out, int64_t rows, Shape shape) {
    int64_t dim = shape.dim, group = shape.group();
#pragma omp parallel
    {
        Scratch scratch;
#pragma omp for schedule(dynamic, 4)
        for (int64_t task = 0; task < rows * shape.kv_heads; task++) {
            int64_t row = task / shape.kv_heads, head = task % shape.kv_heads;
            int64_t length = cache.lengths[row], ld = padded(length + 1);
            scratch.reset(group * (2 * dim + ld));
            float *queries = scratch.take(group * dim), *scores = scratch.take(group * ld);
            float* found = scratch.take(group * dim);
            const T* in = qkv + row * stride;
            for (int64_t h = 0; h < group; h++) {
                turned(in + (head * group + h) * dim, turn.query_norm, turn, length, dim, queries + h * dim);
                for (int64_t i = 0; i < dim; i += W) {
                    float* at = queries + h * dim + i;
                    store(at, load(at) * shape.scale);
                }
            }
            int64_t place = (row * shape.kv_heads + head) * cache.room;
            T *keys = cache.keys + place * dim, *values = cache.values + place * dim;
            turned(in + (shape.heads + head) * dim, turn.key_norm, turn, length, dim, keys + length * dim);
            const T* value = in + (shape.heads + shape.kv_heads + head) * dim;
            memcpy(values + length * dim, value, dim * sizeof(T));
            dots(queries, group, keys, length + 1, dim, scores, ld, values);
            float totals[64];
            for (int64_t h = 0; h < group; h++) totals[h] = soften(scores + h * ld, length + 1, ld).second;
            if (task + 1 < rows * shape.kv_heads)
                fetch(keys + cache.room * dim, cache.lengths[(task + 1) / shape.kv_heads] * dim * sizeof(T));
            product(group, dim, length + 1, scores, ld, 1, values, dim, found, dim);
            T* to = out + (row * shape.heads + head * group) * dim;
            for (int64_t h = 0; h < group; h++)
                for (int64_t i = 0; i < dim; i += W) store(to + h * dim + i, load(found + h * dim + i) / totals[h]);
        }
    }
}
