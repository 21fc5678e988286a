// Products on the CPU's matrix units (AMX): bf16 in, sums in float32. A linear layer's weight is read as it stands:
// its rows are the left side, and tokens stand in columns on the right. Whatever the rows are, an output is summed in
// one order, so that a token's result does not depend on those beside it.
#pragma once
#include "linear.h"

inline bool& wanted() {  // a test may go without
    static bool yes = true;
    return yes;
}

#if defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__linux__)
#define MATRIX_UNITS
#include <sys/syscall.h>
#include <unistd.h>

constexpr int64_t SIDE = 16;         // rows of a matrix tile, units of each, and tokens of a block
constexpr int64_t DEEP_TILE = 32;    // numbers of a row of a tile
constexpr int64_t STRIP = 2 * SIDE;  // outputs at a time
constexpr int64_t BLOCKS = 8;        // of tokens, whose sums are kept at a time
static_assert(STRIP == TILE, "sums have the same room");

// Whether they are used: the operating system is asked once.
inline bool matrix_units() {
    static const bool granted = syscall(SYS_arch_prctl, 0x1023, 18) == 0;
    return granted && wanted();
}

// A thread's matrix tiles, all of full size, for as long as this lives.
struct Tiles {
    Tiles() {
        alignas(64) uint8_t config[64] = {1};
        for (int i = 0; i < 8; i++) config[16 + 2 * i] = 64, config[48 + i] = 16;
        asm volatile("ldtilecfg %0" ::"m"(config));
    }
    ~Tiles() { _tile_release(); }
};

// Tokens in columns: [blocks of SIDE tokens, units of width, SIDE]. Missing tokens of the last block are zero.
struct Columns {
    Pair* data;
    int64_t tokens, width;
    int64_t blocks() const { return (tokens + SIDE - 1) / SIDE; }
    int64_t block() const { return width / 2 * SIDE; }  // units of one
    int64_t size() const { return blocks() * block(); }
    Pair* at(int64_t b, int64_t unit = 0) const { return data + b * block() + unit * SIDE; }
};

inline Lanes low(__m512i pairs) { return (Lanes)_mm512_slli_epi32(pairs, 16); }
inline Lanes high(__m512i pairs) { return (Lanes)_mm512_and_si512(pairs, _mm512_set1_epi32(0xffff0000)); }
inline __m512i pairs_of(const Pair* p) { return _mm512_loadu_si512(p); }

// The numbers of two vectors, rounded, as pairs.
inline __m512i paired(Lanes first, Lanes second) {
    __m512i a = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)first));
    __m512i b = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)second));
    return _mm512_or_si512(a, _mm512_slli_epi32(b, 16));
}

// Rows [tokens, width] into columns or back, divided among the threads of a parallel region.
inline void into_columns(const bf16* x, const Columns& to) {
    int64_t pieces = to.width / DEEP_TILE;
#pragma omp for schedule(static)
    for (int64_t task = 0; task < to.blocks() * pieces; task++) {
        int64_t b = task / pieces, piece = task % pieces;
        __m512i a[SIDE];
        for (int64_t r = 0; r < SIDE; r++) {
            int64_t token = b * SIDE + r;
            a[r] = token < to.tokens ? _mm512_loadu_si512(x + token * to.width + piece * DEEP_TILE) : _mm512_setzero_si512();
        }
        turn_square(a);
        for (int64_t i = 0; i < SIDE; i++) _mm512_storeu_si512(to.at(b, piece * SIDE + i), a[i]);
    }
}

inline void into_rows(const Columns& x, bf16* to) {
#pragma omp for schedule(static)
    for (int64_t b = 0; b < x.blocks(); b++)
        for (int64_t unit = 0; unit < x.width / 2; unit += SIDE) {
            __m512i a[SIDE];
            for (int64_t i = 0; i < SIDE; i++) a[i] = pairs_of(x.at(b, unit + i));
            turn_square(a);
            for (int64_t r = 0; r < SIDE && b * SIDE + r < x.tokens; r++)
                _mm512_storeu_si512(to + (b * SIDE + r) * x.width + 2 * unit, a[r]);
        }
}

