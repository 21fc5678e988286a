// A matrix of bf16 written as its transpose: products of matrices as they stand are faster than those of turned ones.
#pragma once
#include <algorithm>

#include "lanes.h"
#include "rows.h"

constexpr int64_t TURN = 32;   // rows and columns of a block: a line of the cache on both sides
constexpr int64_t AHEAD = 64;  // rows that are fetched before they are turned: they are too far apart to be foreseen

inline void turn_part(const uint16_t* x, int64_t stride, uint16_t* y, int64_t y_stride, int64_t height, int64_t width) {
    for (int64_t i = 0; i < width; i++)
        for (int64_t r = 0; r < height; r++) y[i * y_stride + r] = x[r * stride + i];
}

#ifdef __AVX512BW__
// Eight rows: t[c] has column c of each lane's eight columns, rows in order.
inline void turn_eight(const uint16_t* x, int64_t stride, __m512i* t) {
    __m512i row[8], pairs[8], fours[8];
    for (int r = 0; r < 8; r++) row[r] = _mm512_loadu_si512(x + r * stride);
    for (int r = 0; r < 8; r += 2) {
        pairs[r] = _mm512_unpacklo_epi16(row[r], row[r + 1]);
        pairs[r + 1] = _mm512_unpackhi_epi16(row[r], row[r + 1]);
    }
    for (int r = 0; r < 8; r += 4)
        for (int i = 0; i < 2; i++) {
            fours[r + 2 * i] = _mm512_unpacklo_epi32(pairs[r + i], pairs[r + i + 2]);
            fours[r + 2 * i + 1] = _mm512_unpackhi_epi32(pairs[r + i], pairs[r + i + 2]);
        }
    for (int i = 0; i < 4; i++) {
        t[2 * i] = _mm512_unpacklo_epi64(fours[i], fours[i + 4]);
        t[2 * i + 1] = _mm512_unpackhi_epi64(fours[i], fours[i + 4]);
    }
}

inline void turn_block(const uint16_t* x, int64_t stride, uint16_t* y, int64_t y_stride) {
    __m512i t[4][8];
    for (int g = 0; g < 4; g++) turn_eight(x + 8 * g * stride, stride, t[g]);
    for (int c = 0; c < 8; c++) {  // lane l of the four has rows of column 8 l + c
        __m512i first = _mm512_shuffle_i32x4(t[0][c], t[1][c], 0x44), second = _mm512_shuffle_i32x4(t[2][c], t[3][c], 0x44);
        __m512i third = _mm512_shuffle_i32x4(t[0][c], t[1][c], 0xEE), fourth = _mm512_shuffle_i32x4(t[2][c], t[3][c], 0xEE);
        _mm512_storeu_si512(y + c * y_stride, _mm512_shuffle_i32x4(first, second, 0x88));
        _mm512_storeu_si512(y + (8 + c) * y_stride, _mm512_shuffle_i32x4(first, second, 0xDD));
        _mm512_storeu_si512(y + (16 + c) * y_stride, _mm512_shuffle_i32x4(third, fourth, 0x88));
        _mm512_storeu_si512(y + (24 + c) * y_stride, _mm512_shuffle_i32x4(third, fourth, 0xDD));
    }
}
#else
inline void turn_block(const uint16_t* x, int64_t stride, uint16_t* y, int64_t y_stride) {
    turn_part(x, stride, y, y_stride, TURN, TURN);
}
#endif

// y [columns, rows] of x [rows, columns], whose rows are ``stride`` apart.
inline void transpose(const bf16* x, int64_t stride, int64_t rows, int64_t columns, bf16* y) {
    const uint16_t* from = &x->bits;
    uint16_t* to = &y->bits;
#pragma omp parallel for schedule(static) if (rows * columns > FEW)
    for (int64_t i = 0; i < columns; i += TURN)
        for (int64_t r = 0; r < rows; r += TURN) {
            const uint16_t* block = from + r * stride + i;
            uint16_t* into = to + i * rows + r;
            int64_t height = std::min(TURN, rows - r), width = std::min(TURN, columns - i);
            for (int64_t k = 0; k < std::min(TURN, rows - r - AHEAD); k++) __builtin_prefetch(block + (AHEAD + k) * stride);
            if (height == TURN && width == TURN)
                turn_block(block, stride, into, rows);
            else
                turn_part(block, stride, into, rows, height, width);
        }
}
