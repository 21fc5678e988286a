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

// Scores of G heads, ``ld`` apart, with four keys, or added to them; ``width``: units of each, queries are ``apart``.
template <int G, class A, class B>
void dots_of_four(const A* queries, int64_t apart, const B* const* keys, int64_t width, float* scores, int64_t ld,
                  bool add, Ahead<B> ahead) {
    Lanes total[G][4];
    ahead.fetch(0);
    for (int h = 0; h < G; h++)
        for (int j = 0; j < 4; j++) total[h][j] = added(Lanes{}, operand(queries + h * apart), operand(keys[j]));
    for (int64_t i = W; i < width; i += W) {
        ahead.fetch(i);
        for (int j = 0; j < 4; j++) {
            auto key = operand(keys[j] + i);
            for (int h = 0; h < G; h++) total[h][j] = added(total[h][j], operand(queries + h * apart + i), key);
        }
    }
#pragma GCC unroll 4
    for (int h = 0; h < G; h++) {
        Four four = sums(total[h][0], total[h][1], total[h][2], total[h][3]), before;
        if (add) {
            memcpy(&before, scores + h * ld, sizeof before);
            four += before;
        }
        memcpy(scores + h * ld, &four, sizeof four);
    }
}

// Scores of any number of heads, as many at a time as there are registers for their sums.
template <class A, class B>
void dots_with_four(const A* queries, int64_t heads, int64_t apart, const B* const* keys, int64_t width, float* scores,
                    int64_t ld, bool add = false, Ahead<B> ahead = {}) {
    int64_t parts = (heads + MET - 1) / MET;
    for (int64_t i = 0; i < parts; i++) {
        const A* from = queries + i * MET * apart;
        float* to = scores + i * MET * ld;
        Ahead<B> next = ahead.part(i, parts);
        switch (std::min<int64_t>(MET, heads - i * MET)) {
            case 1: dots_of_four<1>(from, apart, keys, width, to, ld, add, next); break;
            case 2: dots_of_four<2>(from, apart, keys, width, to, ld, add, next); break;
            case 3: dots_of_four<3>(from, apart, keys, width, to, ld, add, next); break;
            default: dots_of_four<MET>(from, apart, keys, width, to, ld, add, next);
        }
    }
}

// found [group, dim] = p [group, count] values; the rows of p are ``ld`` units apart.
inline void mix(const float* p, int64_t group, int64_t ld, const float* values, int64_t count, int64_t dim,
                float* found) {
    product(group, dim, count, p, ld, 1, values, dim, found, dim);
}

