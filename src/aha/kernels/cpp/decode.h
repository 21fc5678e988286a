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
    T normed[MAX_DIM];
    if (weight) {
        norm_row(x, weight, normed, dim, turn.eps);
        x = normed;
    }
    rotate_head(x, turn.cos + position * dim, turn.sin + position * dim, y, dim, 1);
}

// The cache as the right side of products: as it stands, or pair by pair where the CPU multiplies those.
template <class T>
const T* cached(const T* x, const float*) {
    return x;
}
inline const Pair* cached(const bf16* x, const Pair*) { return (const Pair*)x; }

// Scores of G heads, ``ld`` apart, with four keys; ``width``: units of each.
template <int G, class A, class B>
void dots_of_four(const A* queries, const B* const* keys, int64_t width, float* scores, int64_t ld) {
    Lanes total[G][4];
    for (int h = 0; h < G; h++)
        for (int j = 0; j < 4; j++) total[h][j] = added(Lanes{}, operand(queries + h * width), operand(keys[j]));
    for (int64_t i = W; i < width; i += W)
        for (int j = 0; j < 4; j++) {
            auto key = operand(keys[j] + i);
            for (int h = 0; h < G; h++) total[h][j] = added(total[h][j], operand(queries + h * width + i), key);
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
// 32 columns of G rows of products of pairs: two values of each column stand side by side, in an order that is put
// right at the end.
template <int G>
void mix_columns(const Pair* p, int64_t ld, const bf16* values, int64_t count, int64_t dim, float* found) {
    __m512 low[G], high[G];
    for (int h = 0; h < G; h++) low[h] = high[h] = _mm512_setzero_ps();
    for (int64_t j = 0; j < count; j += 2) {
        __m512i a = _mm512_loadu_si512(values + j * dim);
        __m512i b = _mm512_loadu_si512(values + (j + 1 < count ? j + 1 : j) * dim);  // p is 0 behind the last
        __m512bh first = (__m512bh)_mm512_unpacklo_epi16(a, b), second = (__m512bh)_mm512_unpackhi_epi16(a, b);
        for (int h = 0; h < G; h++) {
            __m512bh x = spread(p[h * ld + j / 2]);
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
    for (int64_t h = 0; h < group; h++) along(p + h * ld, ld, (Pair*)(p + h * ld));
    for (int64_t h = 0; h < group; h += 4)
        for (int64_t i = 0; i < dim; i += 2 * W) {
            const Pair* from = (const Pair*)(p + h * ld);
            float* to = found + h * dim + i;
            switch (group - h) {
                case 1: mix_columns<1>(from, ld, values + i, count, dim, to); break;
                case 2: mix_columns<2>(from, ld, values + i, count, dim, to); break;
                case 3: mix_columns<3>(from, ld, values + i, count, dim, to); break;
                default: mix_columns<4>(from, ld, values + i, count, dim, to);
            }
        }
}
#endif

// ``next`` and ``after``: what is read when this is done, as many rows of each.
template <class A, class B>
void dots(const A* queries, int64_t group, const B* keys, int64_t count, int64_t width, float* scores, int64_t ld,
          const B* next, const B* after) {
    for (int64_t j = 0; j < count; j += 4) {
        fetch(next + j * width, 4 * width * sizeof(B));
        fetch(after + j * width, 4 * width * sizeof(B));
        const B* four[4];
        for (int64_t n = 0; n < 4; n++) four[n] = keys + std::min(j + n, count - 1) * width;
        for (int64_t h = 0; h < group; h += 4) {
            const A* from = queries + h * width;
            float* to = scores + h * ld + j;
            switch (group - h) {
                case 1: dots_of_four<1>(from, four, width, to, ld); break;
                case 2: dots_of_four<2>(from, four, width, to, ld); break;
                case 3: dots_of_four<3>(from, four, width, to, ld); break;
                default: dots_of_four<4>(from, four, width, to, ld);
            }
        }
    }
}

// qkv [rows, heads + 2 kv_heads, dim], ``stride`` apart -> out [rows, heads, dim], divided among the threads of a
// parallel region.
template <class T>
void decode(const T* qkv, int64_t stride, Cache<T> cache, Turn<T> turn, T* out, int64_t rows, Shape shape,
            Scratch& scratch) {
    typedef typename UnitOf<T>::type Unit;
    int64_t dim = shape.dim, group = shape.group();
#pragma omp for schedule(dynamic, 4)
    for (int64_t task = 0; task < rows * shape.kv_heads; task++) {
        int64_t row = task / shape.kv_heads, head = task % shape.kv_heads;
        int64_t length = cache.lengths[row], ld = padded(length + 1);
        scratch.reset(group * (2 * dim + ld));
        float *queries = scratch.take(group * dim), *scores = scratch.take(group * ld);
        float* found = scratch.take(group * dim);
        const T* in = qkv + row * stride;
        for (int64_t h = 0; h < group; h++)
            turned(in + (head * group + h) * dim, turn.query_norm, turn, length, dim, queries + h * dim);
        Unit* side = (Unit*)queries;
        along(queries, group * dim, side);  // in place: what is written never overtakes what is read
        int64_t place = (row * shape.kv_heads + head) * cache.room;
        T *keys = cache.keys + place * dim, *values = cache.values + place * dim;
        turned(in + (shape.heads + head) * dim, turn.key_norm, turn, length, dim, keys + length * dim);
        const T* value = in + (shape.heads + shape.kv_heads + head) * dim;
        memcpy(values + length * dim, value, dim * sizeof(T));
        dots(side, group, cached(keys, side), length + 1, units<Unit>(dim), scores, ld, cached(values, side),
             cached(keys + cache.room * dim, side));
        float totals[64];
        for (int64_t h = 0; h < group; h++) totals[h] = soften(scores + h * ld, length + 1, ld, shape.scale).second;
        mix(scores, group, ld, values, length + 1, dim, found);
        T* to = out + (row * shape.heads + head * group) * dim;
        for (int64_t h = 0; h < group; h++)
            for (int64_t i = 0; i < dim; i += W) store(to + h * dim + i, load(found + h * dim + i) / totals[h]);
    }
}

template <class T>
void decode(const T* qkv, int64_t stride, Cache<T> cache, Turn<T> turn, T* out, int64_t rows, Shape shape) {
#pragma omp parallel
    {
        Scratch scratch;
        decode(qkv, stride, cache, turn, out, rows, shape, scratch);
    }
}
