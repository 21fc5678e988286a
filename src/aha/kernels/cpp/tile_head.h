// The output projection on matrix units, and what is read off its logits while they are near: they never exist whole.
// A vector holds one output's logits of sixteen tokens. Sums over the vocabulary are taken in pieces whose bounds do
// not depend on threads or tokens, and joined in their order.
#pragma once
#include "head.h"
#include "tile_step.h"

#ifdef MATRIX_UNITS
constexpr float LOWEST = -3e38f;
constexpr int64_t PIECE = 16;  // strips whose weight fits the second cache, and serve all tokens

// Sums over some outputs of softmax(z): of e^(z - top), and of that times z - top.
struct Softmax {
    Lanes top = all(LOWEST), total = {}, dot = {};

    void raise(Lanes to) {
        Lanes away = to - top, by = exponential(-away);
        dot = (dot - away * total) * by;
        total *= by;
        top = to;
    }
    template <bool WITH_DOT>
    void add(const float* z, int64_t ld) {
        Lanes best = top;
        for (int64_t i = 0; i < STRIP; i++) best = larger(best, load(z + i * ld));
        raise(best);
        Lanes totals[2] = {}, dots[2] = {};
        for (int64_t i = 0; i < STRIP; i++) {
            Lanes x = load(z + i * ld) - top, p = exponential(x);
            totals[i % 2] += p;
            if (WITH_DOT) dots[i % 2] += p * larger(all(LOWEST), x);  // what has no probability adds nothing
        }
        total += totals[0] + totals[1];
        dot += dots[0] + dots[1];
    }
    void add(const Softmax& other) {
        Softmax it = other;
        Lanes best = larger(top, it.top);
        raise(best);
        it.raise(best);
        total += it.total;
        dot += it.dot;
    }
};

// Logits of tokens by a head, in strips of outputs.
struct Logits {
    const Columns& x;
    const Linear<bf16>& linear;
    int64_t outputs;
    float factor;

    int64_t strips() const { return (outputs + STRIP - 1) / STRIP; }
    int64_t pieces() const { return (strips() + PIECE - 1) / PIECE; }
    // The last strip has some outputs of the one before it again, which must not count.
    int64_t first(int64_t s) const { return std::min(s * STRIP, outputs - STRIP); }
    int64_t again(int64_t s) const { return s * STRIP - first(s); }
    const bf16* weight(int64_t s) const { return linear.weight + first(s) * x.width; }

    // c [STRIP, count * SIDE]: those of ``count`` blocks from ``b`` on; where outputs stand again, the lowest number.
    void make(int64_t s, int64_t b, int64_t count, float* c, const bf16* next) const {
        strip(weight(s), x, b, count, c, next);
        const bf16* bias = linear.bias ? linear.bias + first(s) : nullptr;
        int64_t ld = count * SIDE;
        for (int64_t i = 0; i < STRIP; i++)
            for (int64_t n = 0; n < count; n++) {
                Lanes z = sums_of(c, ld, i, n, bias) * factor;
                store(c + i * ld + n * SIDE, i < again(s) ? all(LOWEST) : z);
            }
    }
};

// use(token of the block, output within the strip) for tokens of a block whose chosen output is in a strip.
template <class Use>
void those_within(const int64_t* chosen, int64_t tokens, int64_t first, Use use) {
    for (int64_t r = 0; r < tokens; r++)
        if (uint64_t(chosen[r] - first) < uint64_t(STRIP)) use(r, chosen[r] - first);
}

// work(piece, first strip, end, first block, blocks) for all pieces of a head and all tokens.
template <class Work>
void by_pieces(const Logits& z, Work work) {
    Share mine(z.pieces());
    for (int64_t piece = mine.first; piece < mine.end; piece++)
        for (int64_t b = 0; b < z.x.blocks(); b += BLOCKS)
            work(piece, piece * PIECE, std::min(z.strips(), (piece + 1) * PIECE), b, std::min(BLOCKS, z.x.blocks() - b));
#pragma omp barrier
}

// What is read next: the strip behind, for the first tokens alone.
inline const bf16* behind(const Logits& z, int64_t s, int64_t b) {
    return b == 0 && s + 1 < z.strips() ? z.weight(s + 1) : nullptr;
}

inline Columns columns_for(std::vector<Pair>& memory, int64_t tokens, int64_t width) {
    Columns columns{nullptr, tokens, width};
    memory.resize(std::max<size_t>(memory.size(), columns.size() + SIDE));
    columns.data = memory.data() + (64 - (uintptr_t)memory.data() % 64) % 64 / sizeof(Pair);
    return columns;
}

