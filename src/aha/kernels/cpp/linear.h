// Products with the weight of a linear layer as it stands, [outputs, width]: no copy of it is kept. Input meets it as it
// is; many rows in float32 have a few of its rows turned over into what a tile reads.
#pragma once
#ifdef _OPENMP
#include <omp.h>
#endif

#include "decode.h"

constexpr int64_t DEEP = 128;  // units of weight that are turned over at a time: 16 KB
#if defined(__AVX512F__)
constexpr int64_t WIDE = 640;  // units of a row that are met at a time, at most
constexpr int64_t NEAR = 20 << 10;  // bytes of input that stay in the nearest cache beside a few rows of a weight
#else
constexpr int64_t WIDE = 1024, NEAR = 40 << 10;  // measured: shorter vectors leave time to read from the next cache
#endif
constexpr int64_t MOST_ROWS = 128;  // of input, whose sums are kept at a time: 16 KB

// Whether input of so many rows meets a weight as it stands: turning it over pays from some rows on, and never where
// two numbers are multiplied at once.
template <class T>
bool few(int64_t rows) {
    return DEPTH<typename UnitOf<T>::type> > 1 || rows < 12;
}

template <class T>
struct Linear {
    const T *weight, *bias;  // [outputs, width], [outputs] or none
};

// c [rows, TILE], or added to it: sums along ``n`` units of x and of the weight, whose rows are ``ld`` units apart.
// ``next``: the four rows of the weight that are read when these are done.
template <class Unit>
void meet_four(const Unit* x, int64_t rows, const Unit* weight, int64_t ld, int64_t n, float* c, bool add,
               const Unit* next) {
    const Unit* four[4];
    for (int64_t i = 0; i < 4; i++) four[i] = weight + i * ld;
    dots_with_four(x, rows, ld, four, n, c, TILE, add, Ahead<Unit>{next, ld, 4});
}

// c [rows, TILE]: sums along x and along the weight, a piece of their width after the other, so that the nearest cache
// holds the input's part while the weight goes by.
template <class Unit>
void meet(const Unit* x, int64_t rows, const Unit* weight, int64_t count, float* c) {
    int64_t pieces = (count + WIDE - 1) / WIDE, wide = (count / pieces + W - 1) / W * W;
    int64_t near = std::max<int64_t>(MET, NEAR / (wide * (int64_t)sizeof(Unit)) / MET * MET);
    for (int64_t first = 0; first < rows; first += near)
        for (int64_t k = 0; k < count; k += wide)
            for (int64_t n = 0; n < TILE; n += 4) {
                const Unit* next = n + 4 < TILE ? weight + (n + 4) * count + k
                                   : k + wide < count ? weight + k + wide : weight + TILE * count;
                meet_four(x + first * count + k, std::min(near, rows - first), weight + n * count + k, count,
                          std::min(wide, count - k), c + first * TILE + n, k > 0, next);
            }
}

// c [rows, TILE] = x [rows, width] times TILE rows of a weight. ``as_it_stands`` is for all rows of an input
// alike, that a row's sums do not depend on how they are divided.
template <class T>
void panel(const T* x, int64_t rows, const T* weight, int64_t width, bool as_it_stands, float* c, void* place) {
    typedef typename UnitOf<T>::type Unit;
    static_assert(sizeof(Unit) == DEPTH<Unit> * sizeof(T), "numbers stand as units do");
    const Unit *a = (const Unit*)x, *b = (const Unit*)weight;
    int64_t count = units<Unit>(width);
    if (as_it_stands) return meet(a, rows, b, count, c);
    for (int64_t k = 0; k < count; k += DEEP) {
        int64_t n = std::min(DEEP, count - k);
        turn_over(b + k, count, n, (Unit*)place);
        const Unit* next = k + n < count ? b + k + n : b + TILE * count;  // meanwhile the next ones come nearer
        column(rows, n, a + k, count, 1, (const Unit*)place, TILE, c, TILE, k > 0, Ahead<Unit>{next, count, TILE});
    }
}

inline int64_t threads() {
#ifdef _OPENMP
    return omp_get_num_threads();
#else
    return 1;
#endif
}

// Divides x [rows, width] times a weight among the threads of a parallel region. Of every panel
// ``work(first row, rows, first output, weight's rows)`` is asked to make the sums and to use them.
template <class Work>
void divide(int64_t rows, int64_t outputs, Work work) {
    int64_t panels = outputs / TILE, blocks = (rows + MOST_ROWS - 1) / MOST_ROWS;
    while (panels * blocks < 2 * threads() && rows / (blocks + 1) >= 4 * ROWS) blocks++;
#pragma omp for schedule(static)
    for (int64_t task = 0; task < panels * blocks; task++) {
        int64_t block = task / panels, first = rows * block / blocks, end = rows * (block + 1) / blocks;
        work(first, end - first, task % panels * TILE);
    }
}

// A thread's place for the sums of a panel, or two, and for what is turned over.
struct Sums {
    std::vector<float> memory = std::vector<float>(2 * MOST_ROWS * TILE + DEEP * TILE);
    float* first() { return memory.data(); }
    float* second() { return first() + MOST_ROWS * TILE; }
    void* place() { return second() + MOST_ROWS * TILE; }
};

// Rows of sums with the bias, W at a time: ``use(row, output, sums)``.
template <class T, class Use>
void each(const float* c, int64_t rows, int64_t output, const T* bias, Use use) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t n = 0; n < TILE; n += W) {
            Lanes x = load(c + r * TILE + n);
            use(r, output + n, bias ? x + load(bias + output + n) : x);
        }
}

// z [rows, outputs] in float32 = x [rows, width] times a weight, at least TILE rows of it, and its bias.
template <class T>
void project(const T* x, int64_t rows, int64_t width, Linear<T> linear, int64_t outputs, float* z) {
#pragma omp parallel if (rows * width * outputs > 1 << 20)
    {
        Sums sums;
        divide(rows, padded(outputs), [&](int64_t first, int64_t count, int64_t output) {
            output = std::min(output, outputs - TILE);  // the last panel makes some of the one before it again
            float* c = sums.first();
            panel(x + first * width, count, linear.weight + output * width, width, few<T>(rows), c, sums.place());
            each(c, count, output, linear.bias, [&](int64_t r, int64_t n, Lanes v) { store(z + (first + r) * outputs + n, v); });
        });
    }
}

// finish(row, output, sums) for all of x [rows, width] times a weight and its bias, within a parallel region.
template <class T, class Finish>
void apply(const T* x, int64_t rows, int64_t width, Linear<T> linear, int64_t outputs, Sums& sums, Finish finish) {
    divide(rows, outputs, [&](int64_t first, int64_t count, int64_t output) {
        float* c = sums.first();
        panel(x + first * width, count, linear.weight + output * width, width, few<T>(rows), c, sums.place());
        each(c, count, output, linear.bias, [&](int64_t r, int64_t n, Lanes v) { finish(first + r, n, v); });
    });
}
