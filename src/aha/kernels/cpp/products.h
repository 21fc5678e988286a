// Small products into float32: of float32 numbers, or of pairs of bf16 where the CPU multiplies those.
#pragma once
#include "lanes.h"

// A product runs over units: one number of float32, or two of bf16 that are multiplied and added together.
typedef uint32_t Pair;
template <class Unit>
constexpr int64_t DEPTH = 1;  // numbers of a unit
template <>
constexpr int64_t DEPTH<Pair> = 2;

#if defined(__AVX512BF16__)
template <class T>
struct UnitOf {
    typedef float type;
};
template <>
struct UnitOf<bf16> {
    typedef Pair type;
};
#else
template <class T>
struct UnitOf {
    typedef float type;
};
#endif

inline Lanes spread(float x) { return all(x); }
inline Lanes operand(const float* p) { return load(p); }
inline Lanes operand(const bf16* p) { return load(p); }
inline Lanes added(Lanes sum, Lanes a, Lanes b) { return sum + a * b; }
#if defined(__AVX512BF16__)
inline __m512bh spread(Pair x) { return (__m512bh)_mm512_set1_epi32(x); }
inline __m512bh operand(const Pair* p) { return (__m512bh)_mm512_loadu_si512(p); }
inline Lanes added(Lanes sum, __m512bh a, __m512bh b) { return (Lanes)_mm512_dpbf16_ps((__m512)sum, a, b); }
#endif

// Rows that are read next, ``ld`` apart: so many of them come nearer while others are worked on. A few at a time: what
// asks for many lines at once waits for them.
template <class Unit>
struct Ahead {
    static constexpr int64_t LINE = 64 / sizeof(Unit);
    const Unit* rows;
    int64_t ld, count;
    void fetch(int64_t at) const {
        if (at % LINE == 0)
            for (int64_t i = 0; i < count; i++) __builtin_prefetch(rows + i * ld + at, 0, 2);
    }
    Ahead part(int64_t i, int64_t of) const {
        int64_t first = count * i / of;
        return {rows + first * ld, ld, count * (i + 1) / of - first};
    }
};

// One tile of c[m][n] = a b, or added to it: a(m, k) at a[m * am + k * ak], b and c by rows.
template <int M, class A, class B>
inline void tile(int64_t units, const A* a, int64_t am, int64_t ak, const B* b, int64_t bk, float* c, int64_t cm,
                 bool add, Ahead<B> ahead) {
    Lanes left[M], right[M];
    for (int m = 0; m < M; m++) left[m] = right[m] = Lanes{};
    for (int64_t k = 0; k < units; k++) {
        ahead.fetch(k);
        auto b0 = operand(b + k * bk), b1 = operand(b + k * bk + W);
        for (int m = 0; m < M; m++) {
            auto x = spread(a[m * am + k * ak]);
            left[m] = added(left[m], x, b0);
            right[m] = added(right[m], x, b1);
        }
    }
    for (int m = 0; m < M; m++) {  // what is added is a sum of its own, so that long sums round no more than short ones
        float* to = c + m * cm;
        store(to, add ? load(to) + left[m] : left[m]);
        store(to + W, add ? load(to + W) + right[m] : right[m]);
    }
}

// One column of tiles of c = a b, or added to it; they are about equally tall.
template <class A, class B>
inline void column(int64_t rows, int64_t units, const A* a, int64_t am, int64_t ak, const B* b, int64_t bk, float* c,
                   int64_t cm, bool add, Ahead<B> ahead = {}) {
    int64_t tiles = (rows + ROWS - 1) / ROWS;
    for (int64_t t = 0; t < tiles; t++) {
        int64_t first = rows * t / tiles;
        const A* from = a + first * am;
        float* to = c + first * cm;
        Ahead<B> next = ahead.part(t, tiles);
        switch (rows * (t + 1) / tiles - first) {
            case 1: tile<1>(units, from, am, ak, b, bk, to, cm, add, next); break;
            case 2: tile<2>(units, from, am, ak, b, bk, to, cm, add, next); break;
            case 3: tile<3>(units, from, am, ak, b, bk, to, cm, add, next); break;
#if defined(__AVX__)
            case 4: tile<4>(units, from, am, ak, b, bk, to, cm, add, next); break;
            case 5: tile<5>(units, from, am, ak, b, bk, to, cm, add, next); break;
#endif
            default: tile<ROWS>(units, from, am, ak, b, bk, to, cm, add, next);
        }
    }
}

// c [rows, columns] = a b, or added to it; columns are a multiple of TILE.
template <class A, class B>
inline void product(int64_t rows, int64_t columns, int64_t units, const A* a, int64_t am, int64_t ak, const B* b,
                    int64_t bk, float* c, int64_t cm, bool add = false) {
    for (int64_t n = 0; n < columns; n += TILE) column(rows, units, a, am, ak, b + n, bk, c + n, cm, add);
}

// A row of numbers as the left side of a product along it.
template <class T>
void along(const T* x, int64_t n, float* to) {
    if ((const void*)x == to) return;  // it is one already
    for (int64_t i = 0; i < n; i += W) store(to + i, load(x + i));
}

