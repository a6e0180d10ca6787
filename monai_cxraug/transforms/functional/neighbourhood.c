/* The inner loops of neighbourhood filters on float32 images, in plain C99.
 *
 * The caller (neighbourhood.py) answers for every bound: images are contiguous, and a filter reaches less far than the
 * image is high and wide. Beyond a border the image is mirrored, the outermost pixel not repeated. Sums are taken in the
 * order in which the same module takes them with torch, without fused multiply-add, so that both give the same bits.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

#ifndef CXRAUG_SOURCE
#define CXRAUG_SOURCE "unknown"
#endif

/* Where the compiler can make a function twice and choose when the library is loaded: with wider registers too. */
#if defined(__x86_64__) && defined(__linux__) && defined(__has_attribute)
#if __has_attribute(target_clones)
#define WIDE __attribute__((target_clones("avx2", "default")))
#endif
#endif
#ifndef WIDE
#define WIDE
#endif
#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wpsabi" /* wide values are handed to functions that are always written out in place */
#endif

/* Names the source that this library was compiled from: compiled.py refuses any other. */
EXPORT const char cxraug_source[] = "cxraug-kernels-source:" CXRAUG_SOURCE;

enum { DONE = 0, NO_MEMORY = -1, NOT_NUMBERS = 1 };
/* Pixels that go through a loop together: a whole number of the widest registers, few enough for all of them, and more
 * than the 16 up to which compilers write a loop out in single steps instead of widening it. */
enum { TILE = 32 };

INLINE int64_t mirrored(int64_t k, int64_t size) {
    k = k < 0 ? -k : k;
    return k < size ? k : 2 * (size - 1) - k;
}

/* A row with `reach` mirrored pixels before and after it. */
INLINE void pad_row(const float *row, float *padded, int64_t width, int64_t reach) {
    memcpy(padded + reach, row, (size_t)width * sizeof(float));
    for (int64_t k = 1; k <= reach; k++) {
        padded[reach - k] = row[k];
        padded[reach + width - 1 + k] = row[width - 1 - k];
    }
}

/* The image with `reach` mirrored pixels on all four sides. */
static void pad_image(const float *image, float *padded, int64_t height, int64_t width, int64_t reach) {
    const int64_t stride = width + 2 * reach;
    for (int64_t y = -reach; y < height + reach; y++)
        pad_row(image + mirrored(y, height) * width, padded + (y + reach) * stride, width, reach);
}

/* ---- Weighted sums: symmetric weights, the centre's first */

/* Eight pixels; a compiler without such registers takes two of four. Sums stay in registers only if they are named. */
typedef float Eight __attribute__((vector_size(32)));
enum { EIGHT = 8, STRIP = 4 * EIGHT };

INLINE Eight load(const float *from) {
    Eight pixels;
    memcpy(&pixels, from, sizeof pixels);
    return pixels;
}

INLINE void store(float *to, Eight pixels) { memcpy(to, &pixels, sizeof pixels); }

/* One row of sums: the pixels of the k-th pair of twins are at up[k] and down[k], those of the centre at up[0]. */
INLINE void smooth_row(const float *const *up, const float *const *down, const float *weights, int64_t reach,
                       float *out, int64_t width) {
    int64_t x = 0;
    for (; x + STRIP <= width; x += STRIP) {
        const float *at = up[0] + x, weight = weights[0];
        Eight a = load(at) * weight, b = load(at + EIGHT) * weight;
        Eight c = load(at + 2 * EIGHT) * weight, d = load(at + 3 * EIGHT) * weight;
        for (int64_t k = 1; k <= reach; k++) {
            const float *one = up[k] + x, *two = down[k] + x, share = weights[k];
            a += (load(one) + load(two)) * share;
            b += (load(one + EIGHT) + load(two + EIGHT)) * share;
            c += (load(one + 2 * EIGHT) + load(two + 2 * EIGHT)) * share;
            d += (load(one + 3 * EIGHT) + load(two + 3 * EIGHT)) * share;
        }
        store(out + x, a);
        store(out + x + EIGHT, b);
        store(out + x + 2 * EIGHT, c);
        store(out + x + 3 * EIGHT, d);
    }
    for (; x < width; x++) {
        float sum = up[0][x] * weights[0];
        for (int64_t k = 1; k <= reach; k++) sum += (up[k][x] + down[k][x]) * weights[k];
        out[x] = sum;
    }
}

