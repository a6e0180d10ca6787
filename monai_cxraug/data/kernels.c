/* The inner loops of reading a radiograph, in plain C99: PNG filters and runs of RLE undone, and area averages.
 *
 * The caller (kernels.py) answers for every bound: sizes are positive and fit their arrays, and every stored value is
 * an index of the table. Sums are of integers and exact (see resampling.py), so that numpy gives the same bits.
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

/* Names the source that this library was compiled from: kernels.py refuses any other. */
EXPORT const char cxraug_source[] = "cxraug-kernels-source:" CXRAUG_SOURCE;

enum { DONE = 0, NO_MEMORY = -1, BROKEN = -2 };
enum { NONE, SUB, UP, AVERAGE, PAETH };

/* ---- Area averages
 *
 * Along an axis of `old` pixels, output cell k covers [k * old, (k + 1) * old) in parts of 1 / `new` of a pixel. It is
 * a first pixel, `whole` pixels that it covers entirely (the same number for all cells), and two pixels more, of which
 * either may be covered by nothing. Cells have no other shape, so that the inner loop has neither branch nor weight.
 */

typedef struct {
    int64_t first; /* index of the first pixel */
    int64_t at[2]; /* indices of the last two; any valid pixel where the weight is 0 */
    int64_t weight[3];
} Cell;

static int64_t whole_pixels(int64_t old, int64_t new) { return old / new > 1 ? old / new - 1 : 0; }

static int64_t covered(int64_t pixel, int64_t start, int64_t old, int64_t new) {
    const int64_t low = pixel * new > start ? pixel * new : start;
    const int64_t high = (pixel + 1) * new < start + old ? (pixel + 1) * new : start + old;
    return pixel < old && high > low ? high - low : 0;
}

static Cell cell_at(int64_t index, int64_t old, int64_t new) {
    const int64_t start = index * old;
    Cell cell;
    cell.first = start / new;
    cell.weight[0] = covered(cell.first, start, old, new);
    for (int k = 0; k < 2; k++) {
        const int64_t pixel = cell.first + whole_pixels(old, new) + 1 + k;
        cell.weight[1 + k] = covered(pixel, start, old, new);
        cell.at[k] = pixel < old ? pixel : old - 1;
    }
    return cell;
}

static int is_multiple(int64_t old, int64_t new) { return old % new == 0; }

/* Adds weight * (sum over each cell of a row) to `sums`. `VALUE(index)` is the brightness of a pixel in steps. */
#define ADD_WHOLE(COUNT, SUM)                                                                                         \
    for (int64_t j = 0; j < new; j++) {                                                                               \
        SUM sum = 0;                                                                                                  \
        for (int64_t k = 0; k < (COUNT); k++) sum += VALUE(j * (COUNT) + k);                                          \
        sums[j] += weight * sum;                                                                                      \
    }
#define ADD_CELLS(COUNT, SUM)                                                                                         \
    for (int64_t j = 0; j < new; j++) {                                                                               \
        const Cell *cell = cells + j;                                                                                 \
        SUM sum = 0;                                                                                                  \
        for (int64_t k = 1; k <= (COUNT); k++) sum += VALUE(cell->first + k);                                         \
        sums[j] += weight * (new * sum + cell->weight[0] * VALUE(cell->first) + cell->weight[1] * VALUE(cell->at[0])  \
                             + cell->weight[2] * VALUE(cell->at[1]));                                                 \
    }
/* 31 pixels of 2^26 steps fit 32 bits, and few enough to unroll are the common case. */
#define FOR_COUNT(LOOP, count)                                                                                        \
    switch (count) {                                                                                                  \
        case 1: LOOP(1, int32_t) break;                                                                               \
        case 2: LOOP(2, int32_t) break;                                                                               \
        case 3: LOOP(3, int32_t) break;                                                                               \
        case 4: LOOP(4, int32_t) break;                                                                               \
        case 5: LOOP(5, int32_t) break;                                                                               \
        case 6: LOOP(6, int32_t) break;                                                                               \
        case 7: LOOP(7, int32_t) break;                                                                               \
        case 8: LOOP(8, int32_t) break;                                                                               \
        case 9: LOOP(9, int32_t) break;                                                                               \
        case 10: LOOP(10, int32_t) break;                                                                             \
        case 11: LOOP(11, int32_t) break;                                                                             \
        case 12: LOOP(12, int32_t) break;                                                                             \
        default: LOOP(count, int64_t) break;                                                                          \
    }