inline int64_t tokens_of(const Columns& x, int64_t b) { return std::min(SIDE, x.tokens - b * SIDE); }

// log softmax(logits * factor) at ``tokens``, its entropy, and each row's log of the sum.
inline void project_score(const bf16* x, int64_t rows, int64_t width, Linear<bf16> linear, int64_t outputs, float factor,
                          const int64_t* tokens, float* logprobs, float* entropies, float* lse) {
    static thread_local std::vector<Pair> memory;
    Columns columns = columns_for(memory, rows, width);
    Logits z{columns, linear, outputs, factor};
    std::vector<Softmax> parts(z.pieces() * columns.blocks());
#pragma omp parallel
    {
        Tiles held;
        Sums sums;
        into_columns(x, columns);
        by_pieces(z, [&](int64_t piece, int64_t s, int64_t end, int64_t b, int64_t count) {
            Softmax* part = &parts[piece * columns.blocks() + b];
            for (; s < end; s++) {
                z.make(s, b, count, sums.first(), behind(z, s, b));
                for (int64_t n = 0; n < count; n++) {
                    const float* c = sums.first() + n * SIDE;
                    part[n].add<true>(c, count * SIDE);
                    int64_t token = (b + n) * SIDE;
                    those_within(tokens + token, tokens_of(columns, b + n), z.first(s), [&](int64_t r, int64_t output) {
                        if (output >= z.again(s)) logprobs[token + r] = c[output * count * SIDE + r];
                    });
                }
            }
        });
#pragma omp for schedule(static)
        for (int64_t b = 0; b < columns.blocks(); b++) {
            Softmax whole;
            for (int64_t piece = 0; piece < z.pieces(); piece++) whole.add(parts[piece * columns.blocks() + b]);
            for (int64_t r = 0; r < tokens_of(columns, b); r++) {
                float log = std::log(whole.total[r]);
                lse[b * SIDE + r] = whole.top[r] + log;
                logprobs[b * SIDE + r] -= whole.top[r] + log;
                entropies[b * SIDE + r] = log - whole.dot[r] / whole.total[r];
            }
        }
    }
}

// What the gradient of a token's logits is made of.
struct Given {
    Lanes lse, logprob, entropy, entropies;
};

inline Lanes some(const float* x, int64_t count) {
    return x ? (Lanes)_mm512_maskz_loadu_ps((1u << count) - 1, x) : Lanes{};
}

// dz [rows, outputs]: ``scale`` times the gradient, by the logits, of sum(dlogprob * logprob + dentropy * entropy).
inline void project_gradient(const bf16* x, int64_t rows, int64_t width, Linear<bf16> linear, int64_t outputs,
                             float factor, const int64_t* tokens, const float* entropies, const float* lse,
                             const float* dlogprobs, const float* dentropies, float scale, bf16* dz) {
    static thread_local std::vector<Pair> memory;
    Columns columns = columns_for(memory, rows, width);
    Logits z{columns, linear, outputs, factor};
#pragma omp parallel
    {
        Tiles held;
        Sums sums;
        into_columns(x, columns);
        by_pieces(z, [&](int64_t, int64_t s, int64_t end, int64_t b, int64_t count) {
            int64_t ld = count * SIDE;
            for (; s < end; s++) {
                z.make(s, b, count, sums.first(), behind(z, s, b));
                for (int64_t n = 0; n < count; n++) {
                    float* c = sums.first() + n * SIDE;
                    int64_t token = (b + n) * SIDE, there = tokens_of(columns, b + n);
                    Given it{some(lse + token, there), some(dlogprobs + token, there),
                             some(dentropies ? dentropies + token : nullptr, there), some(entropies + token, there)};
                    for (int64_t i = 0; i < STRIP; i++) {
                        Lanes log = load(c + i * ld) - it.lse, p = exponential(log);
                        Lanes d = -p * it.logprob;
                        if (dentropies) d -= p * (larger(all(LOWEST), log) + it.entropies) * it.entropy;
                        store(c + i * ld, d * scale);
                    }
                    those_within(tokens + token, there, z.first(s),
                                 [&](int64_t r, int64_t output) { c[output * ld + r] += it.logprob[r] * scale; });
                }
                strip_to_rows(sums.first(), b, count, nullptr, rows, dz + z.first(s), outputs, z.again(s));
            }
        });
    }
}

