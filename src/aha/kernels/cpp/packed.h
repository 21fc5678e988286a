// Causal attention of packed sequences, each of which may see tokens of another as its past; and its gradients.
// Scores exist for a block of queries at a time, of one sequence and one head of keys; nothing is padded.
#pragma once
#include <cmath>
#include <utility>
#include <vector>

#include "products.h"

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

// Keys or values of a segment as the right side of products with each: [units of dim, ld].
template <class T, class Unit>
void by_columns(const Heads<const T>& x, const Segment& s, int64_t head, int64_t dim, Unit* panel, int64_t ld) {
    int64_t keys = s.past + s.length, count = units<Unit>(dim);
    Unit row[MAX_DIM];
    for (int64_t j = 0; j < keys; j++) {
        along(x.at(token_of(s, j), head), dim, row);
        for (int64_t i = 0; i < count; i++) panel[i * ld + j] = row[i];
    }
    for (int64_t i = 0; i < count; i++)
        for (int64_t j = keys; j < ld; j++) panel[i * ld + j] = 0;
}

// The same as the right side of products over them: [units of keys, dim].
template <class T, class Unit>
void by_rows(const Heads<const T>& x, const Segment& s, int64_t head, int64_t dim, Unit* panel) {
    int64_t keys = s.past + s.length;
    for (int64_t j = 0; j < keys; j += DEPTH<Unit>) {
        bool more = DEPTH<Unit> == 2 && j + 1 < keys;
        across(x.at(token_of(s, j), head), more ? x.at(token_of(s, j + 1), head) : nullptr, dim,
               panel + j / DEPTH<Unit> * dim);
    }
}

// Row ``r`` of a block of tokens: a token's heads stand one after another.
template <class T>
const T* row_of(const Heads<const T>& x, int64_t first, int64_t r, int64_t head, int64_t group) {
    return x.at(first + r / group, head * group + r % group);
}

// Which row of [tokens, heads] that is.
inline int64_t place_of(int64_t first, int64_t r, int64_t head, const Shape& shape) {
    return (first + r / shape.group()) * shape.heads + head * shape.group() + r % shape.group();
}

inline void hide(float* scores, int64_t seen, int64_t columns) {
    for (int64_t j = seen; j < columns; j++) scores[j] = -__builtin_inff();
}

// Scores become e^(score * scale - largest); returns (largest, their sum).
inline std::pair<float, float> soften(float* scores, int64_t seen, int64_t columns, float scale) {
    hide(scores, seen, columns);
    Lanes best = all(-__builtin_inff()), total = {};
    for (int64_t j = 0; j < columns; j += W) best = larger(best, load(scores + j));
    float top = largest(best) * scale;
    for (int64_t j = 0; j < columns; j += W) {
        Lanes p = exponential(load(scores + j) * scale - top);
        store(scores + j, p);
        total += p;
    }
    return {top, sum(total)};
}