#define ROW_SUMS                                                                                                      \
    if (is_multiple(old, new)) {                                                                                      \
        const int64_t count = old / new;                                                                              \
        weight *= new;                                                                                                \
        FOR_COUNT(ADD_WHOLE, count)                                                                                   \
    } else {                                                                                                          \
        const int64_t count = whole_pixels(old, new);                                                                 \
        FOR_COUNT(ADD_CELLS, count)                                                                                   \
    }

#define VALUE(index) table[((const uint8_t *)row)[index]]
static void add_row_u8(const void *row, const int32_t *table, const Cell *cells, int64_t old, int64_t new,
                       int64_t weight, int64_t *sums) {
    ROW_SUMS
}
#undef VALUE
#define VALUE(index) table[((const uint16_t *)row)[index]]
static void add_row_u16(const void *row, const int32_t *table, const Cell *cells, int64_t old, int64_t new,
                        int64_t weight, int64_t *sums) {
    ROW_SUMS
}
#undef VALUE
#define VALUE(index) (int64_t)table[index]
static void add_row_steps(const void *row, const int32_t *table, const Cell *cells, int64_t old, int64_t new,
                          int64_t weight, int64_t *sums) {
    (void)row;
    ROW_SUMS
}
#undef VALUE

/* Rounds half to even, as numpy's rint does: 1.5 * 2^52 leaves no room for a fraction. */
static void to_steps(const float *row, int64_t columns, double scale, int32_t *steps) {
    const double no_fraction = 6755399441055744.0;
    for (int64_t c = 0; c < columns; c++) steps[c] = (int32_t)(row[c] * scale + no_fraction - no_fraction);
}

/* Averages rows of 1 or 2 bytes a pixel through `table`, or of float32 (4 bytes) through `scale`; `cells`, `sums` and
 * `steps` are working memory for `width` cells, `width` sums and `columns` pixels. */
static void average(const char *image, int64_t bytes, int64_t rows, int64_t columns, const int32_t *table,
                    double scale, int64_t height, int64_t width, Cell *cells, int64_t *sums, int32_t *steps,
                    float *out) {
    const double area = scale * (double)rows * (double)columns;
    for (int64_t j = 0; j < width; j++) cells[j] = cell_at(j, columns, width);
    for (int64_t i = 0; i < height; i++) {
        const int64_t start = i * rows;
        memset(sums, 0, (size_t)width * sizeof *sums);
        for (int64_t r = start / height; r * height < start + rows; r++) {
            const int64_t weight = covered(r, start, rows, height);
            const char *row = image + r * columns * bytes;
            if (bytes == 1) {
                add_row_u8(row, table, cells, columns, width, weight, sums);
            } else if (bytes == 2) {
                add_row_u16(row, table, cells, columns, width, weight, sums);
            } else {
                to_steps((const float *)row, columns, scale, steps);
                add_row_steps(row, steps, cells, columns, width, weight, sums);
            }
        }
        for (int64_t j = 0; j < width; j++) out[i * width + j] = (float)((double)sums[j] / area);
    }
}

/* Returns DONE or NO_MEMORY; `out` is [height, width]. */
EXPORT int cxraug_average(const void *image, int64_t bytes, int64_t rows, int64_t columns, const int32_t *table,
                          double scale, int64_t height, int64_t width, float *out) {
    Cell *cells = malloc((size_t)width * sizeof *cells);
    int64_t *sums = malloc((size_t)width * sizeof *sums);
    int32_t *steps = malloc((size_t)columns * sizeof *steps);
    const int status = cells && sums && steps ? DONE : NO_MEMORY;
    if (status == DONE)
        average(image, bytes, rows, columns, table, scale, height, width, cells, sums, steps, out);
    free(cells);
    free(sums);
    free(steps);
    return status;
}

/* ---- PNG filters (ISO/IEC 15948, clause 9), undone */

