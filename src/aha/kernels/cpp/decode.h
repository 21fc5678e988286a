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
#pragma GCC unroll 4
    for (int h = 0; h < G; h++) {
        Four four = sums(total[h][0], total[h][1], total[h][2], total[h][3]);
        memcpy(scores + h * ld, &four, sizeof four);
    }
}

// found [group, dim] = p [group, count] values.
template <class T>
void mix(float* p, int64_t group, int64_t ld, const T* values, int64_t count, int64_t dim, float* found) {
    product(group, dim, count, p, ld, 1, values, dim, found, dim);
}

#ifdef __AVX512BF16__
// On CPUs that multiply pairs of bf16 into float32 sums the cache is used as it stands; queries and probabilities are
// rounded to bf16, as products of tensors in bf16 do.
inline __m512bh pairs(const bf16* p) { return (__m512bh)_mm512_loadu_si512(p); }

inline bf16* rounded(float* x, int64_t n) {  // in place: what is written never overtakes what is read
    bf16* to = (bf16*)x;
    for (int64_t i = 0; i < n; i += W) store(to + i, load(x + i));
    return to;
}

template <int G>
void dots_of_four(const bf16* queries, const bf16* const* keys, int64_t dim, float* scores, int64_t ld) {
    __m512 total[G][4];
    for (int h = 0; h < G; h++)
        for (int j = 0; j < 4; j++)
            total[h][j] = _mm512_dpbf16_ps(_mm512_setzero_ps(), pairs(queries + h * dim), pairs(keys[j]));
    for (int64_t i = 2 * W; i < dim; i += 2 * W)
        for (int j = 0; j < 4; j++) {
            __m512bh key = pairs(keys[j] + i);
            for (int h = 0; h < G; h++) total[h][j] = _mm512_dpbf16_ps(total[h][j], pairs(queries + h * dim + i), key);
        }
#pragma GCC unroll 4
    for (int h = 0; h < G; h++) {
        Four four = sums((Lanes)total[h][0], (Lanes)total[h][1], (Lanes)total[h][2], (Lanes)total[h][3]);
        memcpy(scores + h * ld, &four, sizeof four);
    }
}

// 32 columns of G rows of products of pairs: two values of each column stand side by side, in an order that is put
// right at the end.
template <int G>
void mix_columns(const bf16* p, int64_t ld, const bf16* values, int64_t count, int64_t dim, float* found) {
    __m512 low[G], high[G];
    for (int h = 0; h < G; h++) low[h] = high[h] = _mm512_setzero_ps();
    for (int64_t j = 0; j < count; j += 2) {
        __m512i a = _mm512_loadu_si512(values + j * dim);
        __m512i b = _mm512_loadu_si512(values + (j + 1 < count ? j + 1 : j) * dim);  // p is 0 behind the last
        __m512bh first = (__m512bh)_mm512_unpacklo_epi16(a, b), second = (__m512bh)_mm512_unpackhi_epi16(a, b);
        for (int h = 0; h < G; h++) {
            int32_t both;
            memcpy(&both, p + h * 2 * ld + j, sizeof both);
            __m512bh x = (__m512bh)_mm512_set1_epi32(both);
            low[h] = _mm512_dpbf16_ps(low[h], x, first);
            high[h] = _mm512_dpbf16_ps(high[h], x, second);
        }
    }
    const __m512i front = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
    const __m512i back = _mm512_setr_epi32(8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
    for (int h = 0; h < G; h++) {
        _mm512_storeu_ps(found + h * dim, _mm512_permutex2var_ps(low[h], front, high[h]));
        _mm512_storeu_ps(found + h * dim + W, _mm512_permutex2var_ps(low[h], back, high[h]));
    }
}

inline void mix(float* p, int64_t group, int64_t ld, const bf16* values, int64_t count, int64_t dim, float* found) {
    for (int64_t h = 0; h < group; h++) rounded(p + h * ld, ld);
    for (int64_t h = 0; h < group; h += 4)
        for (int64_t i = 0; i < dim; i += 2 * W) {
            const bf16* from = (const bf16*)(p + h * ld);
            float* to = found + h * dim + i;
            switch (group - h) {
                case 1: mix_columns<1>(from, ld, values + i, count, dim, to); break;
                case 2: mix_columns<2>(from, ld, values + i, count, dim, to); break;
                case 3: mix_columns<3>(from, ld, values + i, count, dim, to); break;
                default: mix_columns<4>(from, ld, values + i, count, dim, to);
            }
        }
}
#else
inline float* rounded(float* x, int64_t) { return x; }
#endif
inline float* ready(float* queries, int64_t, const float*) { return queries; }
inline auto* ready(float* queries, int64_t n, const bf16*) { return rounded(queries, n); }

// Have memory brought near, to the second cache: more than the first holds is on its way.
inline void fetch(const void* from, int64_t bytes) {
    for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch((const char*)from + at, 0, 2);
}

// ``next`` and ``after``: what is read when this is done, as many rows of each.
template <class Q, class T>
void dots(const Q* queries, int64_t group, const T* keys, int64_t count, int64_t dim, float* scores, int64_t ld,
          const T* next, const T* after) {
    for (int64_t j = 0; j < count; j += 4) {
        fetch(next + j * dim, 4 * dim * sizeof(T));
        fetch(after + j * dim, 4 * dim * sizeof(T));
        const T* four[4];
        for (int64_t n = 0; n < 4; n++) four[n] = keys + std::min(j + n, count - 1) * dim;
        for (int64_t h = 0; h < group; h += 4) {
            const Q* from = queries + h * dim;
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
            }
            int64_t place = (row * shape.kv_heads + head) * cache.room;
            T *keys = cache.keys + place * dim, *values = cache.values + place * dim;
            turned(in + (shape.heads + head) * dim, turn.key_norm, turn, length, dim, keys + length * dim);
            const T* value = in + (shape.heads + shape.kv_heads + head) * dim;
            memcpy(values + length * dim, value, dim * sizeof(T));
            dots(ready(queries, group * dim, keys), group, keys, length + 1, dim, scores, ld, values,
                 keys + cache.room * dim);
            float totals[64];
            for (int64_t h = 0; h < group; h++) totals[h] = soften(scores + h * ld, length + 1, ld, shape.scale).second;
            mix(scores, group, ld, values, length + 1, dim, found);
            T* to = out + (row * shape.heads + head * group) * dim;
            for (int64_t h = 0; h < group; h++)
                for (int64_t i = 0; i < dim; i += W) store(to + h * dim + i, load(found + h * dim + i) / totals[h]);
        }
    }
}