// Of sixteen tokens: the sum of all, where each one's draw falls, and what is summed before that strip.
struct Place {
    Lanes best = all(LOWEST), whole = {}, before = {};
    Ints strip = {};

    // tops, totals: of strips, ``ld`` apart. ``limits``: of the sum, in parts; without it the likeliest is looked for.
    void find(const float* tops, const float* totals, int64_t strips, int64_t ld, const Lanes* limits) {
        for (int64_t s = 0; s < strips; s++) best = larger(best, load(tops + s * ld));
        auto part = [&](int64_t s) { return load(totals + s * ld) * exponential(load(tops + s * ld) - best); };
        for (int64_t s = 0; s < strips; s++) whole += part(s);
        Ints open = all(0) == all(0), last = {};
        Lanes limit = limits ? *limits * whole : Lanes{};
        for (int64_t s = 0; s < strips; s++) {
            Lanes p = part(s);
            Ints here = open & (limits ? before + p > limit : load(tops + s * ld) == best), now = Ints{} + (int32_t)s;
            strip = here ? now : strip;
            open &= ~here;
            before = open ? before + p : before;
            last = p > 0.f ? now : last;
        }
        strip = open ? last : strip;  // rounding stepped past the end: the last that can be drawn
        before = open ? all(LOWEST) : before;
    }
};

// Which output of a strip [STRIP] is drawn, where ``before`` is summed up: the first past the limit, or the last that can
// be drawn.
inline int64_t drawn(const float* z, int64_t first, float best, float before, float limit) {
    int64_t found = first;
    for (int64_t i = first; i < STRIP; i++) {
        float p = std::exp(z[i * SIDE] - best);
        if (p > 0) found = i;
        before += p;
        if (before > limit) break;
    }
    return found;
}

inline int64_t likeliest(const float* z, int64_t first) {
    int64_t found = first;
    for (int64_t i = first; i < STRIP; i++)
        if (z[i * SIDE] > z[found * SIDE]) found = i;
    return found;
}

// One token a row, drawn by ``uniform``: the first whose cumulated probability is above it. Without ``uniform`` the
// likeliest one. ``logprobs``: of softmax(logits * factor).
inline void project_pick(const bf16* x, int64_t rows, int64_t width, Linear<bf16> linear, int64_t outputs, float factor,
                         const float* uniform, int64_t* tokens, float* logprobs) {
    static thread_local std::vector<Pair> memory;
    static thread_local std::vector<float> kept;
    Columns columns = columns_for(memory, rows, width);
    Logits z{columns, linear, outputs, factor};
    int64_t ld = columns.blocks() * SIDE;
    kept.resize(2 * z.strips() * ld);
    float *tops = kept.data(), *totals = tops + z.strips() * ld;  // of each strip and token
#pragma omp parallel
    {
        Tiles held;
        Sums sums;
        float* c = sums.first();
        into_columns(x, columns);
        by_pieces(z, [&](int64_t, int64_t s, int64_t end, int64_t b, int64_t count) {
            for (; s < end; s++) {
                z.make(s, b, count, c, behind(z, s, b));
                for (int64_t n = 0; n < count; n++) {
                    Softmax part;
                    part.add<false>(c + n * SIDE, count * SIDE);
                    store(tops + s * ld + (b + n) * SIDE, part.top);
                    store(totals + s * ld + (b + n) * SIDE, part.total);
                }
            }
        });
#pragma omp for schedule(static)
        for (int64_t b = 0; b < columns.blocks(); b++) {
            int64_t there = tokens_of(columns, b);
            Lanes limits = some(uniform ? uniform + b * SIDE : nullptr, there);
            Place place;
            place.find(tops + b * SIDE, totals + b * SIDE, z.strips(), ld, uniform ? &limits : nullptr);
            for (int64_t r = 0; r < there; r++) {
                int64_t s = place.strip[r];
                z.make(s, b, 1, c, nullptr);  // the same numbers again
                float best = place.best[r], whole = place.whole[r];
                int64_t found = uniform ? drawn(c + r, z.again(s), best, place.before[r], limits[r] * whole)
                                        : likeliest(c + r, z.again(s));
                tokens[b * SIDE + r] = z.first(s) + found;
                logprobs[b * SIDE + r] = c[found * SIDE + r] - best - std::log(whole);
            }
        }
    }
}
#endif