inline void mix(const float* p, int64_t group, int64_t ld, const bf16* values, int64_t count, int64_t dim,
                float* found) {
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

inline void mix(const Pair* p, int64_t group, int64_t ld, const bf16* values, int64_t count, int64_t dim,
                float* found) {
    for (int64_t h = 0; h < group; h += 4)
        for (int64_t i = 0; i < dim; i += 2 * W) {
            const Pair* from = p + h * ld;
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
        dots_with_four(queries, group, width, four, width, scores + j, ld);
    }
}

// Rows whose caches begin alike: order[edges[g]] to order[edges[g + 1] - 1] have the same first ``shared[g]`` tokens.
struct Groups {
    int64_t count;
    const int64_t *order, *edges, *shared;
};

// One head of keys for the rows of a group: what they share meets all of their queries at once, in products of
// matrices, and is read once; what a row has alone meets its own.
template <class T>
struct Together {
    typedef typename UnitOf<T>::type Unit;
    static constexpr bool AS_IT_STANDS = sizeof(Unit) == DEPTH<Unit> * sizeof(T);  // the cache is made of units
    const T* qkv;
    int64_t stride;
    Cache<T> cache;
    Turn<T> turn;
    T* out;
    Shape shape;
    Scratch& scratch;

    const int64_t* rows;
    int64_t count, head, shared, ld;
    Unit* queries;
    float* scores;

    int64_t width() const { return units<Unit>(shape.dim); }
    T* keys(int64_t i) const { return cache.keys + (rows[i] * shape.kv_heads + head) * cache.room * shape.dim; }
    T* values(int64_t i) const { return cache.values + (rows[i] * shape.kv_heads + head) * cache.room * shape.dim; }
    int64_t length(int64_t i) const { return cache.lengths[rows[i]]; }
    float* scores_of(int64_t i) const { return scores + i * shape.group() * ld; }

    // The queries and the new keys at their positions, the new values.
    void enter() {
        int64_t dim = shape.dim, group = shape.group();
        for (int64_t i = 0; i < count; i++) {
            const T *in = qkv + rows[i] * stride, *value = in + (shape.heads + shape.kv_heads + head) * dim;
            float* turned_queries = (float*)queries + i * group * dim;
            int64_t n = length(i);
            for (int64_t h = 0; h < group; h++)
                turned(in + (head * group + h) * dim, turn.query_norm, turn, n, dim, turned_queries + h * dim);
            turned(in + (shape.heads + head) * dim, turn.key_norm, turn, n, dim, keys(i) + n * dim);
            memcpy(values(i) + n * dim, value, dim * sizeof(T));
        }
        along((float*)queries, count * group * dim, queries);  // in place: what is written never overtakes what is read
    }

    void score() {
        int64_t group = shape.group(), dim = shape.dim;
        if constexpr (AS_IT_STANDS) {
            Unit* place = scratch.take<Unit>(TILE * dim);
            for (int64_t k = 0; k < shared; k += TILE) {
                turn_over((const Unit*)(keys(0) + k * dim), width(), width(), place);
                column(count * group, width(), queries, width(), 1, place, TILE, scores + k, ld, false);
            }
        }
        for (int64_t i = 0; i < count; i++) {
            const T* next = keys(i + 1 < count ? i + 1 : i) + (i + 1 < count ? shared : cache.room) * dim;
            dots(queries + i * group * width(), group, cached(keys(i) + shared * dim, queries), length(i) + 1 - shared,
                 width(), scores_of(i) + shared, ld, cached(values(i) + shared * dim, queries), cached(next, queries));
        }
    }

    // The part of the rows' values that is shared, weighed: [count * group, dim].
    void mix_shared(const Unit* p, float* found) {
        int64_t dim = shape.dim;
        Unit* panel = scratch.take<Unit>(units<Unit>(shared) * dim);
        for (int64_t j = 0; j < shared; j += DEPTH<Unit>)
            across(values(0) + j * dim, values(0) + (j + DEPTH<Unit> - 1) * dim, dim, panel + j / DEPTH<Unit> * dim);
        product(count * shape.group(), dim, units<Unit>(shared), p, ld, 1, panel, dim, found, dim);
    }

    void finish() {
        int64_t group = shape.group(), dim = shape.dim;
        float* totals = scratch.take(count * group);
        for (int64_t i = 0; i < count; i++)
            for (int64_t h = 0; h < group; h++)
                totals[i * group + h] = soften(scores_of(i) + h * ld, length(i) + 1, ld, shape.scale).second;
        for (int64_t r = 0; r < count * group; r++) along(scores + r * ld, ld, (Unit*)scores + r * ld);
        const Unit* p = (const Unit*)scores;
        float *together = scratch.take(count * group * dim), *alone = scratch.take(group * dim);
        if (shared) mix_shared(p, together);
        for (int64_t i = 0; i < count; i++) {
            const Unit* own = p + i * group * ld + units<Unit>(shared);
            mix(own, group, ld, values(i) + shared * dim, length(i) + 1 - shared, dim, alone);
            T* to = out + (rows[i] * shape.heads + head * group) * dim;
            for (int64_t n = 0; n < group * dim; n += W) {
                Lanes x = load(alone + n);
                if (shared) x += load(together + i * group * dim + n);
                store(to + n, x / totals[i * group + n / dim]);
            }
        }
    }

    void attend(const Groups& groups, int64_t g, int64_t of) {
        rows = groups.order + groups.edges[g];
        count = groups.edges[g + 1] - groups.edges[g];
        head = of;
        shared = AS_IT_STANDS && count > 1 ? groups.shared[g] / TILE * TILE : 0;
        int64_t longest = 0, each = count * shape.group(), dim = shape.dim;
        for (int64_t i = 0; i < count; i++) longest = std::max(longest, length(i) + 1);
        ld = padded(longest);
        scratch.reset(each * (2 * dim + ld + 1) + (shared + TILE + shape.group()) * dim);
        queries = (Unit*)scratch.take(each * dim);
        scores = scratch.take(each * ld);
        enter();
        score();
        finish();
    }
};

// qkv [rows, heads + 2 kv_heads, dim], ``stride`` apart -> out [rows, heads, dim], divided among the threads of a
// parallel region.
template <class T>
void decode(const T* qkv, int64_t stride, Cache<T> cache, Turn<T> turn, T* out, const Groups& groups, Shape shape,
            Scratch& scratch) {
    Together<T> together{qkv, stride, cache, turn, out, shape, scratch};
#pragma omp for schedule(dynamic, 1)
    for (int64_t task = 0; task < groups.count * shape.kv_heads; task++)
        together.attend(groups, task / shape.kv_heads, task % shape.kv_heads);
}

template <class T>
void decode(const T* qkv, int64_t stride, Cache<T> cache, Turn<T> turn, T* out, Groups groups, Shape shape) {
#pragma omp parallel
    {
        Scratch scratch;
        decode(qkv, stride, cache, turn, out, groups, shape, scratch);
    }
}