// c [STRIP, ld] = STRIP rows of a weight times N blocks of tokens, ``block`` units apart. Meanwhile ``step`` bytes at
// ``ahead`` come nearer for each tile's width.
template <int N>
void tiles(const bf16* weight, int64_t width, const Pair* x, int64_t block, float* c, int64_t ld, const char* ahead,
           int64_t step) {
    const bf16* below = weight + SIDE * width;
    asm volatile("" ::: "memory");  // what is loaded here has been stored before
    _tile_zero(0);
    _tile_zero(1);
    if (N > 1) {
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t k = 0; k < width; k += DEEP_TILE, x += SIDE * SIDE) {
        fetch(ahead, step);
        ahead += step;
        _tile_loadd(4, weight + k, width * sizeof(bf16));
        _tile_loadd(5, below + k, width * sizeof(bf16));
        _tile_loadd(6, x, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 5, 6);
        if (N > 1) {
            _tile_loadd(7, x + block, 64);
            _tile_dpbf16ps(2, 4, 7);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, c, ld * sizeof(float));
    _tile_stored(1, c + SIDE * ld, ld * sizeof(float));
    if (N > 1) {
        _tile_stored(2, c + SIDE, ld * sizeof(float));
        _tile_stored(3, c + SIDE * ld + SIDE, ld * sizeof(float));
    }
}

// c [STRIP, SIDE * count] = STRIP rows of a weight times ``count`` blocks of x from ``first`` on. Meanwhile what stands
// at ``next``, if anything, comes nearer: as much as is read here.
inline void strip(const bf16* weight, const Columns& x, int64_t first, int64_t count, float* c, const bf16* next) {
    int64_t ld = count * SIDE, passes = (count + 1) / 2, each = next ? STRIP * DEEP_TILE * sizeof(bf16) / passes : 0;
    const char* ahead = (const char*)next;
    int64_t b = 0;
    for (; b + 2 <= count; b += 2, ahead += x.width / DEEP_TILE * each)
        tiles<2>(weight, x.width, x.at(first + b), x.block(), c + b * SIDE, ld, ahead, each);
    if (b < count) tiles<1>(weight, x.width, x.at(first + b), 0, c + b * SIDE, ld, ahead, each);
}

// Which strips of a weight are a thread's: they stand one behind the other.
struct Share {
    int64_t first, end;
    explicit Share(int64_t strips) {
#ifdef _OPENMP
        int64_t n = omp_get_num_threads(), i = omp_get_thread_num();
#else
        int64_t n = 1, i = 0;
#endif
        first = strips * i / n, end = strips * (i + 1) / n;
    }
};

// What a thread reads first of the weight that comes next.
struct Next {
    const bf16* weight;
    int64_t width, outputs;
    const bf16* mine() const { return weight ? weight + Share(outputs / STRIP).first * STRIP * width : nullptr; }
};

// use(first output, first block, blocks, sums [STRIP, blocks * SIDE]) for all of x times a weight: its share of each
// thread of a parallel region, which wait for each other behind it.
template <class Use>
void by_strips(const Columns& x, const bf16* weight, int64_t outputs, const Next& then, float* c, Use use) {
    int64_t size = STRIP * x.width;
    Share mine(outputs / STRIP);
    for (int64_t s = mine.first; s < mine.end; s++) {
        const bf16* next = s + 1 < mine.end ? weight + (s + 1) * size : then.mine();
        for (int64_t b = 0; b < x.blocks(); b += BLOCKS, next = nullptr) {
            int64_t count = std::min(BLOCKS, x.blocks() - b);
            strip(weight + s * size, x, b, count, c, next);
            use(s * STRIP, b, count, c);
        }
    }
#pragma omp barrier
}

// One output's sums of a block, with its bias.
inline Lanes sums_of(const float* c, int64_t ld, int64_t output, int64_t b, const bf16* bias) {
    Lanes x = load(c + output * ld + b * SIDE);
    if (!bias) return x;
    uint32_t bits = (uint32_t)bias[output].bits << 16;
    float added;
    memcpy(&added, &bits, sizeof added);
    return x + added;
}

// Sums of a strip as rows of bf16 [tokens, ld]; its first ``skip`` outputs stay as they are.
inline void strip_to_rows(const float* c, int64_t first, int64_t count, const bf16* bias, int64_t tokens, bf16* to,
                          int64_t ld, int64_t skip = 0) {
    __mmask32 those = 0xffffffffu << skip;
    for (int64_t b = 0; b < count; b++) {
        __m512i a[SIDE];
        for (int64_t p = 0; p < SIDE; p++)
            a[p] = paired(sums_of(c, count * SIDE, 2 * p, b, bias), sums_of(c, count * SIDE, 2 * p + 1, b, bias));
        turn_square(a);
        int64_t token = (first + b) * SIDE;
        for (int64_t r = 0; r < SIDE && token + r < tokens; r++) _mm512_mask_storeu_epi16(to + (token + r) * ld, those, a[r]);
    }
}

// The same as rows of float32.
inline void strip_to_rows(const float* c, int64_t first, int64_t count, const bf16* bias, int64_t tokens, float* to, int64_t ld) {
    for (int64_t b = 0; b < count; b++)
        for (int64_t half = 0; half < STRIP; half += SIDE) {
            __m512i a[SIDE];
            for (int64_t i = 0; i < SIDE; i++) a[i] = (__m512i)sums_of(c, count * SIDE, half + i, b, bias);
            turn_square(a);
            int64_t token = (first + b) * SIDE;
            for (int64_t r = 0; r < SIDE && token + r < tokens; r++)
                _mm512_storeu_si512(to + (token + r) * ld + half, a[r]);
        }
}
#else
inline bool matrix_units() { return false; }
#endif
