// What is read off logits [rows, vocabulary] in float32: a token's log probability, the entropy, a drawn token.
#pragma once
#include <cmath>

#include "lanes.h"

// A row's values times a factor, W at a time; the end is filled with -infinity.
struct Row {
    const float* z;
    int64_t size;
    float factor;
    Lanes at(int64_t i) const {
        if (i + W <= size) return load(z + i) * factor;
        Lanes x = all(-__builtin_inff());
        for (int64_t n = 0; n < size - i; n++) x[n] = z[i + n] * factor;
        return x;
    }
    float largest() const {
        Lanes best = all(-__builtin_inff());
        for (int64_t i = 0; i < size; i += W) best = larger(best, at(i));
        return ::largest(best);
    }
};

// log softmax(z * factor) at ``tokens``, its entropy, and each row's log of the sum.
inline void score(const float* z, int64_t rows, int64_t size, float factor, const int64_t* tokens, float* logprobs,
                  float* entropies, float* lse) {
#pragma omp parallel for schedule(static) if (rows * size > 1 << 14)
    for (int64_t r = 0; r < rows; r++) {
        Row row{z + r * size, size, factor};
        float top = row.largest();
        Lanes total = {}, dot = {};
        for (int64_t i = 0; i < size; i += W) {
            Lanes x = row.at(i) - top, p = exponential(x);
            total += p;
            dot += p * (p > 0.f ? x : Lanes{});  // what has no probability adds nothing
        }
        float whole = sum(total), log = std::log(whole);
        logprobs[r] = row.z[tokens[r]] * factor - top - log;
        entropies[r] = log - sum(dot) / whole;
        lse[r] = top + log;
    }
}

// z becomes the gradient of sum(dlogprob * logprob + dentropy * entropy); ``scale`` multiplies it.
inline void score_backward(float* z, int64_t rows, int64_t size, float factor, const int64_t* tokens,
                           const float* entropies, const float* lse, const float* dlogprobs, const float* dentropies,
                           float scale) {
#pragma omp parallel for schedule(static) if (rows * size > 1 << 14)
    for (int64_t r = 0; r < rows; r++) {
        Row row{z + r * size, size, factor};
        float by = factor * scale, given = dlogprobs[r], spread = dentropies ? dentropies[r] : 0;
        int64_t token = tokens[r];
        for (int64_t i = 0; i < size; i += W) {
            Lanes log = row.at(i) - lse[r], p = exponential(log);
            Lanes d = -p * given;
            if (spread != 0) d -= p * ((p > 0.f ? log : Lanes{}) + entropies[r]) * spread;
            d *= by;
            float* to = z + r * size + i;
            if (i + W <= size) store(to, d);
            else
                for (int64_t n = 0; n < size - i; n++) to[n] = d[n];
        }
        z[r * size + token] += given * by;
    }
}

// One token a row: the first whose cumulated probability under softmax(z * factor) is above ``uniform``.
inline void pick(const float* z, int64_t rows, int64_t size, float factor, const float* uniform, int64_t* tokens,
                 float* logprobs) {
#pragma omp parallel for schedule(static) if (rows * size > 1 << 14)
    for (int64_t r = 0; r < rows; r++) {
        Row row{z + r * size, size, factor};
        float top = row.largest();
        Lanes total = {};
        for (int64_t i = 0; i < size; i += W) total += exponential(row.at(i) - top);
        float whole = sum(total), limit = uniform[r] * whole, before = 0;
        int64_t found = -1, last = 0;
        for (int64_t i = 0; i < size && found < 0; i += W) {
            Lanes p = exponential(row.at(i) - top);
            float part = sum(p);
            if (part > 0) last = i;
            if (before + part > limit) {
                for (int n = 0; n < W && found < 0; n++) {
                    before += p[n];
                    if (before > limit && p[n] > 0) found = i + n;
                }
            } else {
                before += part;
            }
        }
        if (found < 0) {  // rounding stepped past the end: the last that can be drawn
            Lanes p = exponential(row.at(last) - top);
            for (int n = 0; n < W; n++)
                if (p[n] > 0) found = last + n;
        }
        tokens[r] = found < 0 ? 0 : found;
        logprobs[r] = row.z[tokens[r]] * factor - top - std::log(whole);
    }
}