INLINE void sharpen_row(const float *row, float *out, int64_t width) {
    for (int64_t x = 0; x < width; x++) {
        const float sharp = 2 * row[x] - out[x];
        const float low = sharp < 0 ? 0 : sharp;
        out[x] = low > 1 ? 1 : low;
    }
}

INLINE void smooth_image(const float *image, float *out, int64_t height, int64_t width, const float *weights,
                         int64_t reach, int sharpen, float *column, const float **pairs) {
    float *padded = column + width;
    const float **up = pairs, **down = pairs + reach + 1;
    for (int64_t y = 0; y < height; y++) {
        for (int64_t k = 0; k <= reach; k++) {
            up[k] = image + mirrored(y - k, height) * width;
            down[k] = image + mirrored(y + k, height) * width;
        }
        smooth_row(up, down, weights, reach, column, width);
        pad_row(column, padded, width, reach);
        for (int64_t k = 0; k <= reach; k++) {
            up[k] = padded + reach - k;
            down[k] = padded + reach + k;
        }
        smooth_row(up, down, weights, reach, out + y * width, width);
        if (sharpen) sharpen_row(image + y * width, out + y * width, width);
    }
}

/* Smooth `count` images; with `sharpen`, 2 * image - smoothed, cut to [0, 1]. */
EXPORT WIDE int cxraug_smooth(const float *images, float *out, int64_t count, int64_t height, int64_t width,
                              const float *weights, int64_t reach, int sharpen) {
    float *rows = malloc((size_t)(2 * width + 2 * reach) * sizeof(float));
    const float **pointers = malloc((size_t)(2 * reach + 2) * sizeof(float *));
    const int status = rows && pointers ? DONE : NO_MEMORY;
    for (int64_t k = 0; status == DONE && k < count; k++) {
        const float *image = images + k * height * width;
        float *result = out + k * height * width;
        if (reach == 2) /* the usual blur: the compiler then knows how often its loops run */
            smooth_image(image, result, height, width, weights, 2, sharpen, rows, pointers);
        else
            smooth_image(image, result, height, width, weights, reach, sharpen, rows, pointers);
    }
    free(rows);
    free(pointers);
    return status;
}

/* ---- Smallest and largest of a square
 *
 * A comparison loses what is not a number, so images that hold such a value are left to torch.
 */

INLINE int all_numbers(const float *values, int64_t count) {
    int32_t broken[TILE] = {0}, any = 0;
    int64_t k = 0;
    for (; k + TILE <= count; k += TILE)
        for (int j = 0; j < TILE; j++) broken[j] |= values[k + j] != values[k + j];
    for (; k < count; k++) any |= values[k] != values[k];
    for (int j = 0; j < TILE; j++) any |= broken[j];
    return !any;
}

INLINE float lower(float a, float b) { return a < b ? a : b; }
INLINE float higher(float a, float b) { return a > b ? a : b; }

INLINE void extreme_image(const float *image, float *out, int64_t height, int64_t width, int64_t reach, int largest,
                          float *column) {
    float *padded = column + width;
    for (int64_t y = 0; y < height; y++) {
        memcpy(column, image + y * width, (size_t)width * sizeof(float));
        for (int64_t k = 1; k <= reach; k++) {
            const float *up = image + mirrored(y - k, height) * width, *down = image + mirrored(y + k, height) * width;
            if (largest)
                for (int64_t x = 0; x < width; x++) column[x] = higher(column[x], higher(up[x], down[x]));
            else
                for (int64_t x = 0; x < width; x++) column[x] = lower(column[x], lower(up[x], down[x]));
        }
        pad_row(column, padded, width, reach);
        float *row = out + y * width;
        memcpy(row, column, (size_t)width * sizeof(float));
        for (int64_t k = 1; k <= reach; k++) {
            const float *left = padded + reach - k, *right = padded + reach + k;
            if (largest)
                for (int64_t x = 0; x < width; x++) row[x] = higher(row[x], higher(left[x], right[x]));
            else
                for (int64_t x = 0; x < width; x++) row[x] = lower(row[x], lower(left[x], right[x]));
        }
    }
}

