// What is done to each row (token) alone: RMS norm, SwiGLU's product, rotary positions; and their gradients.
// Widths are multiples of 16. All sums are float32, and each result is rounded once.
#pragma once
#include <cmath>
#include <vector>

#include "lanes.h"

constexpr int64_t FEW = 1 << 14;    // elements that are not worth a second thread
constexpr int64_t CHUNK = 64;       // rows whose weight gradients are summed together, whatever the threads

template <class T>
float square_sum(const T* x, int64_t width) {
    Lanes total = {};
    for (int64_t i = 0; i < width; i += W) {
        Lanes a = load(x + i);
        total += a * a;
    }
    return sum(total);
}

// y = x / sqrt(mean(x^2) + eps) * weight of one row; returns the factor of x.
template <class T>
float norm_row(const T* x, const T* weight, T* y, int64_t width, float eps) {
    float factor = 1 / std::sqrt(square_sum(x, width) / width + eps);
    for (int64_t i = 0; i < width; i += W) store(y + i, load(x + i) * factor * load(weight + i));
    return factor;
}

template <class T>
void norm(const T* x, int64_t stride, const T* weight, T* y, float* factors, int64_t rows, int64_t width, float eps) {
#pragma omp parallel for schedule(static) if (rows * width > FEW)
    for (int64_t r = 0; r < rows; r++) {
        float factor = norm_row(x + r * stride, weight, y + r * width, width, eps);
        if (factors) factors[r] = factor;
    }
}

template <class T>
void norm_backward(const T* dy, const T* x, int64_t stride, const T* weight, const float* factors, T* dx, T* dweight,
                   int64_t rows, int64_t width) {
    int64_t chunks = (rows + CHUNK - 1) / CHUNK;
    std::vector<float> partial(chunks * width);
#pragma omp parallel for schedule(static) if (rows * width > FEW)
    for (int64_t c = 0; c < chunks; c++) {
        float* dw = partial.data() + c * width;
        for (int64_t r = c * CHUNK; r < rows && r < (c + 1) * CHUNK; r++) {
            const T *g = dy + r * width, *row = x + r * stride;
            float factor = factors[r];
            Lanes dot = {};
            for (int64_t i = 0; i < width; i += W) {
                Lanes a = load(row + i), b = load(g + i);
                store(dw + i, load(dw + i) + a * b * factor);
                dot += a * b * load(weight + i);
            }
            float mean = sum(dot) / width * factor * factor * factor;
            for (int64_t i = 0; i < width; i += W)
                store(dx + r * width + i, load(g + i) * load(weight + i) * factor - load(row + i) * mean);
        }
    }
    for (int64_t c = 1; c < chunks; c++)
        for (int64_t i = 0; i < width; i += W)
            store(partial.data() + i, load(partial.data() + i) + load(partial.data() + c * width + i));
    for (int64_t i = 0; i < width; i += W) store(dweight + i, chunks ? load(partial.data() + i) : Lanes{});
}

// y = silu(gate) * up; rows of gate and up lie ``stride`` apart.
template <class T>
void swiglu(const T* gate, const T* up, int64_t stride, T* y, int64_t rows, int64_t width) {
#pragma omp parallel for schedule(static) if (rows * width > FEW)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < width; i += W) {
            Lanes g = load(gate + r * stride + i);
            store(y + r * width + i, g * sigmoid(g) * load(up + r * stride + i));
        }
}

// All of its rows but those of dy lie ``stride`` apart.
template <class T>
void swiglu_backward(const T* dy, const T* gate, const T* up, T* dgate, T* dup, int64_t stride, int64_t rows,
                     int64_t width) {
#pragma omp parallel for schedule(static) if (rows * width > FEW)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < width; i += W) {
            int64_t at = r * stride + i;
            Lanes g = load(gate + at), d = load(dy + r * width + i), s = sigmoid(g);
            store(dgate + at, d * load(up + at) * s * (1.f + g * (1.f - s)));
            store(dup + at, d * g * s);
        }
}

// Halves (a, b) of one head become (a cos - b sin, b cos + a sin): positions as Llama rotates them. ``sign`` -1
// turns back, which is the gradient where the two halves of the tables are equal, as they are.
template <class T, class U>
void rotate_head(const T* x, const T* cos, const T* sin, U* y, int64_t dim, float sign) {
    int64_t half = dim / 2;
    for (int64_t i = 0; i < half; i += W) {
        Lanes a = load(x + i), b = load(x + half + i);
        store(y + i, a * load(cos + i) - b * load(sin + i) * sign);
        store(y + half + i, b * load(cos + half + i) + a * load(sin + half + i) * sign);
    }
}

template <class T>
void rotate(const T* x, int64_t stride, int64_t head_stride, const T* cos, const T* sin, T* y,
            int64_t y_stride, int64_t rows, int64_t heads, int64_t dim, float sign) {
#pragma omp parallel for schedule(static) if (rows * heads * dim > FEW)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t h = 0; h < heads; h++)
            rotate_head(x + r * stride + h * head_stride, cos + r * dim, sin + r * dim, y + r * y_stride + h * dim,
                        dim, sign);
}