inline void along(const bf16* x, int64_t n, Pair* to) { memcpy(to, x, n * sizeof(bf16)); }

inline void along(const float* x, int64_t n, Pair* to) {
    for (int64_t i = 0; i < n; i += W) store((bf16*)to + i, load(x + i));
}

// The next rows (as many as a unit has) as a part of either side of a product across them; a missing one is zero.
template <class T>
void across(const T* first, const T*, int64_t n, float* to) {
    along(first, n, to);
}

#if defined(__AVX512BF16__)
inline __m512i halves(const bf16* p) { return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)); }
inline __m512i halves(const float* p) { return _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(p))); }

template <class T>
void across(const T* first, const T* second, int64_t n, Pair* to) {
    for (int64_t i = 0; i < n; i += W) {
        __m512i high = second ? _mm512_slli_epi32(halves(second + i), 16) : _mm512_setzero_si512();
        _mm512_storeu_si512(to + i, _mm512_or_si512(halves(first + i), high));
    }
}
#endif

template <class Unit>
constexpr int64_t units(int64_t numbers) {
    return (numbers + DEPTH<Unit> - 1) / DEPTH<Unit>;
}

#if defined(__AVX512F__)
// Sixteen vectors of sixteen become their own columns.
inline void turn_square(__m512i (&a)[16]) {
    __m512i b[16];
    for (int n = 0; n < 16; n += 2) {
        b[n] = _mm512_unpacklo_epi32(a[n], a[n + 1]);
        b[n + 1] = _mm512_unpackhi_epi32(a[n], a[n + 1]);
    }
    for (int n = 0; n < 16; n += 4)
        for (int odd = 0; odd < 2; odd++) {
            a[n + 2 * odd] = _mm512_unpacklo_epi64(b[n + odd], b[n + 2 + odd]);
            a[n + 2 * odd + 1] = _mm512_unpackhi_epi64(b[n + odd], b[n + 2 + odd]);
        }
    for (int c = 0; c < 4; c++) {  // a[4 g + c] has columns c, 4 + c, .. of rows 4 g to 4 g + 3
        __m512i even = _mm512_shuffle_i32x4(a[c], a[4 + c], 0x88), odd = _mm512_shuffle_i32x4(a[c], a[4 + c], 0xdd);
        __m512i even2 = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0x88);
        __m512i odd2 = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0xdd);
        b[c] = _mm512_shuffle_i32x4(even, even2, 0x88);
        b[4 + c] = _mm512_shuffle_i32x4(odd, odd2, 0x88);
        b[8 + c] = _mm512_shuffle_i32x4(even, even2, 0xdd);
        b[12 + c] = _mm512_shuffle_i32x4(odd, odd2, 0xdd);
    }
    for (int n = 0; n < 16; n++) a[n] = b[n];
}
#elif defined(__AVX__)
// Eight vectors of eight become their own columns.
inline void turn_square(__m256 (&a)[8]) {
    __m256 b[8];
    for (int n = 0; n < 8; n += 2) {
        b[n] = _mm256_unpacklo_ps(a[n], a[n + 1]);
        b[n + 1] = _mm256_unpackhi_ps(a[n], a[n + 1]);
    }
    for (int n = 0; n < 8; n += 4)
        for (int odd = 0; odd < 2; odd++) {
            a[n + 2 * odd] = _mm256_shuffle_ps(b[n + odd], b[n + 2 + odd], 0x44);
            a[n + 2 * odd + 1] = _mm256_shuffle_ps(b[n + odd], b[n + 2 + odd], 0xee);
        }
    for (int c = 0; c < 4; c++) {  // a[4 g + c] has columns c and 4 + c of rows 4 g to 4 g + 3
        b[c] = _mm256_permute2f128_ps(a[c], a[4 + c], 0x20);
        b[4 + c] = _mm256_permute2f128_ps(a[c], a[4 + c], 0x31);
    }
    for (int n = 0; n < 8; n++) a[n] = b[n];
}
#endif

// TILE rows, ``ld`` apart, as the right side of products: [count, TILE].
template <class Unit>
void turn_over(const Unit* rows, int64_t ld, int64_t count, Unit* to) {
    int64_t i = 0;
#if defined(__AVX512F__)
    for (; i + 16 <= count; i += 16)
        for (int64_t r = 0; r < TILE; r += 16) {
            __m512i a[16];
            for (int n = 0; n < 16; n++) a[n] = _mm512_loadu_si512(rows + (r + n) * ld + i);
            turn_square(a);
            for (int n = 0; n < 16; n++) _mm512_storeu_si512(to + (i + n) * TILE + r, a[n]);
        }
#elif defined(__AVX__)
    for (; i + 8 <= count; i += 8)
        for (int64_t r = 0; r < TILE; r += 8) {
            __m256 a[8];
            for (int n = 0; n < 8; n++) a[n] = _mm256_loadu_ps((const float*)(rows + (r + n) * ld + i));
            turn_square(a);
            for (int n = 0; n < 8; n++) _mm256_storeu_ps((float*)(to + (i + n) * TILE + r), a[n]);
        }
#endif
    for (; i < count; i++)
        for (int64_t r = 0; r < TILE; r++) to[i * TILE + r] = rows[r * ld + i];
}