EXPORT WIDE int cxraug_extreme(const float *images, float *out, int64_t count, int64_t height, int64_t width,
                               int64_t reach, int largest) {
    float *rows = malloc((size_t)(2 * width + 2 * reach) * sizeof(float));
    int status = rows ? DONE : NO_MEMORY;
    for (int64_t k = 0; status == DONE && k < count; k++) {
        const float *image = images + k * height * width;
        float *result = out + k * height * width;
        if (!all_numbers(image, height * width))
            status = NOT_NUMBERS;
        else if (reach == 1)
            extreme_image(image, result, height, width, 1, largest, rows);
        else
            extreme_image(image, result, height, width, reach, largest, rows);
    }
    free(rows);
    return status;
}

/* ---- Any rank of a square
 *
 * `swaps` is a sorting network cut down to what one rank needs: pairs (low, high) of positions among the pixels of the
 * square in reading order; the smaller of the two values goes to `low`, the larger to `high`.
 */

INLINE void rank_tile(const float *corner, int64_t stride, int64_t side, const int32_t *swaps, int64_t swap_count,
                      int64_t wanted, float *out, float (*pixels)[TILE]) {
    for (int64_t y = 0; y < side; y++)
        for (int64_t x = 0; x < side; x++) memcpy(pixels[y * side + x], corner + y * stride + x, TILE * sizeof(float));
    for (int64_t k = 0; k < swap_count; k++) {
        float *restrict low = pixels[swaps[2 * k]], *restrict high = pixels[swaps[2 * k + 1]];
        for (int j = 0; j < TILE; j++) {
            const float a = low[j], b = high[j];
            low[j] = lower(a, b);
            high[j] = higher(a, b);
        }
    }
    memcpy(out, pixels[wanted], TILE * sizeof(float));
}

INLINE float middle(float a, float b, float c) { return higher(lower(a, b), lower(higher(a, b), c)); }

/* The median of 3 x 3: with each column of three sorted once, it is the median of the largest of the three lowest, the
 * middle of the three middle ones, and the smallest of the three highest. */
INLINE void median_image(const float *image, float *out, int64_t height, int64_t width, float *rows) {
    const int64_t stride = width + 2;
    float *restrict low = rows, *restrict mid = rows + stride, *restrict high = rows + 2 * stride;
    for (int64_t y = 0; y < height; y++) {
        const float *up = image + mirrored(y - 1, height) * width, *row = image + y * width;
        const float *down = image + mirrored(y + 1, height) * width;
        for (int64_t x = 0; x < width; x++) {
            const float a = lower(up[x], row[x]), b = higher(up[x], row[x]), c = down[x];
            low[x + 1] = lower(a, c);
            mid[x + 1] = higher(a, lower(b, c));
            high[x + 1] = higher(b, c);
        }
        for (int k = 0; k < 3; k++) {
            float *column = rows + k * stride;
            column[0] = column[2];
            column[width + 1] = column[width - 1];
        }
        for (int64_t x = 0; x < width; x++) {
            const float lowest = higher(higher(low[x], low[x + 1]), low[x + 2]);
            const float highest = lower(lower(high[x], high[x + 1]), high[x + 2]);
            out[y * width + x] = middle(lowest, middle(mid[x], mid[x + 1], mid[x + 2]), highest);
        }
    }
}

EXPORT WIDE int cxraug_median(const float *images, float *out, int64_t count, int64_t height, int64_t width) {
    float *rows = malloc((size_t)(3 * (width + 2)) * sizeof(float));
    int status = rows ? DONE : NO_MEMORY;
    for (int64_t k = 0; status == DONE && k < count; k++) {
        const float *image = images + k * height * width;
        if (!all_numbers(image, height * width))
            status = NOT_NUMBERS;
        else
            median_image(image, out + k * height * width, height, width, rows);
    }
    free(rows);
    return status;
}

