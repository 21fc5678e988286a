// Causal attention of packed sequences, each of which may see tokens of another as its past; and its gradients.
// Scores exist for a block of queries at a time, of one sequence and one head of keys; nothing is padded.
#pragma once
#include <cmath>
#include <vector>

#include "lanes.h"

constexpr int64_t BLOCK = 48;  // queries at a time, of all heads that share keys

// A sequence: its tokens, those before it, and where both stand among the tokens of its family (the sequences
// that see one another's tokens, whose gradients meet).
struct Segment {
    int64_t start, length, past_start, past, local, past_local;
};

// Tensors [tokens, heads, dim] whose last dimension is contiguous.
template <class T>
struct Heads {
    T* data;
    int64_t token, head;  // strides
    T* at(int64_t t, int64_t h) const { return data + t * token + h * head; }
};

struct Shape {
    int64_t heads, kv_heads, dim;
    float scale;
    int64_t group() const { return heads / kv_heads; }
};

inline int64_t token_of(const Segment& s, int64_t key) {
    return key < s.past ? s.past_start + key : s.start + key - s.past;
}

// Keys or values of a segment in float32: by rows [keys, dim], and by columns [dim, ld].
template <class T>
void gather(const Heads<const T>& x, const Segment& s, int64_t head, int64_t dim, float* by_rows, float* by_columns,
            int64_t ld) {
    int64_t keys = s.past + s.length;
    for (int64_t j = 0; j < keys; j++) {
        const T* from = x.at(token_of(s, j), head);
        float row[W];
        for (int64_t i = 0; i < dim; i += W) {
            store(by_rows ? by_rows + j * dim + i : row, load(from + i));
            if (by_columns)
                for (int w = 0; w < W; w++) by_columns[(i + w) * ld + j] = (by_rows ? by_rows + j * dim + i : row)[w];
        }
    }
    if (by_columns)
        for (int64_t i = 0; i < dim; i++)
            for (int64_t j = keys; j < ld; j++) by_columns[i * ld + j] = 0;
}

// The block's rows of x times ``factor``, [tokens * group, dim]: a token's heads one after another.
template <class T>
void gather_block(const Heads<const T>& x, int64_t first, int64_t tokens, int64_t head, const Shape& shape,
                  float factor, float* rows) {
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t h = 0; h < shape.group(); h++, rows += shape.dim)
            for (int64_t i = 0; i < shape.dim; i += W)
                store(rows + i, load(x.at(first + t, head * shape.group() + h) + i) * factor);
}

inline void hide(float* scores, int64_t seen, int64_t columns) {
    for (int64_t j = seen; j < columns; j++) scores[j] = -__builtin_inff();
}

// Scores become e^(score - largest); returns (largest, their sum).
inline std::pair<float, float> soften(float* scores, int64_t seen, int64_t columns) {
    hide(scores, seen, columns);
    Lanes best = all(-__builtin_inff()), total = {};
    for (int64_t j = 0; j < columns; j += W) best = larger(best, load(scores + j));
    float top = largest(best);
    for (int64_t j = 0; j < columns; j += W) {
        Lanes p = exponential(load(scores + j) - top);
        store(scores + j, p);
        total += p;
    }
    return {top, sum(total)};
}

struct Scratch {
    std::vector<float> memory;
    float* take(int64_t n) {
        float* place = memory.data() + used;
        used += (n + 15) / 16 * 16;
        return place;
    }
    void reset(int64_t n) {
        used = 0;
        if ((int64_t)memory.size() < n + 256) memory.resize(n + 256);
    }
    int64_t used = 0;
};

template <class T>
void attend_segment(Heads<const T> q, Heads<const T> k, Heads<const T> v, T* out, float* lse, const Segment& s,
                    int64_t head, const Shape& shape, Scratch& scratch) {
    int64_t dim = shape.dim, group = shape.group(), keys = s.past + s.length, ld = padded(keys);
    int64_t step = BLOCK / group > 0 ? BLOCK / group : 1;
    scratch.reset(2 * ld * dim + step * group * (2 * dim + ld));
    float *columns = scratch.take(ld * dim), *values = scratch.take(ld * dim);
    float *queries = scratch.take(step * group * dim), *scores = scratch.take(step * group * ld);
    float* found = scratch.take(step * group * dim);
    gather<T>(k, s, head, dim, nullptr, columns, ld);
    gather<T>(v, s, head, dim, values, nullptr, ld);
    for (int64_t first = 0; first < s.length; first += step) {
        int64_t tokens = std::min(step, s.length - first), rows = tokens * group;
        int64_t seen = s.past + first + tokens, wide = padded(seen);
        gather_block<T>(q, s.start + first, tokens, head, shape, shape.scale, queries);
        product(rows, wide, dim, queries, dim, 1, columns, ld, scores, ld);
        float totals[BLOCK > 64 ? BLOCK : 64];
        for (int64_t r = 0; r < rows; r++) {
            int64_t t = first + r / group, h = head * group + r % group;
            auto [top, total] = soften(scores + r * ld, s.past + t + 1, wide);
            lse[(s.start + t) * shape.heads + h] = top + std::log(total);
            totals[r] = total;
        }
        product(rows, dim, seen, scores, ld, 1, values, dim, found, dim);
        for (int64_t r = 0; r < rows; r++) {
            T* to = out + ((s.start + first + r / group) * shape.heads + head * group + r % group) * dim;
            for (int64_t i = 0; i < dim; i += W) store(to + i, load(found + r * dim + i) / totals[r]);
        }
    }
}