/* Bytes per pixel; a constant in every call, so that the loops over it unroll. */
#define BPP const int64_t bpp
/* Rows of the Paeth filter that are undone together. */
#define TOGETHER 3

static inline void undo_sub(const uint8_t *in, uint8_t *out, int64_t stride, BPP) {
    uint8_t left[8] = {0};
    for (int64_t k = 0; k < stride; k += bpp)
        for (int64_t n = 0; n < bpp; n++) out[k + n] = left[n] = (uint8_t)(left[n] + in[k + n]);
}

static inline void undo_up(const uint8_t *in, const uint8_t *up, uint8_t *out, int64_t stride) {
    for (int64_t k = 0; k < stride; k++) out[k] = (uint8_t)(in[k] + up[k]);
}

static inline void undo_average(const uint8_t *in, const uint8_t *up, uint8_t *out, int64_t stride, BPP) {
    uint8_t left[8] = {0};
    for (int64_t k = 0; k < stride; k += bpp)
        for (int64_t n = 0; n < bpp; n++) out[k + n] = left[n] = (uint8_t)((left[n] + up[k + n]) / 2 + in[k + n]);
}

/* `yes` where `low` <= `high`, else `no`; without a branch, which noise would make a processor guess wrong. */
static inline int32_t choose(int32_t low, int32_t high, int32_t yes, int32_t no) {
    return yes ^ ((yes ^ no) & ((high - low) >> 31));
}

/* The neighbour nearest to a + b - c; on a tie a, then b, then c. With lo and hi the smaller and larger of a and b,
 * u = hi - c and v = c - lo, the distances from lo, hi and c are |u|, |v| and |u - v|. So lo is nearest when 2u <= v,
 * hi when 2v <= u; where both hold, all three are equal. */
static inline int32_t paeth(int32_t a, int32_t b, int32_t c) {
    const int32_t lo = choose(a, b, a, b), hi = a ^ b ^ lo, bound = 3 * c - a - b;
    return choose(bound, lo, hi, choose(hi, bound, lo, c));
}

typedef struct {
    int32_t left[8], corner[8];
} Lane;

/* One pixel of each of the rows [from, to), every row one pixel behind the row above. */
static inline void paeth_step(const uint8_t *in, const uint8_t *up, uint8_t *out, int64_t stride, BPP, int64_t step,
                              int64_t from, int64_t to, Lane *lanes) {
    for (int64_t r = to - 1; r >= from; r--) {
        const int64_t k = (step - r) * bpp;
        for (int64_t n = 0; n < bpp; n++) {
            const int32_t above = r ? lanes[r - 1].left[n] : up[k + n];
            const int32_t near = paeth(lanes[r].left[n], above, lanes[r].corner[n]);
            lanes[r].corner[n] = above;
            lanes[r].left[n] = (in[r * (stride + 1) + k + n] + near) & 255;
            out[r * stride + k + n] = (uint8_t)lanes[r].left[n];
        }
    }
}

/* Each byte waits for its left neighbour, so that one row alone leaves most of a processor idle: `rows` go together. */
static inline void undo_paeth(const uint8_t *in, const uint8_t *up, uint8_t *out, int64_t stride, BPP,
                              const int64_t rows) {
    Lane lanes[TOGETHER] = {{{0}, {0}}};
    const int64_t pixels = stride / bpp, steps = pixels + rows - 1;
    int64_t step = 0;
    for (; step < rows - 1 && step < steps; step++)
        paeth_step(in, up, out, stride, bpp, step, step < pixels ? 0 : step - pixels + 1, step + 1, lanes);
    for (; step < pixels; step++) paeth_step(in, up, out, stride, bpp, step, 0, rows, lanes);
    for (; step < steps; step++) paeth_step(in, up, out, stride, bpp, step, step - pixels + 1, rows, lanes);
}

static inline int64_t paeth_rows(const uint8_t *in, int64_t rows, int64_t stride) {
    int64_t count = 1;
    while (count < TOGETHER && count < rows && in[count * (stride + 1)] == PAETH) count++;
    return count;
}

