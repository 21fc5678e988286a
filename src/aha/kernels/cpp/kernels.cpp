// The door: plain C functions, each for bf16 and float32. Sizes are elements, strides too.
#include <algorithm>

#include "decode.h"
#include "head.h"
#include "layers.h"
#include "packed.h"
#include "rows.h"
#include "tile_head.h"
#include "turning.h"

#define DOOR(T, NAME)                                                                                                \
    extern "C" void norm_##NAME(const T* x, int64_t stride, const T* weight, T* y, float* factors, int64_t rows,     \
                                int64_t width, float eps) {                                                          \
        norm(x, stride, weight, y, factors, rows, width, eps);                                                       \
    }                                                                                                                \
    extern "C" void norm_backward_##NAME(const T* dy, const T* x, int64_t stride, const T* weight,                   \
                                         const float* factors, T* dx, T* dweight, int64_t rows, int64_t width) {     \
        norm_backward(dy, x, stride, weight, factors, dx, dweight, rows, width);                                     \
    }                                                                                                                \
    extern "C" void swiglu_##NAME(const T* gate, const T* up, int64_t stride, T* y, int64_t rows, int64_t width) {   \
        swiglu(gate, up, stride, y, rows, width);                                                                    \
    }                                                                                                                \
    extern "C" void swiglu_backward_##NAME(const T* dy, const T* gate, const T* up, T* dgate, T* dup,                \
                                           int64_t stride, int64_t rows, int64_t width) {                            \
        swiglu_backward(dy, gate, up, dgate, dup, stride, rows, width);                                              \
    }                                                                                                                \
    extern "C" void rotate_##NAME(const T* x, int64_t stride, int64_t head_stride, const T* cos, const T* sin, T* y, \
                                  int64_t y_stride, int64_t rows, int64_t heads, int64_t dim, float sign) {          \
        rotate(x, stride, head_stride, cos, sin, y, y_stride, rows, heads, dim, sign);                               \
    }                                                                                                                \
    extern "C" void attend_##NAME(Heads<const T> q, Heads<const T> k, Heads<const T> v, T* out, float* lse,          \
                                  const Segment* segments, int64_t count, Shape shape) {                             \
        attend(q, k, v, out, lse, segments, count, shape);                                                           \
    }                                                                                                                \
    extern "C" void attend_backward_##NAME(Heads<const T> q, Heads<const T> k, Heads<const T> v, const T* out,       \
                                           const float* lse, Heads<const T> dout, T* dq, T* dk, T* dv,               \
                                           const Segment* segments, const int64_t* families, int64_t count,          \
                                           Shape shape) {                                                            \
        attend_backward(q, k, v, out, lse, dout, dq, dk, dv, segments, families, count, shape);                      \
    }                                                                                                                \
    extern "C" void decode_##NAME(const T* qkv, int64_t stride, Cache<T> cache, Turn<T> turn, T* out,                \
                                  Groups groups, Shape shape) {                                                      \
        decode(qkv, stride, cache, turn, out, groups, shape);                                                        \
    }

DOOR(bf16, bfloat16)
DOOR(float, float32)

#define UNITS_DOOR(T, NAME, STEP, PROJECT)                                                                           \
    extern "C" void step_##NAME(const Model<T>* model, T* x, int64_t rows, const int64_t* lengths, int64_t room,     \
                                Groups groups) {                                                                     \
        STEP(*model, x, rows, lengths, room, groups);                                                                \
    }                                                                                                                \
    extern "C" void project_##NAME(const T* x, int64_t rows, int64_t width, Linear<T> linear, int64_t outputs,       \
                                   float* z) {                                                                       \
        PROJECT(x, rows, width, linear, outputs, z);                                                                 \
    }

UNITS_DOOR(float, float32, step, project)
#ifdef MATRIX_UNITS
UNITS_DOOR(bf16, bfloat16, (matrix_units() ? step_on_tiles : step<bf16>), (matrix_units() ? project_on_tiles : project<bf16>))
#elif defined(__AVX512BF16__)
UNITS_DOOR(bf16, bfloat16, step, project)
#endif

#ifdef MATRIX_UNITS
extern "C" void project_score_bfloat16(const bf16* x, int64_t rows, int64_t width, Linear<bf16> linear, int64_t outputs,
                                       float factor, const int64_t* tokens, float* logprobs, float* entropies,
                                       float* lse) {
    project_score(x, rows, width, linear, outputs, factor, tokens, logprobs, entropies, lse);
}

extern "C" void project_gradient_bfloat16(const bf16* x, int64_t rows, int64_t width, Linear<bf16> linear,
                                          int64_t outputs, float factor, const int64_t* tokens, const float* entropies,
                                          const float* lse, const float* dlogprobs, const float* dentropies, float scale,
                                          bf16* dz) {
    project_gradient(x, rows, width, linear, outputs, factor, tokens, entropies, lse, dlogprobs, dentropies, scale, dz);
}

extern "C" void project_pick_bfloat16(const bf16* x, int64_t rows, int64_t width, Linear<bf16> linear, int64_t outputs,
                                      float factor, const float* uniform, int64_t* tokens, float* logprobs) {
    project_pick(x, rows, width, linear, outputs, factor, uniform, tokens, logprobs);
}
#endif

extern "C" void transpose_bfloat16(const bf16* x, int64_t stride, int64_t rows, int64_t columns, bf16* y) {
    transpose(x, stride, rows, columns, y);
}

// Whether products of bf16 go through matrix units, and whether they are to where there are some.
extern "C" int has_matrix_units() { return matrix_units(); }
extern "C" void want_matrix_units(int yes) { wanted() = yes; }

extern "C" void score_float32(const float* z, int64_t rows, int64_t size, float factor, const int64_t* tokens,
                              float* logprobs, float* entropies, float* lse) {
    score(z, rows, size, factor, tokens, logprobs, entropies, lse);
}

extern "C" void score_backward_float32(float* z, int64_t rows, int64_t size, float factor, const int64_t* tokens,
                                       const float* entropies, const float* lse, const float* dlogprobs,
                                       const float* dentropies, float scale) {
    score_backward(z, rows, size, factor, tokens, entropies, lse, dlogprobs, dentropies, scale);
}

extern "C" void pick_float32(const float* z, int64_t rows, int64_t size, float factor, const float* uniform,
                             int64_t* tokens, float* logprobs) {
    pick(z, rows, size, factor, uniform, tokens, logprobs);
}
