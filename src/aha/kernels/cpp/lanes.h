// Vectors of the width this CPU has, bf16 in and out of float32, and exponentials.
#pragma once
#include <cstdint>
#include <cstring>
#ifdef __AVX__
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
constexpr int W = 16, ROWS = 6, MET = 4;  // lanes of a vector; rows of a tile of products; rows that meet four others
#elif defined(__AVX__)
constexpr int W = 8, ROWS = 6, MET = 3;  // as many sums as there are registers for: 12 of 16
#else
constexpr int W = 4, ROWS = 4, MET = 3;
#endif
constexpr int TILE = 2 * W;  // columns of a tile
constexpr int MAX_DIM = 512;  // of a head; door.py says the same

typedef float Lanes __attribute__((vector_size(4 * W)));
typedef int32_t Ints __attribute__((vector_size(4 * W)));
typedef uint32_t Words __attribute__((vector_size(4 * W)));
typedef uint16_t Halves __attribute__((vector_size(2 * W)));

struct bf16 {
    uint16_t bits;
};

inline Lanes all(float x) { return x - Lanes{}; }

inline Lanes load(const float* p) {
    Lanes x;
    memcpy(&x, p, sizeof x);
    return x;
}

inline void store(float* p, Lanes x) { memcpy(p, &x, sizeof x); }

inline Lanes load(const bf16* p) {
#ifdef __AVX512F__
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p));
    return (Lanes)_mm512_slli_epi32(wide, 16);
#else
    Halves h;
    memcpy(&h, p, sizeof h);
    return (Lanes)(__builtin_convertvector(h, Words) << 16);
#endif
}

inline void store(bf16* p, Lanes x) {  // to the nearest, ties to even; NaN stays NaN
#ifdef __AVX512BF16__
    __m256bh h = _mm512_cvtneps_pbh((__m512)x);
    memcpy(p, &h, sizeof h);
#else
    Words bits = (Words)x;
    Words rounded = bits + 0x7fff + ((bits >> 16) & 1);
    Words nan = (Words)(x != x);
    Halves h = __builtin_convertvector((nan & 0x7fc00000u | ~nan & rounded) >> 16, Halves);
    memcpy(p, &h, sizeof h);
#endif
}

typedef float Eight __attribute__((vector_size(32)));
typedef float Four __attribute__((vector_size(16)));

inline float sum(Four x) { return (x[0] + x[2]) + (x[1] + x[3]); }
#if defined(__AVX__)
inline Four halved(Eight x) {
    return (Four)_mm256_castps256_ps128((__m256)x) + (Four)_mm256_extractf128_ps((__m256)x, 1);
}
inline float sum(Eight x) { return sum(halved(x)); }
#endif
#if defined(__AVX512F__)
inline Eight halved(Lanes x) {
    __m512d whole = (__m512d)x;
    return (Eight)_mm512_castpd512_pd256(whole) + (Eight)_mm512_extractf64x4_pd(whole, 1);
}
inline float sum(Lanes x) { return sum(halved(x)); }
#endif

// The sums of four vectors: neighbours are brought together first, so that four cost little more than one.
#if defined(__AVX512F__)
inline __m512 crossed(__m512 a, __m512 b) { return _mm512_unpacklo_ps(a, b) + _mm512_unpackhi_ps(a, b); }
inline Four sums(Lanes a, Lanes b, Lanes c, Lanes d) {
    __m512d ab = (__m512d)crossed((__m512)a, (__m512)b), cd = (__m512d)crossed((__m512)c, (__m512)d);
    return halved(halved((Lanes)_mm512_unpacklo_pd(ab, cd) + (Lanes)_mm512_unpackhi_pd(ab, cd)));
}
#elif defined(__AVX__)
inline __m256 crossed(__m256 a, __m256 b) { return _mm256_unpacklo_ps(a, b) + _mm256_unpackhi_ps(a, b); }
inline Four sums(Lanes a, Lanes b, Lanes c, Lanes d) {
    __m256d ab = (__m256d)crossed((__m256)a, (__m256)b), cd = (__m256d)crossed((__m256)c, (__m256)d);
    return halved((Lanes)_mm256_unpacklo_pd(ab, cd) + (Lanes)_mm256_unpackhi_pd(ab, cd));
}
#else
inline Four sums(Lanes a, Lanes b, Lanes c, Lanes d) { return Four{sum(a), sum(b), sum(c), sum(d)}; }
#endif

inline Lanes larger(Lanes a, Lanes b) { return b > a ? b : a; }  // a where b is NaN

inline float largest(Lanes x) {
    float best = x[0];
    for (int i = 1; i < W; i++) best = x[i] > best ? x[i] : best;
    return best;
}

// e^f for |f| up to half of ln 2 (the polynomial of Cephes).
inline Lanes series(Lanes f) {
    Lanes p = f * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * f + 8.3334519073e-3f;
    p = p * f + 4.1665795894e-2f;
    p = p * f + 1.6666665459e-1f;
    p = p * f + 5.0000001201e-1f;
    return p * f * f + f + 1.f;
}

// e^x to about two units in the last place; 0 where it is below the least float32 (or, on other CPUs, below e^-87),
// infinity above e^88.7; NaN stays NaN.
#if defined(__AVX512F__)
inline Lanes exponential(Lanes x) {
    __m512 y = _mm512_min_ps(_mm512_set1_ps(89.f), _mm512_max_ps(_mm512_set1_ps(-110.f), (__m512)x));
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(y, _mm512_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT);
    Lanes f = (Lanes)y - (Lanes)n * 0.693359375f + (Lanes)n * 2.12194440e-4f;
    return (Lanes)_mm512_scalef_ps((__m512)series(f), n);
}
#else
inline Lanes exponential(Lanes x) {
    Lanes low = all(-87.3f), high = all(88.7f);
    Lanes under = (Lanes)((Words)(x < low)), y = x < low ? low : x;
    y = y > high ? high : y;
    Lanes n = y * 1.44269504f + 12582912.f;  // rounded by the addition
    n -= 12582912.f;
    Lanes p = series(y - n * 0.693359375f + n * 2.12194440e-4f);
    p *= (Lanes)((__builtin_convertvector(n, Ints) + 127) << 23);
    p = x > high ? all(__builtin_inff()) : p;
    return (Lanes)((Words)p & ~(Words)under);
}
#endif

// 1 / (1 + e^-x)
inline Lanes sigmoid(Lanes x) {
    Lanes y = x < -80.f ? all(-80.f) : x, d = 1.f + exponential(-y);
#if defined(__AVX512F__)
    Lanes r = (Lanes)_mm512_rcp14_ps((__m512)d);  // and one step of Newton's: cheaper than to divide
    return r * (2.f - d * r);
#else
    return 1.f / d;
#endif
}

inline int64_t padded(int64_t n) { return (n + TILE - 1) / TILE * TILE; }

// Have memory brought near, to the second cache: more than the first holds is on its way.
inline void fetch(const void* from, int64_t bytes) {
    for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch((const char*)from + at, 0, 2);
}