/* Undoes the first rows that can be undone together; returns their number, 0 where the filter is unknown. */
static inline int64_t undo_rows(const uint8_t *in, int64_t rows, int64_t stride, BPP, const uint8_t *up, uint8_t *out) {
    const uint8_t *bytes = in + 1;
    switch (*in) {
        case NONE: memcpy(out, bytes, (size_t)stride); return 1;
        case SUB: undo_sub(bytes, out, stride, bpp); return 1;
        case UP: undo_up(bytes, up, out, stride); return 1;
        case AVERAGE: undo_average(bytes, up, out, stride, bpp); return 1;
        case PAETH: break;
        default: return 0;
    }
    switch (bpp > 2 ? 1 : paeth_rows(in, rows, stride)) { /* the channels of a colour go together anyway */
        case 3: undo_paeth(bytes, up, out, stride, bpp, 3); return 3;
        case 2: undo_paeth(bytes, up, out, stride, bpp, 2); return 2;
        default: undo_paeth(bytes, up, out, stride, bpp, 1); return 1;
    }
}

static inline int64_t unfilter(const uint8_t *in, int64_t rows, int64_t stride, BPP, const uint8_t *up, uint8_t *out) {
    for (int64_t r = 0, count; r < rows; r += count) {
        count = undo_rows(in + r * (stride + 1), rows - r, stride, bpp, up, out + r * stride);
        if (count == 0) return r;
        up = out + (r + count - 1) * stride;
    }
    return rows;
}

/* `in` holds `rows` of 1 + `stride` bytes, `out` takes `rows` of `stride`; a pixel has 1, 2, 3, 4, 6 or 8 bytes (bpp).
 * Returns the number of rows undone: less than `rows` where a filter is unknown; NO_MEMORY. */
EXPORT int64_t cxraug_unfilter(const uint8_t *in, int64_t rows, int64_t stride, int64_t bpp, uint8_t *out) {
    uint8_t *black = calloc((size_t)stride, 1); /* stands above the first row */
    int64_t done = NO_MEMORY;
    if (black == NULL) return done;
    switch (bpp) {
        case 1: done = unfilter(in, rows, stride, 1, black, out); break;
        case 2: done = unfilter(in, rows, stride, 2, black, out); break;
        case 3: done = unfilter(in, rows, stride, 3, black, out); break;
        case 4: done = unfilter(in, rows, stride, 4, black, out); break;
        case 6: done = unfilter(in, rows, stride, 6, black, out); break;
        case 8: done = unfilter(in, rows, stride, 8, black, out); break;
    }
    free(black);
    return done;
}

/* ---- DICOM RLE (PS3.5 annex G.3.2), undone */

/* Most runs are short: a few bytes too many, where there is room, cost less than a loop of unknown length. */
enum { SHORT = 16 };

/* Expands a segment to `count` bytes. Returns DONE; BROKEN where a run is cut off, or bytes lack, or more than one is
 * left over. */
EXPORT int cxraug_unpack_bits(const uint8_t *in, int64_t length, uint8_t *out, int64_t count) {
    int64_t done = 0;
    for (int64_t at = 0; at < length;) {
        const int head = in[at];
        if (head == 128 || (head == 0 && at == length - 1)) { /* means nothing; pads the segment to an even length */
            at++;
            continue;
        }
        const int64_t announced = head < 128 ? head + 1 : 257 - head, used = head < 128 ? head + 2 : 2;
        if (at + used > length || done + announced > count + 1) return BROKEN;
        const int64_t wanted = announced < count - done ? announced : count - done;
        const int is_short = wanted <= SHORT && done + SHORT <= count && at + 1 + SHORT <= length;
        if (head < 128)
            is_short ? memcpy(out + done, in + at + 1, SHORT) : memcpy(out + done, in + at + 1, (size_t)wanted);
        else
            is_short ? memset(out + done, in[at + 1], SHORT) : memset(out + done, in[at + 1], (size_t)wanted);
        done += wanted;
        at += used;
    }
    return done == count ? DONE : BROKEN;
}

/* Joins the high and the low bytes of `count` words. */
EXPORT void cxraug_join_bytes(const uint8_t *high, const uint8_t *low, uint16_t *words, int64_t count) {
    for (int64_t k = 0; k < count; k++) words[k] = (uint16_t)(high[k] << 8 | low[k]);
}