struct Scratch {
    std::vector<float> memory;
    template <class Unit = float>
    Unit* take(int64_t n) {
        Unit* place = (Unit*)(memory.data() + used);
        used += (n + 15) / 16 * 16;
        return place;
    }
    // Room for units made of ``numbers``: their own place where they are numbers themselves.
    template <class Unit>
    Unit* beside(float* numbers, int64_t n) {
        return DEPTH<Unit> == 1 ? (Unit*)numbers : take<Unit>(n);
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
    typedef typename UnitOf<T>::type Unit;
    int64_t dim = shape.dim, group = shape.group(), ld = padded(s.past + s.length);
    int64_t step = BLOCK / group > 0 ? BLOCK / group : 1, most = step * group, wide_row = units<Unit>(dim);
    scratch.reset(2 * ld * dim + most * (2 * dim + 2 * ld));
    Unit *columns = scratch.take<Unit>(ld * dim), *values = scratch.take<Unit>(ld * dim);
    Unit* queries = scratch.take<Unit>(most * dim);
    float *scores = scratch.take(most * ld), *found = scratch.take(most * dim);
    Unit* p = scratch.beside<Unit>(scores, most * ld);
    std::vector<float> totals(most);
    by_columns(k, s, head, dim, columns, ld);
    by_rows(v, s, head, dim, values);
    for (int64_t first = 0; first < s.length; first += step) {
        int64_t tokens = std::min(step, s.length - first), rows = tokens * group;
        int64_t seen = s.past + first + tokens, wide = padded(seen);
        for (int64_t r = 0; r < rows; r++) along(row_of(q, s.start + first, r, head, group), dim, queries + r * wide_row);
        product(rows, wide, wide_row, queries, wide_row, 1, columns, ld, scores, ld);
        for (int64_t r = 0; r < rows; r++) {
            int64_t t = first + r / group, row = place_of(s.start + first, r, head, shape);
            auto [top, total] = soften(scores + r * ld, s.past + t + 1, wide, shape.scale);
            lse[row] = top + std::log(total);
            totals[r] = total;
            along(scores + r * ld, wide, p + r * ld);
        }
        product(rows, dim, units<Unit>(seen), p, ld, 1, values, dim, found, dim);
        for (int64_t r = 0; r < rows; r++) {
            T* to = out + place_of(s.start + first, r, head, shape) * dim;
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
    typedef typename UnitOf<T>::type Unit;
    int64_t dim = shape.dim, group = shape.group(), ld = padded(s.past + s.length);
    int64_t step = BLOCK / group > 0 ? BLOCK / group : 1, most = step * group, wide_row = units<Unit>(dim);
    scratch.reset(3 * ld * dim + most * (5 * dim + 5 * ld));
    Unit *key_columns = scratch.take<Unit>(ld * dim), *key_rows = scratch.take<Unit>(ld * dim);
    Unit* value_columns = scratch.take<Unit>(ld * dim);
    Unit *queries = scratch.take<Unit>(most * dim), *given = scratch.take<Unit>(most * dim);
    Unit* query_rows = scratch.beside<Unit>((float*)queries, most * dim);
    Unit* given_rows = scratch.beside<Unit>((float*)given, most * dim);
    float *p = scratch.take(most * ld), *ds = scratch.take(most * ld), *found = scratch.take(most * dim);
    Unit *p_rows = scratch.beside<Unit>(p, most * ld), *ds_rows = scratch.beside<Unit>(ds, most * ld);
    Unit* ds_along = scratch.beside<Unit>(ds, most * ld);
    by_columns(k, s, head, dim, key_columns, ld);
    by_rows(k, s, head, dim, key_rows);
    by_columns(v, s, head, dim, value_columns, ld);
    for (int64_t first = 0; first < s.length; first += step) {
        int64_t tokens = std::min(step, s.length - first), rows = tokens * group, start = s.start + first;
        int64_t seen = s.past + first + tokens, wide = padded(seen);
        for (int64_t r = 0; r < rows; r++) {
            along(row_of(q, start, r, head, group), dim, queries + r * wide_row);
            along(row_of(dout, start, r, head, group), dim, given + r * wide_row);
        }
        product(rows, wide, wide_row, queries, wide_row, 1, key_columns, ld, p, ld);
        product(rows, wide, wide_row, given, wide_row, 1, value_columns, ld, ds, ld);
        for (int64_t r = 0; r < rows; r++) {
            int64_t t = first + r / group, row = place_of(s.start + first, r, head, shape);
            const T *gave = row_of(dout, start, r, head, group), *made = out + row * dim;
            hide(p + r * ld, s.past + t + 1, wide);
            Lanes dot = {};
            for (int64_t i = 0; i < dim; i += W) dot += load(gave + i) * load(made + i);
            float mean = sum(dot);
            for (int64_t j = 0; j < wide; j += W) {
                Lanes x = exponential(load(p + r * ld + j) * shape.scale - lse[row]);
                store(p + r * ld + j, x);
                store(ds + r * ld + j, x * (load(ds + r * ld + j) - mean) * shape.scale);
            }
            along(ds + r * ld, wide, ds_along + r * ld);
        }
        for (int64_t r = 0, u = 0; r < rows; r += DEPTH<Unit>, u++) {
            bool more = DEPTH<Unit> == 2 && r + 1 < rows;
            across(p + r * ld, more ? p + (r + 1) * ld : nullptr, wide, p_rows + u * ld);
            across(ds + r * ld, more ? ds + (r + 1) * ld : nullptr, wide, ds_rows + u * ld);
            auto next = [&](const Heads<const T>& x) { return more ? row_of(x, start, r + 1, head, group) : nullptr; };
            across(row_of(q, start, r, head, group), next(q), dim, query_rows + u * dim);
            across(row_of(dout, start, r, head, group), next(dout), dim, given_rows + u * dim);
        }
        product(rows, dim, units<Unit>(seen), ds_along, ld, 1, key_rows, dim, found, dim);
        for (int64_t r = 0; r < rows; r++) {
            T* to = dq + place_of(start, r, head, shape) * dim;
            for (int64_t i = 0; i < dim; i += W) store(to + i, load(found + r * dim + i));
        }
        int64_t deep = units<Unit>(rows), own = seen - s.past;
        product(s.past, dim, deep, ds_rows, 1, ld, query_rows, dim, dk + s.past_local * dim, dim, true);
        product(own, dim, deep, ds_rows + s.past, 1, ld, query_rows, dim, dk + s.local * dim, dim, true);
        product(s.past, dim, deep, p_rows, 1, ld, given_rows, dim, dv + s.past_local * dim, dim, true);
        product(own, dim, deep, p_rows + s.past, 1, ld, given_rows, dim, dv + s.local * dim, dim, true);
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