template <class T>
void attend(Heads<const T> q, Heads<const T> k, Heads<const T> v, T* out, float* lse, const Segment* segments,
            int64_t count, Shape shape) {
#pragma omp parallel
    {
        Scratch scratch;
#pragma omp for schedule(dynamic)
        for (int64_t task = 0; task < count * shape.kv_heads; task++)
            attend_segment(q, k, v, out, lse, segments[task / shape.kv_heads], task % shape.kv_heads, shape, scratch);
    }
}

// What one segment adds to the gradients of its family's keys and values, dk and dv [family's tokens, dim].
template <class T>
void segment_gradients(Heads<const T> q, Heads<const T> k, Heads<const T> v, const T* out, const float* lse,
                       Heads<const T> dout, T* dq, float* dk, float* dv, const Segment& s, int64_t head,
                       const Shape& shape, Scratch& scratch) {
    int64_t dim = shape.dim, group = shape.group(), keys = s.past + s.length, ld = padded(keys);
    int64_t step = BLOCK / group > 0 ? BLOCK / group : 1, most = step * group;
    scratch.reset(3 * ld * dim + most * (3 * dim + 2 * ld));
    float *key_columns = scratch.take(ld * dim), *key_rows = scratch.take(ld * dim);
    float* value_columns = scratch.take(ld * dim);
    float *queries = scratch.take(most * dim), *given = scratch.take(most * dim), *found = scratch.take(most * dim);
    float *p = scratch.take(most * ld), *ds = scratch.take(most * ld);
    gather<T>(k, s, head, dim, key_rows, key_columns, ld);
    gather<T>(v, s, head, dim, nullptr, value_columns, ld);
    for (int64_t first = 0; first < s.length; first += step) {
        int64_t tokens = std::min(step, s.length - first), rows = tokens * group;
        int64_t seen = s.past + first + tokens, wide = padded(seen);
        gather_block<T>(q, s.start + first, tokens, head, shape, shape.scale, queries);
        gather_block<T>(dout, s.start + first, tokens, head, shape, 1, given);
        product(rows, wide, dim, queries, dim, 1, key_columns, ld, p, ld);
        product(rows, wide, dim, given, dim, 1, value_columns, ld, ds, ld);
        for (int64_t r = 0; r < rows; r++) {
            int64_t t = first + r / group, row = (s.start + t) * shape.heads + head * group + r % group;
            hide(p + r * ld, s.past + t + 1, wide);
            Lanes dot = {};
            for (int64_t i = 0; i < dim; i += W) dot += load(given + r * dim + i) * load(out + row * dim + i);
            float mean = sum(dot);
            for (int64_t j = 0; j < wide; j += W) {
                Lanes x = exponential(load(p + r * ld + j) - lse[row]);
                store(p + r * ld + j, x);
                store(ds + r * ld + j, x * (load(ds + r * ld + j) - mean));
            }
        }
        product(rows, dim, seen, ds, ld, 1, key_rows, dim, found, dim);
        for (int64_t r = 0; r < rows; r++) {
            T* to = dq + ((s.start + first + r / group) * shape.heads + head * group + r % group) * dim;
            for (int64_t i = 0; i < dim; i += W) store(to + i, load(found + r * dim + i) * shape.scale);
        }
        float *past_k = dk + s.past_local * dim, *own_k = dk + s.local * dim;
        float *past_v = dv + s.past_local * dim, *own_v = dv + s.local * dim;
        product(s.past, dim, rows, ds, 1, ld, queries, dim, past_k, dim, true);
        product(seen - s.past, dim, rows, ds + s.past, 1, ld, queries, dim, own_k, dim, true);
        product(s.past, dim, rows, p, 1, ld, given, dim, past_v, dim, true);
        product(seen - s.past, dim, rows, p + s.past, 1, ld, given, dim, own_v, dim, true);
    }
}

// ``families`` [n + 1]: where each family's segments begin. One thread has a family's head, so that sums have one
// order whatever the threads.
template <class T>
void attend_backward(Heads<const T> q, Heads<const T> k, Heads<const T> v, const T* out, const float* lse,
                     Heads<const T> dout, T* dq, T* dk, T* dv, const Segment* segments, const int64_t* families,
                     int64_t count, Shape shape) {
#pragma omp parallel
    {
        Scratch scratch;
        std::vector<float> sums;
#pragma omp for schedule(dynamic)
        for (int64_t task = 0; task < count * shape.kv_heads; task++) {
            int64_t family = task / shape.kv_heads, head = task % shape.kv_heads, tokens = 0, dim = shape.dim;
            const Segment *first = segments + families[family], *last = segments + families[family + 1];
            for (const Segment* s = first; s < last; s++) tokens += s->length;
            sums.assign(2 * tokens * dim, 0);
            float *keys = sums.data(), *values = keys + tokens * dim;
            for (const Segment* s = first; s < last; s++)
                segment_gradients(q, k, v, out, lse, dout, dq, keys, values, *s, head, shape, scratch);
            for (const Segment* s = first; s < last; s++)
                for (int64_t t = 0; t < s->length; t++)
                    for (int64_t i = 0; i < dim; i += W) {
                        int64_t to = ((s->start + t) * shape.kv_heads + head) * dim + i;
                        store(dk + to, load(keys + (s->local + t) * dim + i));
                        store(dv + to, load(values + (s->local + t) * dim + i));
                    }
        }
    }
}