EXPORT WIDE int cxraug_rank(const float *images, float *out, int64_t count, int64_t height, int64_t width,
                            int64_t reach, const int32_t *swaps, int64_t swap_count, int64_t wanted) {
    const int64_t side = 2 * reach + 1, stride = width + 2 * reach;
    /* a last tile may read beyond the last row, of pixels that are then not used */
    const size_t room = (size_t)(stride * (height + 2 * reach) + TILE);
    float *padded = calloc(room, sizeof(float));
    float(*pixels)[TILE] = malloc((size_t)(side * side) * sizeof *pixels);
    int status = padded && pixels ? DONE : NO_MEMORY;
    for (int64_t k = 0; status == DONE && k < count; k++) {
        if (!all_numbers(images + k * height * width, height * width)) {
            status = NOT_NUMBERS;
            break;
        }
        pad_image(images + k * height * width, padded, height, width, reach);
        for (int64_t y = 0; y < height; y++) {
            float *row = out + (k * height + y) * width;
            for (int64_t x = 0; x < width; x += TILE) {
                float tile[TILE];
                rank_tile(padded + y * stride + x, stride, side, swaps, swap_count, wanted, tile, pixels);
                const int64_t rest = width - x < TILE ? width - x : TILE;
                memcpy(row + x, tile, (size_t)rest * sizeof(float));
            }
        }
    }
    free(padded);
    free(pixels);
    return status;
}

/* ---- Weights by distance in place and value
 *
 * exp(-t) for t from 0 to 10^9 is 2^-n * 2^-f with n whole and f in [0, 1), the second from its Taylor series about 0:
 * relative error 2e-7, and 0 where a float would be less than 2^-126. There is no branch, which would keep several
 * numbers from being worked on at once.
 */

INLINE float decay(float t) {
    const float power = t * 1.44269504f;
    const int32_t whole = (int32_t)power;
    const float f = ((float)whole - power) * 0.693147181f; /* in (-ln 2, 0] */
    const float series =
        1 + f * (1 + f * (0.5f + f * (1 / 6.0f + f * (1 / 24.0f + f * (1 / 120.0f + f * (1 / 720.0f + f * (1 / 5040.0f)))))));
    const uint32_t bits = (uint32_t)(127 - whole) << 23 & (uint32_t)-(int32_t)(whole < 127);
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return series * scale;
}

/* One neighbour's part in the sums of a row. */
INLINE void add_neighbour(const float *restrict centre, const float *restrict other, float closeness, float steepness,
                          float *restrict sums, float *restrict weights, int64_t width) {
    for (int64_t x = 0; x < width; x++) {
        const float step = other[x] - centre[x];
        const float weight = closeness * decay(step * step * steepness);
        sums[x] += weight * other[x];
        weights[x] += weight;
    }
}

/* `offsets` are positions of the neighbours in the padded image relative to the centre, `closeness` their weights. */
EXPORT WIDE int cxraug_bilateral(const float *images, float *out, int64_t count, int64_t height, int64_t width,
                                 int64_t reach, const int64_t *offsets, const float *closeness, int64_t neighbours,
                                 float steepness) {
    const int64_t stride = width + 2 * reach, size = stride * (height + 2 * reach);
    float *padded = malloc((size_t)(size + width) * sizeof(float)), *weights = padded + size;
    if (!padded) return NO_MEMORY;
    for (int64_t k = 0; k < count; k++) {
        pad_image(images + k * height * width, padded, height, width, reach);
        for (int64_t y = 0; y < height; y++) {
            const float *centre = padded + (y + reach) * stride + reach;
            float *row = out + (k * height + y) * width;
            memset(row, 0, (size_t)width * sizeof(float));
            memset(weights, 0, (size_t)width * sizeof(float));
            for (int64_t n = 0; n < neighbours; n++)
                add_neighbour(centre, centre + offsets[n], closeness[n], steepness, row, weights, width);
            for (int64_t x = 0; x < width; x++) row[x] /= weights[x];
        }
    }
    free(padded);
    return DONE;
}
